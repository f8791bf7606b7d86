"""One request to the engine's answer: text chunks of whole events, or one JSON value.

In: a `Request`. Out: an asynchronous generator; every failure is a JobError. Knows nothing of RunPod, and of jobs
only the request. streaming.py, failures.py and request.py are pure. May import: engine, utils.
"""
