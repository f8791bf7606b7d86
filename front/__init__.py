"""How jobs come in and answers go out: one package for each transport, none of which holds a policy.

In: a function that answers one job, and what to call at the beginning and the end. Out: jobs answered until a signal;
process.py says what that does, eventloop.py by which time, and local.py runs one job without any transport. Knows
nothing of engine or start: those are handed in. May import: job, meter, settings, clock, utils.
"""
