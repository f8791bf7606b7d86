"""One compile cache as one archive: packed, bounded in size, checked, put back. Needs nothing but the standard library.

    python -I -S cache_archive.py restore '{"archive": …, "root": …, "base": …}'
    python -I -S cache_archive.py save    '{"root": …, "archive": …, "facts": …, "base": …, "limit": …}'

It runs as a process of its own, so that compressing takes no time from the event loop that carries the jobs; a save
runs at the lowest priority. Prints one JSON object: {"files", "bytes", …}, or {"error": why nothing was done}.

An archive is a gzip'd tar whose last member is the manifest: format, root, base key, facts, and the size and SHA-256
of every file. Cut short it has no manifest. It is written under a name of its own and moved into place, so readers
and other writers see a whole archive, the old one or the new one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import time
import uuid
from fnmatch import fnmatch
from typing import IO, Any

FORMAT = 1
MANIFEST = "worker-sglang-manifest.json"
SUFFIX, DOUBTED, _PART, _INCOMING = ".tar.gz", ".doubted", ".part", ".incoming-"
# A volume's quota shows nowhere but here: what statvfs says of RunPod's is the whole cluster's.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ABANDONED = 3600.0  # seconds after which a half-made file belongs to nobody
_LARGEST_FILE = 512 * 2**20  # bytes; a file is read as a whole, and no kernel comes near
# What one container leaves behind that another must not find: locks, work in progress, logs, and facts about the
# machine. SGLang keeps more in its cache folder than kernels: model files (runai_utils.py), tables of weights (ple).
SKIPPED = ("*.lock", "*/lock", "*.log", "*.tmp", "*/tmp.*", "*/tmp/*", "*/.staging-*", "*/locks/*", "*/__pycache__/*",
           "torch-kernels/*_tmp_*", "sglang/gpu_p2p_access_cache*", "sglang/ple/*", "sglang/model_streamer/*")
_MTIME = "WORKER.mtime"  # a header of each file in an archive: nanoseconds
# Rewritten by every run that only looks at them.
RESTLESS = (".ninja_log", ".ninja_deps", "index")


class Unusable(Exception):
    """An archive that cannot be used or made; the text says why."""


def listing(root: str) -> dict[str, int]:
    """{path below `root`: size} of everything that is worth keeping."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(_INCOMING)]
        for name in names:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, root)
            if any(fnmatch(relative, pattern) for pattern in SKIPPED):
                continue
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if os.path.isfile(path) and not os.path.islink(path) and status.st_size <= _LARGEST_FILE:
                    found[relative] = status.st_size
    return found


def changed(now: dict[str, int], known: dict[str, int]) -> bool:
    """Whether `now` holds anything that an archive of `known` does not."""
    return any(known.get(path) != size for path, size in now.items() if os.path.basename(path) not in RESTLESS)


def part_of(archive: str, mark: str) -> str:
    """The name under which `archive` is written before it is whole, by the one saver that has this `mark`."""
    return os.path.join(os.path.dirname(archive), f".{os.path.basename(archive)}.{mark}{_PART}")


def save(root: str, archive: str, facts: dict[str, Any], base: str, limit: int, mark: str | None = None
         ) -> dict[str, Any]:
    """Pack `root` into `archive`; archives of other keys in its folder go, oldest first, until all hold `limit` bytes.

    Returns {"files", "bytes", "contents", "evicted"}. Raises Unusable when this one alone is larger than `limit`, or
    there is nothing to pack.
    """
    folder = os.path.dirname(archive)
    _sweep(folder)
    part = part_of(archive, uuid.uuid4().hex if mark is None else mark)
    contents: dict[str, tuple[int, str]] = {}
    try:
        with open(part, "xb") as out:
            with gzip.GzipFile("", "wb", 1, out, mtime=0) as packed, \
                    tarfile.open(fileobj=packed, mode="w|") as tar:
                for path in sorted(listing(root)):
                    if (steady := _steady(os.path.join(root, path))) is None:
                        continue
                    status, content = steady
                    _add(tar, path, content, status.st_mtime_ns, status.st_mode & 0o777)
                    contents[path] = (len(content), hashlib.sha256(content).hexdigest())
                    if out.tell() > limit:
                        raise Unusable(f"larger than {limit / 1e6:.0f} MB (COMPILE_CACHE_MAX_MB): it is not kept")
                if not contents:
                    raise Unusable("nothing was compiled")
                manifest = {"format": FORMAT, "root": root, "base": base, "facts": facts, "files": contents}
                _add(tar, MANIFEST, json.dumps(manifest).encode(), time.time_ns(), 0o644)
            out.flush()
            os.fsync(out.fileno())
            size = out.tell()
        os.replace(part, archive)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(part)
    return {"files": len(contents), "bytes": size, "contents": {path: size for path, (size, _) in contents.items()},
            "evicted": evict(folder, archive, limit)}


def _steady(path: str) -> tuple[os.stat_result, bytes] | None:
    # A file that is being written is no kernel yet; the next save has it.
    try:
        with open(path, "rb") as f:
            before, content, after = os.fstat(f.fileno()), f.read(), os.stat(path)
    except OSError:
        return None
    same = (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns)
    return (before, content) if same and len(content) == before.st_size else None


def _add(tar: tarfile.TarFile, name: str, content: bytes, mtime: int, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), mode, mtime // 10**9
    # To the nanosecond: ninja, which several libraries build with, builds again what seems newer than its own log of
    # it. A tar keeps fractions of a second as a float, which on an H200 cost 16 s of compiling for rounding up.
    member.pax_headers = {_MTIME: str(mtime)}
    tar.addfile(member, io.BytesIO(content))


def _sweep(folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if not (name.endswith(_PART) or name.startswith(_INCOMING)):
            continue
        with contextlib.suppress(OSError):
            if time.time() - os.stat(path).st_mtime > _ABANDONED:
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)


def evict(folder: str, keep: str, limit: int) -> list[str]:
    """Remove archives of `folder` until all hold `limit` bytes, never `keep`: first those that are doubted, then those
    that were not used for longest."""
    found = []
    for name in os.listdir(folder):
        if name.endswith((SUFFIX, SUFFIX + DOUBTED)):
            with contextlib.suppress(OSError):
                status = os.stat(os.path.join(folder, name))
                found.append((not name.endswith(DOUBTED), status.st_mtime, name, status.st_size))
    total, gone = sum(size for *_, size in found), []
    for *_, name, size in sorted(found):
        if total > limit and name != os.path.basename(keep):
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(folder, name))
            total -= size
            gone.append(name)
    return gone


def restore(archive: str, root: str, base: str) -> dict[str, Any]:
    """Put the files of `archive` under `root`, each whole or not at all, none over one that is there.

    Returns {"files" put there, "bytes" of the archive, "contents", "facts"}. Raises Unusable for an archive that is
    cut short, damaged, of another root or key, or that names anything but plain files below the root; then nothing
    was put there. OSError when the archive or the root cannot be read or written.
    """
    _sweep(root)
    incoming = os.path.join(root, _INCOMING + uuid.uuid4().hex)
    os.mkdir(incoming)
    try:
        with open(archive, "rb") as packed:
            size = os.fstat(packed.fileno()).st_size
            try:
                found, manifest = _unpack(packed, incoming)
                wanted = {path: tuple(entry) for path, entry in manifest["files"].items()}
                if (manifest["format"], manifest["root"], manifest["base"]) != (FORMAT, root, base):
                    raise Unusable("made by another version, for another place, or for other settings")
                if found != wanted:
                    raise Unusable("its files are not those of its manifest")
            except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, KeyError, TypeError, AttributeError,
                    OverflowError) as error:
                raise Unusable(f"damaged ({type(error).__name__}: {error})") from error
            except OSError as error:
                if error.errno is None or "zlib" in str(error):  # as zlib and gzip report some damage
                    raise Unusable(f"damaged ({error})") from error
                raise
        placed = 0
        for path in wanted:
            target = os.path.join(root, path)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            # A link appears with the whole file behind it, and never replaces: the server may be compiling already.
            with contextlib.suppress(FileExistsError):
                os.link(os.path.join(incoming, path), target)
                placed += 1
        with contextlib.suppress(OSError):
            os.utime(archive)  # used now: eviction begins with the others
        return {"files": placed, "bytes": size, "facts": manifest.get("facts"),
                "contents": {path: size for path, (size, _) in wanted.items()}}
    finally:
        shutil.rmtree(incoming, ignore_errors=True)


def _unpack(packed: IO[bytes], folder: str) -> tuple[dict[str, tuple[int, str]], dict[str, Any]]:
    found: dict[str, tuple[int, str]] = {}
    manifest = None
    with gzip.GzipFile(fileobj=packed, mode="rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            source = tar.extractfile(member) if member.isfile() and _inside(member.name) else None
            if source is None or manifest is not None or member.size > _LARGEST_FILE:
                raise Unusable(f"it holds {member.name!r}, which no compile cache has")
            content = source.read()
            if member.name == MANIFEST:
                manifest = json.loads(content)
                continue
            path = os.path.join(folder, member.name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as out:
                out.write(content)
            os.chmod(path, member.mode & 0o777)
            mtime = int(member.pax_headers.get(_MTIME, member.mtime * 10**9))
            os.utime(path, ns=(mtime, mtime))
            found[member.name] = (len(content), hashlib.sha256(content).hexdigest())
        while stream.read(2**20):  # to the sum at gzip's end, which tar leaves unread
            pass
    if manifest is None:
        raise Unusable("cut short: it has no manifest")
    return found, manifest


def _inside(name: str) -> bool:
    return bool(name) and not name.startswith("/") and os.path.normpath(name) == name and ".." not in name.split("/")


def main() -> int:
    action, arguments = sys.argv[1], json.loads(sys.argv[2])
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: nobody waits for it without the worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if action == "save":
        os.nice(19)
    try:
        result = save(**arguments) if action == "save" else restore(**arguments)
    except Unusable as error:
        result = {"error": str(error), "unusable": True}
    except OSError as error:
        result = {"error": f"{type(error).__name__}: {error}"} | ({"full": True} if error.errno in FULL else {})
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
