"""Who may come in: keys of callers. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping

from utils import JobError

# Browsers' web sockets can set no other header: OpenAI's clients put the key behind this, among the protocols.
_IN_BROWSERS = "openai-insecure-api-key."


class Keys:
    """The keys of which a caller must show one; none at all lets everybody in."""

    def __init__(self, keys: Iterable[str]):
        self._keys = [key.encode() for key in keys]

    def admit(self, headers: Mapping[str, str]) -> bool:
        """Whether the headers show a key: `Authorization: Bearer …` as OpenAI's clients send it, Anthropic's
        `x-api-key`, or among web socket protocols as OpenAI's clients in browsers do. Takes the same time
        whatever is wrong with it."""
        if not self._keys:
            return True
        shown = [headers.get("x-api-key", "")]
        words = map(str.strip, headers.get("Sec-WebSocket-Protocol", "").split(","))
        shown += [word.removeprefix(_IN_BROWSERS) for word in words if word.startswith(_IN_BROWSERS)]
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            shown.append(token.strip())
        # surrogateescape: a header may hold any bytes
        tried = [one.encode("utf-8", "surrogateescape") for one in shown if one]
        return any([hmac.compare_digest(one, key) for one in tried for key in self._keys])

    def check(self, headers: Mapping[str, str]) -> None:
        """Raises JobError 401 for whoever is not admitted."""
        if not self.admit(headers):
            raise JobError("A key is missing or wrong: send one of WORKER_API_KEY as `Authorization: Bearer` or "
                           "`x-api-key`.", type="authentication_error", code=401)
