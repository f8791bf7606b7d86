"""The server's tree of processes: started behind a guard, watched, restarted, understood by its last words.

In: a command line and an environment. Out: a state, its lines, its ending. Knows processes and signals, and nothing
of HTTP, jobs or models. guard.py and headstart.py run as programs of their own. May import: clock, utils.
"""
