"""Packed copies of a model's weights, made where there is time for it: in a Pod that has the endpoint's volume.

    MODEL_NAME=… python -m builder.pack_weights [--to FOLDER] [--processes N]

It finds the weights as the worker does, by the same variables (MODEL_NAME, MODEL_REVISION, RUNPOD_MODEL_CACHE, …), and
leaves the copies where the worker looks for them: PACKED_WEIGHTS_DIR, or the network volume. With the volume elsewhere,
as in a Pod at /workspace, name both: RUNPOD_MODEL_CACHE=/workspace/huggingface-cache/hub and
--to /workspace/.cache/worker-sglang/packed. What was made before stays, and a run that was stopped goes on.

Exit status: 0 when every file of weights has a copy, 1 when not, 2 when the settings are wrong.
"""

from __future__ import annotations

import argparse
import os
import sys

from settings import config, here
from start.kernels import compile_cache
from start.weights import files
from start.weights.packed import copies, packer


def main(argv: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m builder.pack_weights", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--to", metavar="FOLDER", help="where the copies go (default: PACKED_WEIGHTS_DIR, or the volume)")
    p.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    options = p.parse_args(argv)
    try:
        settings, snapshot = here.resolved(os.environ)
    except config.ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    folder = options.to or copies.place(settings.start.packed_dir, compile_cache.VOLUME)
    found = copies.of_safetensors(files.of(settings.server_args, snapshot))
    if not folder or not found:
        print(f"no weights of {settings.model} in safetensors are on this machine" if folder else
              f"there is no volume at {compile_cache.VOLUME}: name a folder with --to", file=sys.stderr)
        return 2
    told = packer.pack_all(found, folder, max(1, options.processes))
    print(f"{told['made']} of {told['files']} files packed in {told['seconds']:.0f} s: {told['bytes'] / 1e9:.2f} GB "
          f"are {told['stored'] / 1e9:.2f} GB in {folder}")
    if told["error"]:
        print(told["error"], file=sys.stderr)
    return 0 if len(copies.find(found, folder)) == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
