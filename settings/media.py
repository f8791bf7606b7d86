"""Who reads the media that jobs name, and within which limits. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from settings.flags import Given

_FILE_MIB = 64  # SGLang's own default of --media-url-max-file-size-mb


@dataclasses.dataclass(frozen=True)
class MediaSettings:
    """by_engine: SGLang opens what jobs name, as it does by itself, and nothing else here counts.

    file_bytes: of one medium, 0 for no limit of its own; job_bytes: of all media of a job; memory_bytes: of those of
    all jobs; seconds: to fetch those of one job; domains: the only hosts, empty for every one; folders: whose files
    jobs may name.
    """

    by_engine: bool = False
    file_bytes: int = _FILE_MIB * 2**20
    job_bytes: int = 128_000_000
    memory_bytes: int = 1_024_000_000
    seconds: float = 30.0
    items: int = 128
    redirects: int = 5
    domains: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any], given: Given) -> MediaSettings:
        """From the values of `worker_values`, and from the two of the server's flags that bind the worker too."""
        size = given.value("--media-url-max-file-size-mb") or ""
        return cls(
            values["MEDIA_FETCH"] == "engine", (int(size) if size.isdecimal() else _FILE_MIB) * 2**20,
            round(values["MAX_MEDIA_MB"] * 1e6), round(values["MEDIA_MEMORY_MB"] * 1e6), values["MEDIA_FETCH_TIMEOUT"],
            values["MAX_MEDIA_ITEMS"], values["MAX_MEDIA_REDIRECTS"], given.values("--allowed-media-domains"),
            values["ALLOWED_MEDIA_FOLDERS"])
