"""What several rooms share: the worker's version and log, redaction of secrets, and the one error shape.

Pure standard library, so that the worker can log its first line before anything slow is imported.
"""

from __future__ import annotations

import html
import json
import os
import re
import sys
import threading
from collections.abc import Iterable
from typing import TypedDict
from urllib.parse import quote

# The one place; `python -m builder.release` writes it here and where it has to be repeated.
VERSION = "1.0.0"
LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
MASK = "***"
_MIN_SECRET = 4  # masking every "a" of a one-letter key would make the log unreadable and hide nothing
_MIN_LINE = 8    # characters of one line of a secret of several
_MARKUP = ("[<>&]", "[<>&']")
# After which even a shorter one is masked.
_NAMED = (r"""(?:key|token|secret|passw(?:or)?d|passphrase|credential|bearer)s?[\w-]*"""
          r"""\\?["']?(?:\s*[=:]\s*|\s+)\\?["']?""")


class _State(TypedDict):
    level: int
    secrets: tuple[str, ...]


_state: _State = {"level": LEVELS["info"], "secrets": ()}
_lock = threading.Lock()


def set_log_level(level: str) -> None:
    """Lines below `level` ("debug", "info", "warn", "error") are dropped from now on."""
    _state["level"] = LEVELS[level]


def spellings(secret: str) -> set[str]:
    """Every way in which `secret` may stand in a text: as it is, and as Python, JSON, URLs, HTML and shells write it.

    Of a secret of several lines each line counts too, as logs are written line by line.
    """
    whole = [secret, secret.strip(), *(line.strip() for line in secret.splitlines() if len(line.strip()) >= _MIN_LINE)]
    escaped = {spelled for text in whole for spelled in _escaped(text)}
    # One inside the other: a repr in a JSON, a JSON in a repr.
    twice = {spelled for text in escaped for spelled in _escaped(text)}
    return ({spelled for text in whole for spelled in _in_addresses(text)} | escaped | twice) - {""}


def _escaped(text: str) -> set[str]:
    bare = "".join(char if char in "'\"" else repr(char)[1:-1] for char in text)
    plain = "".join(char if char in "'\"" else ascii(char)[1:-1] for char in text)
    octets = "".join(repr(bytes([byte]))[2:-1] for byte in text.encode("utf-8", "surrogateescape"))
    escaped = {quoted for form in (bare, plain, octets) for quoted in (
        form, form.replace("'", "\\'"), form.replace('"', '\\"'))}
    written = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    # Some writers of JSON escape these too (PHP's, Go's, those that write into a page).
    written |= {form.replace("/", "\\/") for form in written} | {
        re.sub(signs, lambda match: f"\\u{ord(match[0]):04x}", form) for form in written for signs in _MARKUP}
    return {text, *escaped, *written, *(re.sub(r"\\u[0-9a-f]{4}", _upper, form) for form in written)}


def _upper(found: re.Match[str]) -> str:
    return "\\u" + found[0][2:].upper()


def _in_addresses(text: str) -> set[str]:
    urls = {quote(text, safe=safe, errors="replace") for safe in ("", "/", "/:@!$&'()*+,;=~")}
    urls |= {url.replace("%20", "+") for url in urls}
    urls |= {re.sub("%..", lambda match: match[0].lower(), url) for url in urls}
    pages = {html.escape(text), html.escape(text, quote=False), html.escape(text).replace("&#x27;", "'"),
             html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
             html.escape(text).replace("&#x27;", "&#39;")}
    shells = {text.replace("'", "'\"'\"'"), text.replace("'", "'\\''"), re.sub(r"([^\w@%+=:,./-])", r"\\\1", text),
              re.sub(r'(["$`\\])', r"\\\1", text)}
    return {*urls, *pages, *shells}


def hide(secrets: Iterable[str | None]) -> None:
    """From now on every log line, and every `redact`, shows these strings as ***, in each of their spellings."""
    known = {spelled for secret in secrets if secret for spelled in spellings(secret)}
    # Longest first: a secret that contains another must not leave its tail behind.
    _state["secrets"] = tuple(sorted(known | set(_state["secrets"]), key=len, reverse=True))


def redact(text: str) -> str:
    """`text` with every known secret replaced by ***."""
    return masked(text, _state["secrets"])


def masked(text: str, spelled: Iterable[str]) -> str:
    """`text` with *** for each of `spelled`, the longest first. One of less than four characters is masked only where
    it stands as the value of something named a key, token, secret or password."""
    for secret in spelled:
        if len(secret) >= _MIN_SECRET:
            if secret in text:
                text = text.replace(secret, MASK)
        elif secret in text:
            text = re.sub(rf"({_NAMED}){re.escape(secret)}(?![^\W_])", rf"\g<1>{MASK}", text, flags=re.IGNORECASE)
    return text


def longest_secret() -> int:
    """Length of the longest known secret, at least 1."""
    return max([1, *map(len, _state["secrets"])])


def log(message: str, level: str = "info", job_id: str | None = None) -> None:
    """One line on stdout, in the form the RunPod console parses (JSON) on the platform, plain elsewhere.

    The JSON form is that of the SDK's own logger (runpod/serverless/modules/rp_logger.py): requestId,
    message, level. Secrets are masked. Safe from any thread.
    """
    if LEVELS[level] < _state["level"]:
        return
    message = redact(message)
    if os.environ.get("RUNPOD_ENDPOINT_ID"):
        line = json.dumps({"requestId": job_id, "message": message, "level": level.upper()})
    else:
        line = f"{level.upper():<6}| {job_id + ' | ' if job_id else ''}{message}"
    emit(line)


def emit(line: str) -> None:
    """Write one finished line to stdout; lines of several threads never interleave."""
    with _lock:
        try:
            sys.stdout.write(line + "\n")
        except UnicodeEncodeError:  # a lone surrogate, or a terminal that has only ASCII
            sys.stdout.write(line.encode("ascii", "backslashreplace").decode() + "\n")
        sys.stdout.flush()


class JobError(Exception):
    """A job that fails, in the one shape that every failure of this worker has.

    Fields as in OpenAI's error object: `message` (str), `type` (str), `param` (the offending field, or
    None) and `code` (int, the HTTP status a direct caller of the engine would have seen).
    """

    def __init__(self, message: str, *, type: str = "invalid_request_error", param: str | None = None,
                 code: int = 400):
        super().__init__(message)
        self.message, self.type, self.param, self.code = message, type, param, code

    def to_json(self, job_id: str | None) -> str:
        """The JSON text that fails the job: message, type, param, code and the job's id.

        A string on purpose: the SDK applies `str()` to the value under "error" (rp_job.handle_job), which
        would turn an object into a Python repr that no client can parse.
        """
        text = json.dumps({"message": redact(self.message), "type": self.type, "param": self.param,
                           "code": self.code, "job_id": job_id}, ensure_ascii=False)
        # A lone surrogate, which JSON input can carry, is no UTF-8: the SDK would fail to send it, and lose the job.
        return text.encode("utf-8", "replace").decode()
