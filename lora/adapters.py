"""All that a worker has to do with adapters that are loaded on first use, for job/: names in, held adapters out."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine import Served
from lora import base, fit
from lora.calls import Post
from lora.hub import Hub
from lora.loading import Loader
from lora.sources import Sources, Wanted, found
from settings import hub_cache, whole
from settings.resolved import Settings
from utils import JobError, log

_BLOCK = 2**20  # bytes of a file that are read at once
# Files on a volume may take minutes: whoever else works beside the event loop shall not wait for a thread meanwhile.
_READERS = ThreadPoolExecutor(2, "adapters")


class Hold:
    """The adapters of one request, from its first attempt to its end."""

    def __init__(self, loader: Loader, wanted: Sequence[Wanted]) -> None:
        self._loader, self._wanted, self._life = loader, wanted, 0

    async def before(self, life: int) -> bool:
        """As `Request.before`: they are loaded in that life, and stay so until `release`."""
        if self._life != life:
            self.release()
            if not await self._loader.take(self._wanted, life):
                return False
            self._life = life
        return True

    def release(self) -> None:
        """The request has ended, or its attempt did with the engine."""
        if self._life:
            self._loader.give(self._wanted, self._life)
            self._life = 0


class Adapters:
    """settings: with places in `lora`; post: to the engine; environ: the worker's own. To be told by `learn` of the
    engine once it is ready."""

    def __init__(self, settings: Settings, engine: Served, post: Post, environ: Mapping[str, str]) -> None:
        self._settings, self._engine, self._post, self._environ = settings, engine, post, environ
        self._hub = Hub.of(settings, environ)
        self._server, self._model_path = fit.Server(), ""
        self._base: base.Base | None = None  # read for the first adapter: no start waits for it
        self._at_start: Mapping[str, str] = {}
        self.sources = Sources(settings.lora.places)
        self._loader = self._loader_of(None, {})

    def _loader_of(self, limit: int | None, present: Mapping[str, str]) -> Loader:
        def alive(life: int) -> bool:
            return self._engine.up and self._engine.life == life

        chosen = self._settings.lora
        return Loader(self._post, alive, self._engine.fate, self._prepare, limit=limit, seconds=chosen.wait_seconds,
                      present={name: name in chosen.pinned for name in present})

    def learn(self, server: Mapping[str, Any], models: Mapping[str, Any], model: Mapping[str, Any]) -> None:
        """What the engine was started with: the rank, the modules, the number (of /server_info), adapters (of
        /v1/models) and the model's folder (of /model_info)."""
        cards = models.get("data")
        present = {str(card["id"]): _place(str(card.get("root") or card["id"])) for card in (
            cards if isinstance(cards, list) else []) if isinstance(card, dict) and card.get("parent") is not None}
        rank, modules, limit = (server.get(name) for name in ("max_lora_rank", "lora_target_modules",
                                                            "max_loaded_loras"))
        named = tuple(map(str, modules)) if isinstance(modules, list) else ()
        self._server = fit.Server(rank if type(rank) is int else None, () if "all" in named else named)
        self._model_path = str(model.get("model_path") or "")
        self.sources, self._at_start = Sources(self._settings.lora.places, present), present
        self._loader = self._loader_of(limit if type(limit) is int else None, present)
        log(f"adapters: rank up to {rank}, modules {' '.join(named) or 'unknown'}, {limit or 'any number'} loaded at "
            f"once; {len(self.sources.offered())} can be listed now")

    def _model_folder(self) -> Path | None:
        if os.path.isdir(self._model_path):
            return Path(self._model_path)
        return next((found.folder for found in hub_cache.snapshots(
            self._settings.model, self._settings.revision, hub_cache.caches(self._environ)) if found.folder), None)

    async def close(self) -> None:
        """End loads and downloads under way."""
        await self._loader.close()

    # ------------------------------------------------------------ of one request
    async def absent(self, names: Sequence[str]) -> str | None:
        """The first of `names` that is not there, as far as this machine can tell."""
        meant = {name: self.sources.meant(name) for name in names}
        if unknown := next((name for name, wanted in meant.items() if wanted is None), None):
            return unknown
        loaded = set(self._loader.loaded)
        unseen = {name: wanted for name, wanted in meant.items() if wanted and wanted.folders and name not in loaded}
        if not unseen:
            return None
        return await asyncio.to_thread(
            lambda: next((name for name, wanted in unseen.items() if not found(wanted)), None))

    def hold(self, names: Sequence[str], held: contextlib.ExitStack) -> Hold:
        """For the request that names these; it lets go of them when `held` is closed."""
        hold = Hold(self._loader, self._meant(names))
        held.callback(hold.release)
        return hold

    def answered(self, names: Sequence[str]) -> None:
        """A request that named these was answered in full."""
        self._loader.answered(self._meant(names))

    def died(self, names: Sequence[str], life: int) -> None:
        """The engine's life of that number ended under a request that named these."""
        self._loader.died(self._meant(names), life)

    def _meant(self, names: Sequence[str]) -> tuple[Wanted, ...]:
        return tuple(meant for name in names if (meant := self.sources.meant(name)))

    # ------------------------------------------------------------ what there is
    async def offered(self) -> dict[str, str]:
        """{name: folder or repository} of all that can be listed."""
        return await asyncio.to_thread(self.sources.offered)

    # ------------------------------------------------------------ before a load
    async def _prepare(self, wanted: Wanted) -> str:
        """The folder of an adapter that fits. Raises JobError."""
        if wanted.folders:
            folder = await asyncio.to_thread(found, wanted)
            if folder is None:
                raise JobError(f"The adapter {wanted.name[:60]!r} does not exist.", type="not_found_error",
                               param="model", code=404)
        else:
            folder = await self._hub.folder(wanted.repository, wanted.revision)
        await asyncio.get_running_loop().run_in_executor(_READERS, self._looked_at, wanted.name, Path(folder))
        return folder

    def _looked_at(self, name: str, folder: Path) -> None:
        if self._at_start.get(name) != str(folder):  # such a one comes back as the engine had it, pickled weights too
            self._check(name, folder)
        # SGLang reads it in the process that computes, and everything waits meanwhile: so from memory.
        buffer = bytearray(_BLOCK)
        for file in folder.glob("*.safetensors"):
            with open(file, "rb", buffering=0) as f:
                while f.readinto(buffer):
                    pass

    def _check(self, name: str, folder: Path) -> None:
        if self._base is None:
            self._base = base.of(self._model_folder(), self._settings.model_names[::-1])
        fit.check(name, folder, self._server, self._base)
        config = whole.read_json(folder / fit.CONFIG) or {}
        made_for = config.get("base_model_name_or_path")
        if made_for and not any(str(made_for).casefold() == known.casefold() for known in self._base.names):
            log(f"adapter {name}: it says that it was made for {str(made_for)[:80]}, and its sizes fit", "debug")


def _place(root: str) -> str:
    """Where the engine has an adapter from: a folder, absolute, or a repository."""
    return os.path.abspath(root) if os.path.isdir(root) else root
