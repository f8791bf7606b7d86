"""Whether what came out of one job is anything that its consumer can live with. Pure."""

from __future__ import annotations

import json

_ERROR_FIELDS = {"message", "type", "param", "code", "job_id"}


def wrong_with(outputs: list) -> str | None:
    """What no consumer of a job's outputs could live with, or None."""
    if not outputs:
        return "nothing came out"
    for place, output in enumerate(outputs):
        try:
            json.dumps({"output": output}, ensure_ascii=False).encode()  # as rp_http and aiohttp do
        except (ValueError, TypeError) as error:
            return f"cannot be sent: {error}"
        if isinstance(output, dict) and output.get("error"):
            if place != len(outputs) - 1 or set(output) != {"error"}:
                return f"an error that is not alone at the end: {str(output)[:300]}"
            return _wrong_error(output["error"])
    if len(outputs) == 1 and isinstance(outputs[0], (dict, list)):
        return None
    if not all(isinstance(output, str) and (output.endswith(("\n\n", "\r\n\r\n")) or _lines(output))
               for output in outputs):
        return f"neither one value nor whole events: {str(outputs)[:300]}"
    return None


def _lines(text: str) -> bool:
    """Whether it is whole lines, each a JSON object, as Ollama's routes stream them."""
    *lines, rest = text.split("\n")
    try:
        return bool(lines) and not rest and all(isinstance(json.loads(line), dict) for line in lines)
    except ValueError:
        return False


def _wrong_error(text: object) -> str | None:
    try:
        error = json.loads(text)
    except (TypeError, ValueError):
        return f"an error that is no JSON text: {text!r}"[:400]
    if set(error) != _ERROR_FIELDS or type(error["code"]) is not int or not error["message"]:
        return f"an error of another shape: {text[:400]}"
    if error["message"].startswith("Internal error") or "Traceback" in text:
        return f"a fault of the worker: {text[:400]}"
    return None
