"""What the HTTP front says of its state, and what it bears of its clients. Pure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from settings.http import HttpSettings

METHODS = "GET, HEAD, POST, OPTIONS"


class Stage(enum.Enum):
    """What the worker says of itself where its health is asked; RunPod: 200 ready, 204 initialising."""

    STARTING = 204
    READY = 200
    LEAVING = 503


# What whoever wants something then is told, with status 503.
NOT_NOW = {Stage.STARTING: "The model is still being loaded; try again.",
           Stage.LEAVING: "This worker is ending; send the request again."}


@dataclasses.dataclass(frozen=True)
class Manners:
    """What is borne of clients; seconds and bytes.

    body_bytes: of a body, before and after it is unpacked; body_seconds: that a client may take to send it;
    body_grace, body_rate: seconds after which it has to have come at so many bytes a second at least; held_bytes: of
    all bodies together, of those that are read, that wait and that are worked on;
    write_seconds: that a client may leave a piece of the answer unread; head_seconds: of silence after which a stream's
    head is sent before anything of its answer; request_seconds: of a whole request, 0 for no limit; origins: that a
    browser's page may come from, "*" for any, none for no CORS.
    """

    health_path: str = "/ping"
    body_bytes: int = 30_000_000  # RunPod's load balancer takes 30 MB both ways
    body_seconds: float = 60.0
    body_grace: float = 10.0
    body_rate: int = 16_384
    held_bytes: int = 2**30
    write_seconds: float = 330.0
    head_seconds: float = 2.0
    request_seconds: float = 0.0
    origins: tuple[str, ...] = ()

    @classmethod
    def of(cls, http: HttpSettings) -> Manners:
        """As the settings want them."""
        return cls(http.health_path, http.body_bytes, held_bytes=http.held_bytes, origins=http.origins,
                   request_seconds=http.request_seconds)

    def due(self, received: int) -> float:
        """Seconds after its beginning until which a body of which so much has come may go on without more."""
        return min(self.body_seconds, self.body_grace + received / self.body_rate)

    def cors(self, headers: Mapping[str, str]) -> dict[str, str]:
        """What a browser is told that asks with these headers; nothing for a page that may not call."""
        origin, anybody = headers.get("Origin"), "*" in self.origins
        if not origin or not (anybody or origin in self.origins):
            return {}
        return {"Access-Control-Allow-Origin": "*" if anybody else origin, "Vary": "Origin",
                "Access-Control-Allow-Methods": METHODS,
                "Access-Control-Allow-Headers": headers.get("Access-Control-Request-Headers",
                                                            "Authorization, Content-Type, X-Api-Key"),
                "Access-Control-Expose-Headers": "X-Request-Id, Retry-After", "Access-Control-Max-Age": "86400"}
