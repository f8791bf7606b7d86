"""One program a client. Each is run by the client's own Python or Node, with what it has to know in CLIENT_FACTS (JSON,
see run.py), and prints a line of JSON a check: {"check", "ok", "seen"}."""
