"""LoRA adapters that are loaded where a request needs them: one load at a time, the least recently used out.

In: names from requests, LORA_SOURCES, the engine's answers to load and unload. Out: an adapter that is loaded and stays
so while a request uses it, or a JobError (404 for what nobody offers, 400 for what does not fit, 503 for what was not
ready in time). Imports: settings, clock, utils. The engine is reached through functions that job/ hands over.
"""
