"""One request to the engine's answer: text chunks of whole events, or one JSON value.

In: a `Request`. Out: an asynchronous generator; every failure is a JobError. Knows nothing of RunPod, and of jobs
only the request. fetch.py and files.py read what a request names elsewhere. streaming.py, failures.py, request.py,
addresses.py and media_types.py are pure. May import: engine, clock, utils.
"""
