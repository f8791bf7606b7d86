"""What is measured of the requests: one record each, and where it goes when the request ends.

In: what the fronts and the job package say of a request as it happens (record.py), and functions that tell of the
worker as a whole. Out: one line of JSON a request (line.py), live figures (live.py), Prometheus' text (prometheus.py),
OpenTelemetry (otel.py); setup.py makes of them what the settings want. Never sees more of a prompt or an answer than it
takes to count. usage.py, live.py and catalogue.py are pure. May import: settings, utils.
"""
