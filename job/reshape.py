"""Answers in the shape that a client asked for, where the engine has another.

Pure. Each function makes what `Request.reshape` is: the engine's whole answer in, the job's answer out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from utils import JobError

Reshape = Callable[[Any], Any]
_OF_AN_INSTANCE = ("text", "input_ids", "input_embeds", "image_data")


def rerank(body: dict[str, Any], name: str, job_id: str, default_documents: bool) -> tuple[dict[str, Any], Reshape]:
    """SGLang's body for a /rerank body of Jina's or Cohere's clients, and what makes their answer of SGLang's list
    ({"score", "index", "meta_info"}, best first; sglang: openai/serving_rerank.py): `results` of `index`,
    `relevance_score` and, when asked for, `document`; `usage`; `model`; `id`.

    Documents are strings, or objects with `text`, with `image` (an address or data) or with `content` (parts).
    """
    documents, wanted = body.get("documents"), body.get("return_documents")
    wanted = default_documents if wanted is None else wanted
    if not isinstance(wanted, bool):
        raise JobError("`return_documents` must be true or false.", param="return_documents")
    given = list(documents) if isinstance(documents, list) else []
    engine_body = {**body, "return_documents": False}  # its own copy can only be text
    if given:
        engine_body["documents"] = [_document(document) for document in given]
    if isinstance(body.get("query"), dict):
        engine_body["query"] = _document(body["query"])

    def answer(ranked: Any) -> Any:
        if not isinstance(ranked, list):
            return ranked
        results, tokens = [], 0
        for entry in ranked:
            result = {"index": entry["index"], "relevance_score": entry["score"]}
            if wanted and entry["index"] < len(given):
                document = given[entry["index"]]
                result["document"] = {"text": document} if isinstance(document, str) else document
            results.append(result)
            tokens += (entry.get("meta_info") or {}).get("prompt_tokens") or 0
        return {"id": job_id, "object": "list", "model": name, "results": results,
                "usage": {"total_tokens": tokens, "prompt_tokens": tokens}, "meta": {"api_version": {"version": "2"}}}

    return engine_body, answer


def _document(document: Any) -> Any:
    if not isinstance(document, dict):
        return document
    if isinstance(document.get("text"), str):
        return document["text"]
    if isinstance(document.get("image"), str):
        return [{"type": "image_url", "image_url": {"url": document["image"]}}]
    return document.get("content", document)


def predictions(body: dict[str, Any]) -> tuple[dict[str, Any], Reshape]:
    """The native body of a Vertex AI body, `instances` and `parameters`, and what makes `predictions` of its answer.

    As sglang: entrypoints/http_server.py, vertex_generate, whose own check refuses every such body in 0.5.23.
    """
    instances, parameters = body.get("instances"), body.get("parameters")
    if not isinstance(instances, list) or not instances or not all(isinstance(entry, dict) for entry in instances):
        raise JobError("`instances` must be a list of objects such as {\"text\": \"...\"}.", param="instances")
    if not isinstance(parameters, dict | None):
        raise JobError("`parameters` must be an object such as {\"sampling_params\": {}}.", param="parameters")
    other = next((name for entry in instances for name in entry if name not in _OF_AN_INSTANCE), None)
    if other:
        raise JobError(f"`instances` can hold {', '.join(_OF_AN_INSTANCE)}; put `{other[:60]}` into `parameters`.",
                       param="instances")
    # What stands beside them, such as `model`, counts as well.
    native = {name: value for name, value in body.items() if name not in ("instances", "parameters")}
    native |= parameters or {}
    for name in ("text", "input_ids", "input_embeds"):
        if instances[0].get(name) is not None:
            native[name] = [entry.get(name) for entry in instances]
            break
    images = [entry.get("image_data") for entry in instances]
    if any(image is not None for image in images):
        # A list for each prompt, where not each has just one (sglang: io_struct.py, _normalize_image_data).
        native["image_data"] = images if all(isinstance(image, str) for image in images) else [
            image if isinstance(image, list) else [] if image is None else [image] for image in images]
    if native.get("stream"):
        raise JobError("`stream` is not known to Vertex AI: use /generate.", param="stream")
    return native, lambda answer: {"predictions": answer}


def with_adapters(offered: Mapping[str, str], then: Reshape | None) -> Reshape:
    """Of the list that /v1/models gives one with the adapters {name: where it is} that the engine has not loaded yet;
    `then` is applied to it."""
    def answer(listed: Any) -> Any:
        cards = listed.get("data") if isinstance(listed, dict) else None
        if isinstance(cards, list):
            known = {card.get("id"): card.get("parent") for card in cards if isinstance(card, dict)}
            served = next((name for name, parent in known.items() if parent is None), None)
            listed = {**listed, "data": [*cards, *(
                {"id": name, "object": "model", "created": int(time.time()), "owned_by": "sglang", "root": root,
                 "parent": served, "max_model_len": None} for name, root in offered.items() if name not in known)]}
        return then(listed) if then else listed

    return answer


def model_card(adapter: str, asked: str) -> Reshape:
    """Of the list that /v1/models gives the entry of one adapter: /v1/models/{name} knows the model alone."""
    def answer(listed: Any) -> Any:
        cards = listed.get("data") if isinstance(listed, dict) else None
        for card in cards if isinstance(cards, list) else []:
            if isinstance(card, dict) and card.get("id") == adapter:
                return {**card, "id": asked}
        raise JobError(f"The adapter {adapter[:60]!r} is not loaded.", type="not_found_error", param="model", code=404)

    return answer
