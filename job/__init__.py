"""One job's input to one checked request, and its way through the engine.

In: whatever stands under `input`. Out: an `answer.request.Request` that harms nobody, or a JobError that names the
field and the remedy; then what `answer` makes of it. Pure but for model.py and served.py, which ask the engine,
media_reading.py and worker.py. Knows no transport. May import: answer, engine, meter, settings,
utils.
"""
