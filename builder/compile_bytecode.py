"""Bytecode for everything that the server imports, made while the image is built: run by the server's own Python.

    python3 -m builder.compile_bytecode

The official images install SGLang in place (pip install -e), and such packages get no bytecode from pip: each new
container would compile SGLang anew at its start. Compiled are SGLang's folder, wherever this Python finds it, and the
folders of installed packages; what has bytecode already is left alone.

Exit status 0; 1 when this Python has no SGLang, or a module of SGLang's server could not be compiled.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib.util
import io
import os
import site
import sys
import sysconfig

_SERVER = "srt"  # what is beside it (tests, other servers) may be written for another Python


def folders() -> tuple[list[str], list[str]]:
    """(SGLang's own, those of packages)"""
    spec = importlib.util.find_spec("sglang")
    own = list(spec.submodule_search_locations or []) if spec else []
    paths = sysconfig.get_paths()
    packages = [*site.getsitepackages(), paths["purelib"], paths["platlib"], paths["stdlib"]]
    return own, [path for path in dict.fromkeys(map(os.path.realpath, packages)) if os.path.isdir(path)]


def without(folder: str) -> list[str]:
    """Modules below `folder` for which Python would find no bytecode."""
    return [path for parent, _, names in os.walk(folder) for name in names if name.endswith(".py")
            and not os.path.exists(importlib.util.cache_from_source(path := os.path.join(parent, name)))]


def main() -> int:
    own, packages = folders()
    if not own:
        print("this Python has no sglang", file=sys.stderr)
        return 1
    for folder in [*own, *packages]:
        # Packages bring templates and code for other versions, which are no Python of this one: nobody imports them.
        with contextlib.redirect_stdout(io.StringIO()):
            compileall.compile_dir(folder, quiet=2, workers=0)
    missing = [path for folder in own for path in without(os.path.join(folder, _SERVER))]
    print(f"bytecode: SGLang in {', '.join(own)}, packages in {', '.join(packages)}")
    if missing:
        print(f"no bytecode for {len(missing)} modules of SGLang, such as {missing[0]}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
