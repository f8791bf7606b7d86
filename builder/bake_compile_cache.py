"""Compiles the server's kernels once, for an image that brings them: run in the image, on the GPU they are for.

    docker run --rm --gpus all -e MODEL_NAME=… -v "$PWD/compile-cache:/out" worker-sglang:mine \
        /opt/worker/bin/python -m builder.bake_compile_cache /out

Starts the server as the worker would with the same settings, warms it up, stops it, and writes one archive into the
folder. An image made from this one with `COPY compile-cache/ /opt/compile-cache/` restores it at its start, on
GPUs of the same kind and with the same model, settings and versions. Several may lie there.

Exit status 0; 1 when the server did not start or nothing was written, 2 when the configuration is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from engine import Engine, EngineError, Patience
from job.model import from_engine
from settings import config, here
from start.cold_start import ColdStart

_SAVE = 600.0  # seconds


def bake(folder: str, environ: Mapping[str, str]) -> list[str]:
    """Names of the archives that were written. Raises ConfigError or EngineError."""
    environ = {**environ, "COMPILE_CACHE": "auto", "COMPILE_CACHE_DIR": folder}
    settings, snapshot = here.resolved(environ)
    os.makedirs(folder, exist_ok=True)
    before = _archives(folder)
    cold = ColdStart(settings, snapshot, time.monotonic())
    engine = Engine([*settings.launch_command, *settings.server_args],
                    cold.environ(config.engine_environ(settings, environ)), port=settings.port,
                    api_key=settings.api_key, listen=cold.listen,
                    patience=Patience(settings.startup_timeout))
    try:
        engine.start()
        cold.launched(engine)
        cold.ready(engine.wait_ready())
        cold.warm(from_engine(engine))
    finally:
        engine.stop(15)
        cold.close(_SAVE)
    return sorted(name for name, at in _archives(folder).items() if before.get(name) != at)


def _archives(folder: str) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in Path(folder).glob("*.tar.gz")}


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(prog="python -m builder.bake_compile_cache", description=__doc__.split("\n")[0])
    options.add_argument("folder", help="where the archive goes")
    try:
        written = bake(os.path.abspath(options.parse_args(arguments).folder), os.environ)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(written) or "nothing new was compiled")
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
