"""RunPod's queue: the only place, beside handler.py, that knows the runpod SDK.

In: jobs that the SDK's functions fetch. Out: chunks and results, posted. What a job means is the business of `job`.
May import: job, settings, utils, runpod.
"""
