"""What the HTTP server says by itself, in the worker's log: one line, where secrets are masked."""

from __future__ import annotations

import logging
import traceback

from aiohttp.http_exceptions import HttpProcessingError

import utils


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):  # its text quotes what came, a header with a key for instance
            utils.log(f"what a connection brought is no HTTP ({type(error).__name__}): answered with {error.code}")
            return
        trace = "\n" + "".join(traceback.format_exception(error)) if error else ""
        utils.log(f"the HTTP server: {record.getMessage()}{trace}", "error" if error else "warn")


def logger() -> logging.Logger:
    """For aiohttp's server, in place of its own, which writes to stderr as it is."""
    made = logging.Logger("http", logging.WARNING)
    made.addHandler(_Lines())
    return made
