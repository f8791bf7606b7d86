"""RunPod's queue: all that knows the runpod SDK.

In: jobs that the SDK's functions fetch. Out: chunks and results, posted. serve.py puts it together, loop.py takes, runs
and drains, polls.py waits for the platform's word, delivery.py posts, connections.py has what both go over, pings.py
tells the platform what runs, api.py mends the SDK's own HTTP server. What a job means is the business of `job`. May
import: front.process, job, meter, clock, utils, runpod.
"""
