"""How many GPUs one copy of the model is split over, where the user does not say. Pure."""

from __future__ import annotations

from settings.flags import Given
from settings.flags.values import Notice, Problem


def tensor_parallel(given: Given, gpus: int | None, config_file: bool, nodes: int = 1
                    ) -> tuple[list[str], list[Notice], list[Problem]]:
    """(arguments, notices, problems) of the tensor parallel size, by default every GPU that is left for it.

    gpus: of this machine; nodes: machines with as many each, that are one engine.

    The GPUs a server takes are replicas x tensor parallel x pipeline parallel (compute_world_size in
    srt/server_args.py). Attention data parallelism divides the tensor parallel group instead of multiplying
    it; its older spelling, --dp-size with --enable-dp-attention, turns the replicas into such groups.
    """
    replicas, groups = given.count("--dp-size"), given.count("--attn-dp-size")
    pipeline = given.count("--pp-size")
    if given.on("--enable-dp-attention"):
        replicas, groups = 1, max(groups, replicas)
    here = "" if nodes == 1 else f" on {nodes} nodes"
    gpus = gpus * nodes if gpus else gpus
    if "--tp-size" in given:
        need = given.count("--tp-size") * replicas * pipeline
        many = f"{need} GPUs are needed and {gpus} visible{here} (tensor x data x pipeline parallel size)"
        return [], [("warn", many)] if gpus and need > gpus else [], _uneven(given.count("--tp-size"), pipeline, nodes)
    if config_file:
        return [], [("info", "tensor parallel size: left to the configuration file")], []
    if nodes > 1 and (given.value("--device") == "cpu" or not gpus):
        gpus = nodes
        here = f" ({'the device is the CPU' if given.value('--device') == 'cpu' else 'no GPU is visible'}: 1 a node)"
    elif given.value("--device") == "cpu" or not gpus:
        why = "the device is the CPU" if given.value("--device") == "cpu" else "no GPU is visible"
        return [], [("info", f"tensor parallel size 1: {why}")], []
    if gpus < replicas * pipeline:
        return [], [], [Problem("DATA_PARALLEL_SIZE", str(replicas), f"with pipeline parallel size {pipeline} "
                                f"needs at least {replicas * pipeline} GPUs, and {gpus} are visible{here}")]
    size = gpus // (replicas * pipeline)
    if size % groups:
        return [], [], [Problem("ATTN_DP_SIZE", str(groups), f"must divide the tensor parallel size, {size} here "
                                "(the visible GPUs); set TENSOR_PARALLEL_SIZE to choose another")]
    shares = f" / data parallel {replicas}" * (replicas > 1) + f" / pipeline parallel {pipeline}" * (pipeline > 1)
    if wrong := _uneven(size, pipeline, nodes):
        return [], [], wrong
    notices = [("info", f"tensor parallel size {size}: {gpus} visible GPU{'' if gpus == 1 else 's'}{here}{shares}")]
    if gpus % (replicas * pipeline):
        notices.append(("warn", f"{gpus - size * replicas * pipeline} of {gpus} GPUs stay idle: they do not divide "
                                "evenly by the data and pipeline parallel sizes"))
    if size & (size - 1):
        notices.append(("warn", f"few models can be split {size} ways: set TENSOR_PARALLEL_SIZE where the server "
                                "refuses"))
    return (["--tp-size", str(size)] if size > 1 else []), notices, []


def _uneven(tensor: int, pipeline: int, nodes: int) -> list[Problem]:
    """What SGLang could not share out evenly over the nodes (_calculate_rank_ranges in srt/entrypoints/engine.py)."""
    if nodes == 1:
        return []
    if pipeline % nodes and nodes % pipeline:
        return [Problem("PIPELINE_PARALLEL_SIZE", str(pipeline), f"must divide the number of nodes, {nodes}, or be a "
                        "multiple of it")]
    if tensor % max(1, nodes // pipeline):
        return [Problem("TENSOR_PARALLEL_SIZE", str(tensor), f"must be a multiple of {max(1, nodes // pipeline)}, the "
                        f"nodes that share it ({nodes} nodes, pipeline parallel size {pipeline})")]
    return []
