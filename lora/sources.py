"""What a name means among the adapters that may be loaded, and which of them there are.

`Sources.meant` is pure; `found` and `Sources.offered` look into folders.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from settings.lora import NAME, Place
from settings.lora_flags import adapters_in


class Wanted(NamedTuple):
    """One adapter that a name means. name: by which the engine has it; folders: where it may lie, the first that does
    counts, and for each the folder that it must not lead out of by links; repository, revision: where it is on the hub
    instead ("" for the main branch)."""

    name: str
    folders: tuple[tuple[str, str], ...] = ()
    repository: str = ""
    revision: str = ""


class Sources:
    """places: of LORA_SOURCES; present: {name: folder or repository} of what the engine was started with."""

    def __init__(self, places: tuple[Place, ...], present: Mapping[str, str] | None = None) -> None:
        self._places = places
        self._named = {name: _of_path(name, path) for name, path in (present or {}).items()}
        for place in places:
            if place.name and place.name not in self._named:
                self._named[place.name] = Wanted(place.name, ((place.folder, place.folder),) if place.folder else (),
                                                 place.repository, place.revision)
        # Two names of one adapter are one adapter: it is loaded once, by the name that came first.
        self._first: dict[tuple[str, str], str] = {}
        for name, wanted in self._named.items():
            self._first.setdefault(_target(wanted), name)

    def meant(self, name: str) -> Wanted | None:
        """What `name` may mean; None for what nobody offers. Of a folder only looking tells whether it is there."""
        wanted = self._named.get(name) or self._on_hub(name) or self._in_folder(name)
        return self._named[self._first[_target(wanted)]] if wanted and _target(wanted) in self._first else wanted

    def _on_hub(self, name: str) -> Wanted | None:
        repository, at, revision = name.partition("@")
        owner, slash, rest = repository.partition("/")
        if not slash or not NAME.fullmatch(owner) or not NAME.fullmatch(rest):
            return None
        # The revision is the operator's choice; a caller may only repeat it.
        offering = [place for place in self._places if not place.name and fnmatchcase(repository, place.repository)]
        offering.sort(key=lambda place: 2 if "*" in place.repository else bool(place.revision))
        revisions = [place.revision for place in offering]
        chosen = revision if at else next(iter(revisions), "")
        if chosen not in revisions or at and not revision:
            return None
        # By its bare name the engine has one of them alone: what is another adapter needs another name.
        bare = not chosen or chosen == revisions[0] and repository not in self._named
        return Wanted(repository if bare else f"{repository}@{chosen}", (), repository, chosen)

    def _in_folder(self, name: str) -> Wanted | None:
        if not NAME.fullmatch(name):
            return None
        folders = [(folder, place.folder) for place in self._places if place.folder and not place.name
                   for folder in (*([place.folder] if os.path.basename(place.folder) == name else []),
                                  os.path.join(place.folder, name))]
        return Wanted(name, tuple(folders)) if folders else None

    def offered(self) -> dict[str, str]:
        """{name: folder or repository} of all that can be listed: not those of a pattern of repositories, which the hub
        alone knows."""
        found = {name: _target(wanted)[0] for name, wanted in self._named.items()}
        for place in self._places:
            if place.name:
                continue
            if place.repository and "*" not in place.repository and (
                    wanted := self._on_hub(place.repository + (f"@{place.revision}" if place.revision else ""))):
                found.setdefault(wanted.name, place.repository)
            for folder in adapters_in(place.folder) if place.folder else ():
                name = os.path.basename(folder)
                if NAME.fullmatch(name) and inside(folder, place.folder):
                    found.setdefault(name, folder)
        return found


def _of_path(name: str, path: str) -> Wanted:
    return Wanted(name, ((path, path),)) if os.path.isabs(path) else Wanted(name, (), *path.partition("@")[::2])


def _target(wanted: Wanted) -> tuple[str, str]:
    return (wanted.folders[0][0] if wanted.folders else wanted.repository), wanted.revision


def found(wanted: Wanted) -> str | None:
    """The folder of an adapter that lies on this machine; None when none of the folders is one."""
    return next((folder for folder, root in wanted.folders
                 if os.path.isfile(os.path.join(folder, "adapter_config.json")) and inside(folder, root)), None)


def inside(folder: str, parent: str) -> bool:
    """Whether a folder, with its links followed, lies in `parent` or is it."""
    real, root = os.path.realpath(folder), os.path.realpath(parent)
    return real == root or real.startswith(root.rstrip("/") + "/")
