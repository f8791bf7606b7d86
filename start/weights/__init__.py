"""Weights read ahead: into the page cache, while the server still imports.

In: the server's arguments, the phases of its start. Out: files in the page cache, one line in the log.
May import: server, settings, utils.
"""
