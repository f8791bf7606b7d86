"""A disk of its own for a model, as slow as a network volume; and pages that are forgotten. Needs root and Linux.

The disk is a file system in a file, mounted through a loop device. A control group lets this process and its children
read so many bytes a second from that device, and from every other as fast as it gives them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_ROOM = 256 * 2**20  # bytes beyond the files for the file system's own
_GONE_WITHIN = 20.0  # seconds that a process may take to let go of the volume


class Impossible(Exception):
    """This machine has no slow volume to offer; the text says why."""


@contextlib.contextmanager
def volume(model: Path, rate: float, place: Path, more: float = 0.0) -> Iterator[Path]:
    """A copy of the folder `model` on a volume that gives `rate` bytes a second; its file lies in the folder `place`.

    The copy is the volume's folder "model"; `more` times as many bytes find room beside it.

    A `place` in memory (/dev/shm) keeps the volume's own file out of the page cache's way.
    """
    image, mounted = place / f"volume-{os.getpid()}.img", place / f"volume-{os.getpid()}"
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    mounted.mkdir(parents=True)
    try:
        with image.open("wb") as f:
            f.truncate(int(size * (1.02 + more)) + _ROOM)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
        _run("mount", "-o", "loop", str(image), str(mounted))
        shutil.copytree(model, mounted / "model")
        os.sync()
        with _held_to(rate, mounted):
            yield mounted / "model"
    finally:
        _unmount(mounted)
        with contextlib.suppress(OSError):
            image.unlink()
            mounted.rmdir()


def forget(folder: Path, everything: bool = False) -> None:
    """Let the page cache forget the files of `folder`, or `everything` that it can, as on a machine just started."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
    if everything:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


def remember(folder: Path) -> None:
    """Read every file of `folder` once."""
    buffer = bytearray(16 * 2**20)
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as f:
                while f.readinto(buffer):
                    pass


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Impossible(f"{' '.join(command)}: {getattr(error, 'stderr', '') or error}".strip()) from error
    return done.stdout.strip()


@contextlib.contextmanager
def _held_to(rate: float, mounted: Path) -> Iterator[None]:
    """This process and those that it starts read no more than `rate` bytes a second from what is mounted there."""
    number = os.stat(mounted).st_dev
    device, limit = f"{os.major(number)}:{os.minor(number)}", int(rate)
    old, name = _CGROUPS / "blkio", f"slow-{uuid.uuid4().hex}"
    try:
        if old.is_dir():
            root, group = old, old / name
            group.mkdir()
            (group / "blkio.throttle.read_bps_device").write_text(f"{device} {limit}", encoding="ascii")
        else:
            root, group = _CGROUPS, _CGROUPS / name
            (root / "cgroup.subtree_control").write_text("+io", encoding="ascii")
            group.mkdir()
            (group / "io.max").write_text(f"{device} rbps={limit}", encoding="ascii")
        before = root / _own_group(root).lstrip("/")
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    except OSError as error:
        raise Impossible(f"no control group for reads can be made: {error}") from error
    try:
        yield
    finally:
        (before / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
        _within(_GONE_WITHIN, lambda: _removed(group))


def _own_group(root: Path) -> str:
    wanted = "blkio" if root.name == "blkio" else ""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if wanted in controllers.split(","):
            return path
    return "/"


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except OSError:
        return False  # a process that was killed has not ended yet
    return True


def _unmount(mounted: Path) -> None:
    def unmounted(*lazily: str) -> bool:
        return not os.path.ismount(mounted) or subprocess.run(
            ["umount", *lazily, str(mounted)], check=False, capture_output=True).returncode == 0

    if not _within(_GONE_WITHIN, unmounted):
        unmounted("-l")


def _within(seconds: float, done: Callable[[], bool]) -> bool:
    """Whether `done` came true in so many seconds; it is asked again and again."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
