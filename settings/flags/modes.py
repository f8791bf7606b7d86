"""SGLang's modes of spreading work over ranks, servers and memories: what a worker cannot do, and what it says of the
rest. Pure.

A worker starts one server and hands it requests that came without a router before it. What needs a second server, a
router or a program that sends weights would hang, answer wrongly or die at its first job: it is refused before anything
is started. Read from SGLang 0.5.23, in the files named beside the rows; docs/scaling/modes.md has all modes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from settings.flags import REFUSED, Given, Item, variable
from settings.flags.values import Notice, Problem


class Rule(NamedTuple):
    """why: it cannot work, and the remedy; only: the values with which it cannot, none for any; off: those that ask for
    nothing."""

    why: str
    only: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


_HALF = "works in a server of prefill alone, which a worker cannot be: leave it out"
CANNOT: dict[str, Rule] = {
    # handle_generate_request in srt/managers/scheduler.py refuses what has no bootstrap room.
    "--disaggregation-mode": Rule(
        "is one half of two servers and a router, which sends each request to both with the room where they meet; a "
        "job has none, and each would be refused: leave it out, one server does both, or run such servers on SGLang's "
        "own image, without a worker", off=("null",)),
    # srt/mem_cache/storage/sim_storage.py: keys alone are kept.
    "--hicache-storage-backend": Rule(
        "keeps no cache and gives back garbage, to measure with: leave it out, or set file", only=("sim",)),
    # srt/arg_groups/kv_shard_hook.py, model_hook.py
    "--enable-kv-cache-sharding": Rule(_HALF),
    "--enable-dsa-cache-layer-split": Rule(_HALF),
    # _wait_weights_ready in srt/entrypoints/http_server.py
    "--checkpoint-engine-wait-weights-before-ready": Rule(
        "waits for weights that another program sends over routes which no job reaches: leave it out, the server loads "
        "those of MODEL_NAME"),
    # srt/speculative/decoupled_spec_io.py
    "--decoupled-spec-role": Rule(
        "is one half of two servers, which draft and verify for each other, and a worker starts one: leave it out, "
        "SPECULATIVE_ALGORITHM does both in one", off=("null",)),
    # Joiners' schedulers are served through the first server (_wait_and_warmup in srt/entrypoints/http_server.py).
    "--elastic-ep-join-mode": Rule(
        "joins another server and answers nothing itself, so that no job would be served: leave it out"),
}
# What has an effect only beside another flag: without that nobody reads it.
_PD, _HIERARCHY = "--disaggregation-mode", "--enable-hierarchical-cache"
NEEDS: dict[str, str] = {
    **dict.fromkeys((
        "--disaggregation-bootstrap-port", "--disaggregation-decode-allocation-policy",
        "--disaggregation-decode-enable-offload-kvcache", "--disaggregation-decode-enable-radix-cache",
        "--disaggregation-decode-extra-slots", "--disaggregation-decode-polling-interval",
        "--disaggregation-enable-kv-checksum", "--disaggregation-ib-device", "--disaggregation-transfer-backend",
        "--enable-pd-role-switch", "--optimistic-prefill-attempts"), _PD),
    **dict.fromkeys((
        "--hicache-host-memory-fraction", "--hicache-host-memory-mode", "--hicache-io-backend", "--hicache-mem-layout",
        "--hicache-ratio", "--hicache-size", "--hicache-storage-backend", "--hicache-storage-backend-extra-config",
        "--hicache-storage-prefetch-policy", "--hicache-storage-prefetch-retry-max-attempts",
        "--hicache-storage-prefetch-retry-poll-interval", "--hicache-write-policy"), _HIERARCHY),
    **dict.fromkeys(("--encoder-bootstrap-port", "--encoder-transfer-backend", "--enable-adaptive-dispatch-to-encoder",
                     "--encoder-urls"), "--language-only"),
    "--encoder-register-urls": "--encoder-only",
    "--elastic-ep-scale-timeout": "--elastic-ep-backend",
    **dict.fromkeys(("--decoupled-spec-bind-endpoint", "--decoupled-spec-connect-endpoints", "--decoupled-spec-rank"),
                    "--decoupled-spec-role"),
    **dict.fromkeys(("--weight-cache-socket", "--weight-cache-timeout"), "--weight-cache-mode"),
    **dict.fromkeys(("--pdmux-config-path", "--sm-group-num"), "--enable-pdmux"),
    **dict.fromkeys(("--kt-cpuinfer", "--kt-max-deferred-experts-per-token", "--kt-method", "--kt-num-gpu-experts",
                     "--kt-threadpool-count"), "--kt-weight-path"),
    **dict.fromkeys(("--dllm-algorithm-config", "--dllm-fdfo"), "--dllm-algorithm"),
    "--lmcache-config-file": "--enable-lmcache", "--flexkv-config-file": "--enable-flexkv",
    **dict.fromkeys(("--unified-cache-external-linker-backend", "--unified-cache-external-linker-config"),
                    "--enable-unified-cache-external-linker"),
    "--paged-experts-num-resident": "--enable-paged-experts", "--mm-global-cache-backend": "--enable-mm-global-cache",
    "--smg-http-sidecar-port": "--smg-grpc-mode",
}
# Said once at the start, of what works and may not be what was wanted: (flag, the values that are meant, what is said).
SAID: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("--weight-cache-mode", ("daemon",),
     "holds the weights in a process that ends with the server, so that the first start is slower and a restart no "
     "faster"),
    ("--weight-cache-mode", ("client",),
     "takes weights from a daemon that has to be started beside the worker; without its socket they are read from "
     "disk"),
    ("--dwdp-size", (), "fetches the experts of other GPUs again at every step of an answer: made for servers of "
     "prefill alone, which a worker cannot be"),
    ("--moe-a2a-backend", ("deepep", "deepep_v2", "mooncake", "nixl", "pplx", "flashinfer", "flashinfer_megamoe",
                           "megamoe"),
     "moves tokens between GPUs by kernels that are made for NVLink, and RDMA between machines; GPUs that are linked "
     "by PCIe alone want none"),
    ("--grpc-port", (), "starts a second server on 127.0.0.1, which nothing in a worker calls"),
    ("--sidecar", (), "starts a program that nothing in a worker calls"),
    ("--kt-weight-path", (), "needs the package kt_kernel, which SGLang does not require, and the cores of a whole "
     "machine"),
)
_ONE = ("1",)
# With each of these SGLang sets --moe-a2a-backend, and with that the expert parallel size: _a2a_backend_overrides in
# srt/arg_groups/overrides.py, mega_moe_hook.py, model_overrides/deepseek_v2.py. Some models bring it alone
# (minimax_m3.py there), which flags do not tell.
_EXCHANGES = ("--enable-waterfill", "--enable-w4a4-mxfp4-megamoe", "--enable-prefill-cp",
              "--enable-prefill-context-parallel", "--enable-dsa-prefill-context-parallel",
              "--enable-nsa-prefill-context-parallel")
_DRAFTS_IN_STAGES = "SGLANG_ENABLE_PP_SPEC"  # read by SGLang: check_pipeline_parallel_compat, validation_hook.py


def refused(items: Iterable[Item]) -> list[tuple[str, str, str]]:
    """(flag, value or "", why) for each of the `items` that cannot work in a worker, the last of each flag."""
    found = []
    for flag, item in {item.flag: item for item in items if item.flag}.items():
        rule, values = CANNOT.get(flag), [value.lower() for value in item.values]
        if rule and item.on and not (values and values[0] in rule.off) and (
                not rule.only or any(value in rule.only for value in values)):
            found.append((flag, " ".join(item.values), rule.why))
    return found


def told(rule: Rule) -> str:
    """For a document: what is refused, and why."""
    values = f" {' and '.join(rule.only)}" if rule.only else f" but {' and '.join(rule.off)}" if rule.off else ""
    return f"Refused{values}: it {rule.why}"


def asked(given: Given, flag: str) -> bool:
    """Whether `flag` asks for something: it is there, and not with a value that means nothing."""
    off = CANNOT[flag].off if flag in CANNOT else ("none", "off", "null")
    return given.on(flag) and (given.value(flag) or "").lower() not in off


def clashes(given: Given, tp_size: int | None, config_file: bool, mode: str, environ: Mapping[str, str]
            ) -> list[Problem]:
    """What SGLang would end over after its imports, or wait over for ever, as far as flags alone tell it.

    tp_size: of tensor parallelism, None where it is not known; config_file: there is one, which may hold what is
    missing here; mode: of the worker, "queue" or "http".
    """
    problems = []

    def no(flag: str, why: str) -> None:
        problems.append(Problem(variable(flag), " ".join(given.values(flag)), why))

    if mode == "queue" and given.on("--language-only"):
        no("--language-only", "has encoders on other machines send their embeddings to this one, and nothing can "
           "connect to a worker of the queue; without encoders an image is read by a part of the model that was not "
           "loaded: leave it out, the whole model reads images itself")
    several = max(map(given.count, ("--dp-size", "--attn-dp-size"))) > 1
    if several and given.value("--load-balance-method") == "follow_bootstrap_room":
        # srt/managers/data_parallel_controller.py asserts that there is a room, and ends with the first request.
        no("--load-balance-method", "goes by the room that a router gives to each request, and the first job, which "
           "has none, would end the server: set round_robin, total_requests or total_tokens")
    if config_file:
        return problems
    if given.on(_HIERARCHY) and given.on("--disable-radix-cache"):
        no(_HIERARCHY, "keeps what the radix cache found, which DISABLE_RADIX_CACHE turns off: leave one of them out")
    if given.count("--pp-size") > 1 and asked(given, "--speculative-algorithm") and not environ.get(_DRAFTS_IN_STAGES):
        no("--pp-size", "does not go with SPECULATIVE_ALGORITHM outside a server of prefill alone: leave one of them "
           "out")
    return problems + _uneven(given, tp_size) if tp_size else problems


def _uneven(given: Given, tp_size: int) -> list[Problem]:
    """Sizes of groups of ranks that do not come out."""
    problems = []

    def no(flag: str, why: str) -> None:
        problems.append(Problem(variable(flag), " ".join(given.values(flag)), why))

    groups, spreads = given.count("--attn-dp-size"), _exchanges(given)
    if groups > 1 and given.count("--dp-size") > 1 and not given.on("--enable-dp-attention"):
        no("--attn-dp-size", "divides one replica, and does not go with DATA_PARALLEL_SIZE, which makes several: set "
           "one of them")
    if given.on("--enable-dp-attention"):
        groups = max(groups, given.count("--dp-size"))
    for flag, parts in (("--attn-dp-size", groups), ("--ep-size", given.count("--ep-size")),
                        ("--attn-cp-size", given.count("--attn-cp-size")),
                        ("--moe-dp-size", given.count("--moe-dp-size"))):
        if tp_size % parts and not (flag == "--ep-size" and spreads):  # which sets it to the tensor parallel size
            spelled = flag if flag in given else "--dp-size"
            no(spelled, f"must divide the tensor parallel size, {tp_size} here: set TENSOR_PARALLEL_SIZE to a multiple")
    if given.count("--dwdp-size") not in (1, tp_size):
        no("--dwdp-size", f"must be the tensor parallel size, {tp_size} here")
    return problems


def _exchanges(given: Given) -> bool:
    """Whether the flags alone tell of an exchange of tokens between GPUs."""
    return asked(given, "--moe-a2a-backend") or any(map(given.on, _EXCHANGES))


def _alone(given: Given) -> list[Notice]:
    """What SGLang ends over at its start, unless the model brings an exchange of tokens."""
    if _exchanges(given):
        return []
    found: list[Notice] = []
    if (given.on("--enable-two-batch-overlap") and given.count("--attn-dp-size") < 2
            and not given.on("--enable-dp-attention")):
        found.append(("warn", "ENABLE_TWO_BATCH_OVERLAP overlaps the exchange of tokens between GPUs, of which there "
                              "is none: SGLang ends without ATTN_DP_SIZE or MOE_A2A_BACKEND, unless the model sets "
                              "that"))
    if given.on("--enable-eplb") and given.count("--ep-size") < 2:
        found.append(("warn", "ENABLE_EPLB moves experts between the ranks of EP_SIZE, of which there is one: SGLang "
                              "ends without EP_SIZE or MOE_A2A_BACKEND, unless the model sets that"))
    return found


def notices(given: Given, config_file: bool) -> list[Notice]:
    """One line for each mode that works otherwise than its name lets hope, and for settings that nobody reads."""
    found: list[Notice] = [] if config_file else _alone(given)
    for flag, values, text in SAID:
        value = given.value(flag) or ""
        if flag in given and value not in _ONE and (not values or value.lower() in values):
            found.append(("warn", f"{variable(flag)}={value} {text}"))
    idle: dict[str, list[str]] = {}
    for flag, need in NEEDS.items():
        if not config_file and given.on(flag) and not asked(given, need):
            idle.setdefault(need, []).append(variable(flag))
    for need, names in sorted(idle.items()):
        never = ", which a worker cannot have" if need in CANNOT or need in REFUSED else ""
        found.append(("warn", f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect without "
                              f"{variable(need)}{never}"))
    return found
