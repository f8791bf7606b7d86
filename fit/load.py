"""How many bytes of weights one GPU holds. Pure."""

from __future__ import annotations

from fit import quantization
from fit.model import FitError, Model
from fit.serving import Serving
from fit.weights import Part, parts, unknown


def weights(model: Model, serving: Serving, file_bytes: int | None = None) -> int:
    """Of the model, its draft model and its adapters, on the GPU that holds the most.

    file_bytes: of all files of the model. They count where the server holds what lies in them; a method that it
    quantises with while it loads (--quantization fp8 of 16-bit weights) makes less of them. Raises FitError where the
    shapes have to do and config.json does not tell all of them.
    """
    every = parts(model)
    counted = file_bytes is not None and every and _as_stored(model, serving)
    if not counted and (missing := unknown(model)):
        raise FitError(f"this config.json does not name {' or '.join(missing)} in a way that is known here: name a "
                       "folder with the weights themselves, whose files are counted")
    held = sum(_bytes(part, model, serving) * _share(part, serving) for part in every)
    if file_bytes is not None and counted:
        stored = [part for part in every if not part.made]
        whole = sum(_bytes(part, model, serving) for part in stored)
        made = sum(_bytes(part, model, serving) * _share(part, serving) for part in every if part.made)
        held = made + file_bytes * sum(_bytes(part, model, serving) * _share(part, serving) for part in stored) / whole
    held += _rotary(model) + _draft(model, serving) + _adapters(model, serving)
    return max(0, int(held) - serving.cpu_offload_gb * (1 << 30))


def _bytes(part: Part, model: Model, serving: Serving) -> float:
    method = quantization.method(model, serving.quantization)
    plain = model.bytes_of(serving.dtype)
    return part.parameters * method.bytes(part.kind, plain)


def _as_stored(model: Model, serving: Serving) -> bool:
    """Whether the server holds weights as they lie in the files."""
    own, settled = quantization.method(model, None), quantization.method(model, serving.quantization)
    stored = str(model.text.get("dtype") or model.text.get("torch_dtype") or "bfloat16")
    plain = {"float32": 4, "float16": 2, "bfloat16": 2}.get(stored, 2)
    return own.bits == settled.bits and (bool(own.name) or plain == model.bytes_of(serving.dtype))


def _share(part: Part, serving: Serving) -> float:
    """The part of a part that the fullest GPU holds."""
    # Most models share the embedding out as their attention (use_attn_tp_group in srt/models/), Llama's over all.
    ranks = serving.attention_tp if part.kind == "attention" or part.name == "embedding" else serving.tp
    share = 1 / min(ranks, part.shards or ranks)
    if part.layers:
        return share / serving.pp_size
    return share


def _rotary(model: Model) -> int:
    """Sines and cosines of every position, in 32 bits, once for all layers."""
    width = model.rope_dim if model.latent else model.head_dim
    return min(model.context, 1 << 20) * width * 4


def _draft(model: Model, serving: Serving) -> float:
    algorithm = (serving.speculative_algorithm or "").upper()
    if serving.draft is not None:
        draft = Model(serving.draft)
        alone = Serving(tp_size=serving.tp, dtype=serving.dtype)
        return weights(draft, alone, serving.draft_bytes)
    if algorithm in ("EAGLE", "NEXTN", "FROZEN_KV_MTP") and model.draft_layers:
        # Layers like the last one; their embedding and head are the model's own.
        layers = [part for part in parts(model) if part.layers]
        one = sum(_bytes(part, model, serving) * _share(part, serving) for part in layers) / len(model.layers)
        return model.draft_layers * (one + 2 * 2 * model.hidden * model.hidden)
    return 0.0


def _adapters(model: Model, serving: Serving) -> float:
    """A place for each adapter of a batch, of the largest rank, beside every large matrix."""
    if not serving.max_lora_rank:
        return 0.0
    ends = 2 * model.hidden + 2 * model.heads * model.head_dim + 2 * model.kv_heads * model.head_dim
    inner = model.whole("intermediate_size")
    ends += 3 * model.hidden + 2 * model.hidden + 3 * inner
    return serving.max_lora_rank * ends * len(model.layers) * 2.0 * serving.max_loras_per_batch / serving.tp
