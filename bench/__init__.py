"""Programs that prove what the worker promises: chaos, fuzz, soak. Each is run as `python -m bench.NAME`."""
