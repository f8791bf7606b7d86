"""An adapter of the hub on this machine: from a cache, or downloaded by a program of its own.

A program, because the base image's Python has Hugging Face's library and the worker's has not, and because it can be
ended. SGLang would download it itself, inside the process that computes: every request would wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lora.fit import CONFIG
from settings import hub_cache, whole
from settings.environment import engine_environ
from settings.resolved import Settings
from utils import JobError, log

PROGRAM = Path(__file__).resolve().parent.parent / "builder" / "download_adapter.py"
_AT_ONCE = 2
_CODES = {"missing": 404, "refused": 400, "large": 400, "disk": 503, "failed": 503}
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class Hub:
    """environ: of the program, with its token; python: that has huggingface_hub; seconds, most_bytes: of one download;
    caches: folders that may have it already."""

    def __init__(self, environ: Mapping[str, str], python: str, seconds: float, most_bytes: int,
                 caches: Sequence[str]) -> None:
        self._environ, self._python, self._seconds, self._most = dict(environ), python, seconds, most_bytes
        self._caches = caches
        self._turn = asyncio.Semaphore(_AT_ONCE)

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str]) -> Hub:
        """With the Python that runs the server, and the server's variables, but for what keeps that offline."""
        kept = engine_environ(settings, environ)
        kept = {name: text for name, text in kept.items()
                if name != "PYTHONSAFEPATH" and (name not in _OFFLINE or environ.get(name, "").strip())}
        python = settings.launch_command[0] if settings.launch_command[1:2] == ("-m",) else sys.executable
        return cls(kept, python, settings.lora.download_seconds, settings.lora.download_bytes,
                   hub_cache.caches(environ))

    def cached(self, repository: str, revision: str) -> str | None:
        """The folder of a whole snapshot in a cache of this machine."""
        needs = whole.Needs(CONFIG, ("*.safetensors",), own=True)
        for found in hub_cache.snapshots(repository, revision or None, self._caches):
            # The only commit there is no main branch unless the cache says so: it may be of another revision.
            known = bool(revision) or (found.repository / "refs" / "main").is_file()
            if known and found.folder and not whole.problem(found.folder, needs):
                return str(found.folder)
        return None

    async def folder(self, repository: str, revision: str) -> str:
        """The folder of that adapter, downloaded where no cache has it. Raises JobError."""
        if cached := await asyncio.to_thread(self.cached, repository, revision):
            return cached
        async with self._turn:
            log(f"downloading the adapter {repository}{'@' * bool(revision)}{revision}")
            said = await self._run([repository, "--most-bytes", str(self._most), "--seconds",
                                    str(round(self._seconds) + 1), *(["--revision", revision] if revision else [])])
        if isinstance(folder := said.get("folder"), str):
            return folder
        kind = said.get("error", "failed")
        log(f"the adapter {repository} was not downloaded: {said.get('message')}", "warn")
        code = _CODES.get(kind, 503)
        types = {404: "not_found_error", 400: "invalid_request_error", 503: "overloaded_error"}
        raise JobError(f"The adapter {repository!r} cannot be loaded: {said.get('message')}.", type=types[code],
                       param="model", code=code)

    async def _run(self, arguments: Sequence[str]) -> dict[str, str]:
        process = await asyncio.create_subprocess_exec(
            self._python, str(PROGRAM), *arguments, env=self._environ, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, start_new_session=True)
        try:
            async with asyncio.timeout(self._seconds):
                output, _ = await process.communicate()
        except TimeoutError:
            return {"error": "failed", "message": f"the download was not done within {self._seconds:g} s "
                                                  "(LORA_DOWNLOAD_TIMEOUT); what there is of it is kept"}
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        lines = output.decode(errors="replace").strip().splitlines()
        with contextlib.suppress(ValueError):
            said = json.loads(lines[-1]) if lines else None
            if isinstance(said, dict):
                return said
        return {"error": "failed", "message": f"the download ended with status {process.returncode}"}
