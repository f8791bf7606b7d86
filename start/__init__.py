"""What happens before the first job, beside the server's own start: kernels kept, warm-up, the report.

In: settings and the engine. Out: a command line and an environment for the server, lines in the log, files in the
compile cache. Nothing here may delay or fail a start. May import: job, answer, engine, server, settings, utils.
"""
