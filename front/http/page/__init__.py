"""The page at `GET /`: what this worker is at, and a place to try it, for whoever opens its address in a browser.

In: the worker's state, as functions. Out: a few files that are the same for everybody, and the state as JSON for those
who show a key. view.py puts the state together, news.py tells it, loads.py asks the engine how full it is, routes.py
serves; what the browser runs is in files/, written by hand and complete: the page asks nothing of any other host.
May import: utils, aiohttp; of its neighbours gate.py, keys.py and shapes.py.
"""
