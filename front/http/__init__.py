"""HTTP straight to the worker: RunPod's load-balancing endpoints, Pods, and any other machine.

In: requests. Out: the engine's answers with their true statuses, streams as they come. What a request means is the
business of `job`. gate.py, keys.py, manners.py and shapes.py are pure; server.py and serve.py do the I/O; page/ is
what a browser sees at `/`; processes/ has several processes carry the requests.
May import: job, answer, engine, meter, settings, clock, utils, aiohttp.
"""
