"""A head start for the server's own child processes.

    python headstart.py CHILDREN MODULE [ARGUMENT ...]

Runs MODULE as `python -m MODULE` does. SGLang's server imports for 20 s on an H200, then starts its schedulers with
multiprocessing's "spawn", and each of these begins with the same imports once more. Here fresh interpreters import what
all of them need (`PRELOADED`; libraries only, nothing of SGLang's and nothing that touches a GPU) while the server
still imports its own. When the server then spawns a process, one of them becomes it. CHILDREN says how many there are:
a number for each process that the server will spawn, in that order, of the processes that this one spawns in turn
("4,0": a data parallel controller with four schedulers, and a detokenizer). Those are started by its interpreter, and
become its children.

What has become nothing when the server listens on its --port is ended: it has spawned its processes by then.

An interpreter that became the server's child differs in nothing from one that was just started: it is a child of the
same process, with the same variables, limits, folder and inherited descriptors, and runs the very line that
multiprocessing would have run. Where that cannot be had (another executable, variables that libraries have read by
now, a descriptor in use, a dead interpreter) the ordinary way is taken, silently.

Runs in the server's interpreter, alone and on the standard library. Relies on multiprocessing/util.py's
`spawnv_passfds` being what popen_spawn_posix.py starts a child with, as in Python 3.8 to 3.14.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import resource
import runpy
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Sequence
from multiprocessing import spawn, util
from typing import Any

# What takes the time in a scheduler's start, in the order of a start on an H200; what is missing is passed over.
PRELOADED = ("torch", "numpy", "torch._dynamo", "torch.fx.experimental.symbolic_shapes", "torch._inductor.compile_fx",
             "torch.distributed", "torch.utils.cpp_extension", "torchvision", "transformers",
             "transformers.generation.candidate_generator", "openai.types.responses", "pandas", "sklearn.metrics",
             "scipy.stats", "networkx", "sympy", "fastapi", "pydantic", "aiohttp", "IPython", "gguf",
             "compressed_tensors", "zmq", "requests", "PIL.Image", "psutil", "huggingface_hub", "uvicorn", "orjson",
             "msgspec", "setuptools")
# Read when a library is loaded, or when CUDA first looks around: what they were then must be what they are.
READ_EARLY = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "LD_PRELOAD",
              "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHASHSEED", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_OFFLINE")
LIMITS = (resource.RLIMIT_NOFILE, resource.RLIMIT_STACK, resource.RLIMIT_CORE)
_RESERVED = 512  # descriptors below are kept free for those that the server's child inherits
_ANSWER_WITHIN = 60.0  # seconds; its imports end long before
_PORT = 30000  # SGLang's own
_LINE = "from multiprocessing.spawn import spawn_main"


class Spare:
    """One interpreter that imports, in the process whose child it is to become; `children`: of its own."""

    def __init__(self, executable: str, children: int, port: int):
        ours, theirs = socket.socketpair()
        with theirs:
            command = [executable, *_flags_of_this_interpreter(), os.path.abspath(__file__), "--spare",
                       str(theirs.fileno()), str(children), str(port)]
            self.pid = _spawnv_passfds(os.fsencode(executable), command, [theirs.fileno()])
        self.channel, self.early = ours, early()

    def becomes(self, line: str, descriptors: list[int]) -> bool:
        """Make it run `line` with `descriptors` inherited; False when it cannot."""
        if self.early != early():
            return False
        try:
            self.channel.settimeout(_ANSWER_WITHIN)
            message = json.dumps({"line": line, "descriptors": descriptors, "environ": dict(os.environ),
                                  "folder": os.getcwd(), "limits": [resource.getrlimit(name) for name in LIMITS]})
            data = message.encode("utf-8", "surrogateescape")
            socket.send_fds(self.channel, [len(data).to_bytes(8, "big")], descriptors)
            self.channel.sendall(data)
            return self.channel.recv(1) == b"y"
        except OSError:
            return False
        finally:
            self.channel.close()

    def end(self) -> None:
        self.channel.close()
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def early() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in READ_EARLY}


_spawnv_passfds = util.spawnv_passfds
_flags_of_this_interpreter: Callable[[], list[str]] = vars(util)["_args_from_interpreter_flags"]


def started(children: Sequence[int], port: int) -> list[Spare]:
    """An interpreter for each of `children`, as far as the system lets them start."""
    spares: list[Spare] = []
    with contextlib.suppress(OSError):
        for number in children:
            spares.append(Spare(spawn.get_executable(), number, port))
    return spares


def lend(spares: list[Spare], port: int) -> None:
    """Let processes that multiprocessing spawns from now on be `spares`, as long as there are any.

    They are ended when something listens on `port`.
    """
    own = os.getpid()

    def spawnv_passfds(path: bytes, args: Sequence[Any], passfds: Sequence[int]) -> int:
        lines = [word for word in args if isinstance(word, str) and word.startswith(_LINE)]
        # Not in a process forked from this one, whose children they are not.
        if len(lines) == 1 and os.getpid() == own and os.fsdecode(path) == sys.executable:
            with contextlib.suppress(IndexError):
                spare = spares.pop(0)
                if spare.becomes(lines[0], sorted({int(fd) for fd in passfds})):
                    return spare.pid
                spare.end()
        return _spawnv_passfds(path, args, passfds)

    util.spawnv_passfds = spawnv_passfds
    threading.Thread(target=_end_idle, args=(spares, port), name="head start", daemon=True).start()


def _end_idle(spares: list[Spare], port: int) -> None:
    while spares and not listened(port):
        time.sleep(1)
    with contextlib.suppress(IndexError):
        while True:
            spares.pop().end()


def listened(port: int) -> bool:
    """Whether anything on this machine takes connections on this TCP port."""
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), open(f"/proc/net/{name}") as f:
            if any(words[3:4] == ["0A"] and words[1].endswith(f":{port:04X}") for words in map(str.split, f)):
                return True
    return False


def reserve(kept: int) -> set[int]:
    """Occupy every free descriptor below `_RESERVED`, so that what libraries open stays out of the way."""
    limit = min(_RESERVED, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
    held = {os.open(os.devnull, os.O_RDONLY)}
    while max(held) < limit:
        held.add(os.dup(next(iter(held))))
    return held - {kept}


def wait_as_spare(number: int, children: int, port: int) -> None:
    """Import, wait for an order, become what it says; `children` of its own import beside it. Does not return."""
    channel = socket.socket(fileno=number)
    held = reserve(number)
    spares = started([0] * children, port)
    with contextlib.suppress(Exception):
        # Finds the memory of the title behind that of the variables, which must be as they were at the start.
        importlib.import_module("setproctitle").getproctitle()
    for name in PRELOADED:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    torch = sys.modules.get("torch")
    head, received, _, _ = socket.recv_fds(channel, 8, 64)
    size, data = int.from_bytes(head, "big"), b""
    while head and len(data) < size:
        if not (part := channel.recv(size - len(data))):
            break
        data += part
    if not data or len(data) < size:
        os._exit(0)  # the server ended, or wants no more children
    order = json.loads(data.decode("utf-8", "surrogateescape"))
    wanted = order["descriptors"]
    free = all(fd in held or not _open(fd) or fd in received or fd == number for fd in wanted)
    if not free or len(received) != len(wanted) or torch is not None and torch.cuda.is_initialized():
        channel.sendall(b"n")
        os._exit(0)
    # First out of the way of each other, then to the numbers that they have in the server.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, _RESERVED + 64) for fd in received]
    answer = socket.socket(fileno=fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _RESERVED + 64))
    channel.close()
    for fd in (held | set(received)) - {0, 1, 2}:
        with contextlib.suppress(OSError):
            os.close(fd)
    for fd, target in zip(moved, wanted, strict=True):
        os.dup2(fd, target, inheritable=True)
        os.close(fd)
    for name in set(os.environ) - set(order["environ"]):
        del os.environ[name]
    os.environ.update({name: value for name, value in order["environ"].items() if os.environ.get(name) != value})
    for limit, (soft, hard) in zip(LIMITS, order["limits"], strict=True):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (soft, hard))
    os.chdir(order["folder"])
    answer.sendall(b"y")
    answer.close()
    sys.argv = ["-c", "--multiprocessing-fork"]
    own_folder_first("")  # as after -c
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    if spares:
        lend(spares, port)
    exec(order["line"], vars(main))


def _open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def own_folder_first(folder: str) -> None:
    """`folder` in the place of this script's own, where Python put that at all (not with PYTHONSAFEPATH or -P)."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = folder


def run() -> None:
    children, module = [int(number) for number in sys.argv[1].split(",") if number], sys.argv[2]
    own_folder_first(os.getcwd())  # as after -m
    sys.argv = sys.argv[2:]
    port = int(sys.argv[sys.argv.index("--port") + 1]) if "--port" in sys.argv else _PORT
    lend(started(children, port), port)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "--spare":
        own_folder_first(os.getcwd())
        wait_as_spare(*map(int, sys.argv[2:]))
    else:
        run()
