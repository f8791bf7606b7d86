"""Everything that a machine with nothing but Python needs, installed once into a cache folder.

Two virtual environments that cannot be one (SGLang pins an old `openai`): the worker with its tests, and a
real SGLang for the CPU; the tiny demo model, trained with the second; and SGLang's router, whose packages are
its own business. Standard library only, because
this module runs before anything is installed. Each function returns at once when its result is there, and
any number of processes may call it at the same time.

Environment variables, each optional:
  WORKER_SGLANG_CACHE          the cache folder, otherwise $XDG_CACHE_HOME/worker-sglang
  WORKER_SGLANG_WORKER_PYTHON  a Python that has the worker's packages: nothing is installed for the worker
  WORKER_SGLANG_ENGINE_PYTHON  a Python that has SGLang: nothing is installed for the engine
  WORKER_SGLANG_ROUTER_PYTHON  a Python that has sglang-router: nothing is installed for the router
pip's own variables (an index, a proxy, a folder of wheels) work as usual. With PyTorch's CPU-only index
among them the engine takes 2.3 GB; otherwise pip takes the CUDA build of torch, and it takes 5.3 GB.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

LOCAL = Path(__file__).resolve().parent
ROOT = LOCAL.parent
OLDEST_PYTHON = (3, 11)  # SGLang's own minimum
HEARTBEAT = 10.0  # seconds between progress lines of a long step
TAIL = 30  # lines of a log shown when a step fails

Progress = Callable[[str], object]

WORKER_FILES = (ROOT / "requirements.txt", LOCAL / "requirements-dev.txt", LOCAL / "constraints-worker.txt")
ENGINE_FILES = (LOCAL / "requirements-cpu-engine.txt", LOCAL / "constraints-cpu-engine.txt")
ROUTER_FILES = (LOCAL / "requirements-router.txt", LOCAL / "constraints-router.txt")
# SGLang without its dependencies, which are the CUDA stack.
SGLANG = "sglang==0.5.23"
# SGLang imports torchvision unconditionally, and any version with operators registered at import dies beside
# a torch that it was not built for. This one gives up its compiled part with a warning and works. Its wheels
# end at Python 3.11; as only its Python part is used, that wheel serves newer Pythons too.
TORCHVISION = "torchvision==0.15.2"
TORCHVISION_WHEEL = (
    "--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11", "--abi", "cp311")
# Byte code is made here, though it is half the time: where PYTHONDONTWRITEBYTECODE is set, as in many
# containers, SGLang would otherwise compile itself at every start, which takes minutes.
PIP_INSTALL = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off",
               "--compile")
MODEL_FILES = (LOCAL / "tiny_model.py", LOCAL / "tiny_lessons.py", LOCAL / "corpus.py")

# The worker's variables for SGLang on a CPU. Without MAX_TOTAL_TOKENS the cache takes 16 GB and a minute;
# without DTYPE float32 weights are served in float16, which a CPU computes more slowly and less exactly.
CPU_ENGINE_ARGS: dict[str, str] = {
    "DEVICE": "cpu",
    "ATTENTION_BACKEND": "torch_native",
    "DTYPE": "float32",
    "DISABLE_OVERLAP_SCHEDULE": "true",
    "MAX_TOTAL_TOKENS": "16384",
    "MAX_RUNNING_REQUESTS": "32",
    "LORA_BACKEND": "torch_native",  # the others are kernels for a GPU
    "SLEEP_ON_IDLE": "true",  # or an engine that nobody asks takes a core
}
# What the tiny model wants beside them: its tool calls are in Qwen's format, and a small model under a JSON
# schema would pad with white space for ever.
TINY_MODEL_ARGS: dict[str, str] = {
    "TOOL_CALL_PARSER": "qwen25",
    "CONSTRAINED_JSON_DISABLE_ANY_WHITESPACE": "true",
}


class SetupError(RuntimeError):
    """A step failed; the message holds the end of its log and where the whole log is."""


def cache_root() -> Path:
    """The folder that holds everything this module makes; it may not exist yet."""
    if chosen := os.environ.get("WORKER_SGLANG_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "worker-sglang"


def worker_python(progress: Progress = print) -> Path:
    """The Python of the worker, its tests and the local tools; installed when missing.

    SetupError on failure.
    """
    if chosen := os.environ.get("WORKER_SGLANG_WORKER_PYTHON"):
        return Path(chosen)
    requirements, dev, constraints = map(str, WORKER_FILES)
    return environment("worker", WORKER_FILES, progress, [
        ("the worker's packages", ["-r", requirements, "-r", dev, "-c", constraints]),
    ])


def engine_python(progress: Progress = print) -> Path:
    """The Python that has SGLang for the CPU; installed when missing (1 to 3 minutes).

    Running SGLang with it needs `engine_environ` too. SetupError on failure.
    """
    if chosen := os.environ.get("WORKER_SGLANG_ENGINE_PYTHON"):
        return Path(chosen)
    return environment("engine", ENGINE_FILES, progress, [
        ("the CPU engine's packages (2 GB or more)", ["-r", str(ENGINE_FILES[0])]),
        ("SGLang", ["--no-deps", SGLANG]),
        ("torchvision", ["--no-deps", "--target", "{site}", *TORCHVISION_WHEEL, TORCHVISION]),
    ], salt=f"{SGLANG} {TORCHVISION}")


def router_python(progress: Progress = print) -> Path:
    """The Python that has SGLang's router; installed when missing (30 MB to fetch). SetupError on failure."""
    if chosen := os.environ.get("WORKER_SGLANG_ROUTER_PYTHON"):
        return Path(chosen)
    requirements, constraints = map(str, ROUTER_FILES)
    return environment("router", ROUTER_FILES, progress, [("SGLang's router", ["-r", requirements, "-c", constraints])])


def tiny_model(progress: Progress = print) -> Path:
    """The folder of the tiny demo model, trained when missing (about half a minute). SetupError on failure.

    What it answers is in `local/corpus.py`; serve it as `corpus.SERVED_NAME`.
    """
    folder = cache_root() / f"tiny-model-{key_of(MODEL_FILES)}"
    with once(folder, progress) as missing:
        if missing:
            python = engine_python(progress)
            environ = engine_environ(os.environ)
            environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ["PYTHONPATH"]])
            command = [str(python), "-W", "ignore", "-m", "local.tiny_model", str(folder)]
            run_step("training the tiny demo model", command, folder.with_suffix(".log"), progress, environ)
    return folder


def engine_environ(base: Mapping[str, str]) -> dict[str, str]:
    """`base` with what SGLang needs to run on a CPU: its fallback kernels, one thread, no network, no GPU.

    One thread, because beside one busy neighbour torch's thread pool is ten times slower than none.
    TORCHDYNAMO_DISABLE spares the first request with a repetition penalty a compilation of up to 18 s.
    """
    path = [str(LOCAL / "shim"), *filter(None, [base.get("PYTHONPATH")])]
    return {
        **base,
        "PYTHONPATH": os.pathsep.join(path),
        "SGLANG_USE_CPU_ENGINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCHDYNAMO_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def environment(name: str, files: tuple[Path, ...], progress: Progress, steps: list[tuple[str, list[str]]],
                salt: str = "") -> Path:
    """The Python of a virtual environment in the cache, made by `steps` of (what, pip's arguments) when missing; a new
    one when `files` or `salt` change. SetupError on failure."""
    # A virtual environment cannot be moved, so it is built where it stays; `once` says when it is whole.
    if sys.version_info < OLDEST_PYTHON:
        raise SetupError(f"Python {'.'.join(map(str, OLDEST_PYTHON))} or newer is needed; this is "
                         f"{platform.python_version()} ({sys.executable})")
    about = f"{platform.python_implementation()} {sys.version_info[:2]} {platform.machine()} {salt}"
    folder = cache_root() / f"{name}-{key_of(files, about)}"
    python = folder / "bin" / "python"
    # `python` is a link to the interpreter that made it, which a system upgrade may have taken away.
    with once(folder, progress, python) as missing:
        if missing:
            log = folder.with_suffix(".log")
            venv = [sys.executable, "-m", "venv", str(folder)]
            run_step(f"making a virtual environment in {folder}", venv, log, progress)
            site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
            for what, arguments in steps:
                command = [str(python), *PIP_INSTALL, *(part.format(site=site) for part in arguments)]
                run_step(f"installing {what}", command, log, progress)
    return python


def key_of(files: tuple[Path, ...], about: str = "") -> str:
    """Changes with the content of any of `files` and with `about`."""
    digest = hashlib.sha256(about.encode())
    for file in files:
        content = file.read_bytes()
        digest.update(f"\0{file.name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def once(folder: Path, progress: Progress, needed: Path | None = None) -> Iterator[bool]:
    """Yields whether `folder` must be made, alone among all processes; marks it whole when the body succeeds.

    What an interrupted attempt left is removed first. `needed`: a file without which the folder is not whole.
    """
    marker = folder / ".complete"

    def whole() -> bool:
        return marker.exists() and (needed is None or needed.exists())

    if whole():
        yield False
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"waiting for another process that makes {folder}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if whole():
            yield False
            return
        if folder.exists():
            shutil.rmtree(folder)
        folder.with_suffix(".log").unlink(missing_ok=True)
        yield True
        marker.touch()


def run_step(what: str, command: list[str], log: Path, progress: Progress,
             environ: Mapping[str, str] | None = None) -> None:
    """Run to the end with the output in `log`, saying now and then how it goes."""
    progress(f"{what} ...")
    start = time.monotonic()
    with open(log, "ab") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT)
    try:
        while True:
            try:
                status = process.wait(HEARTBEAT)
                break
            except subprocess.TimeoutExpired:
                progress(f"  {time.monotonic() - start:.0f} s: {_last_line(log)}")
    finally:
        # Ctrl-C or a failing progress function: no half-installed environment goes on being written.
        if process.poll() is None:
            process.kill()
            process.wait()
    if status:
        raise SetupError(_failure(what, status, log))
    progress(f"{what}: done in {time.monotonic() - start:.1f} s")


def _failure(what: str, status: int, log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    hint = ""
    if any("ensurepip is not available" in line for line in lines):
        hint = "\nThis Python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"
    return f"{what} failed with status {status}; the end of {log}:\n" + "\n".join(lines[-TAIL:]) + hint


def _last_line(log: Path) -> str:
    text = log.read_bytes()[-4000:].decode(errors="replace")
    # pip warns about every index that lacks a package; where it is shows in its other lines.
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("WARNING")]
    return lines[-1][:100] if lines else "no output yet"
