"""What a request needs of the adapters that are loaded on first use, and what /v1/models tells of them."""

from __future__ import annotations

import contextlib
import dataclasses

from answer.request import Request
from job import names, reshape
from job.context import Context
from lora.adapters import Adapters


async def needed(request: Request, adapters: Adapters | None, context: Context) -> tuple[str, ...]:
    """The adapters that it uses, by the engine's names. Raises JobError 404 for one that is not there."""
    used = names.used(request.path, request.body, context) if adapters else ()
    if adapters and used and (absent := await adapters.absent(used)) is not None:
        model = request.body.get("model") if request.body else None
        raise names.unknown(absent, context, "model" if isinstance(model, str) and model.endswith(f":{absent}")
                            else "lora_path")
    return used


def holding(request: Request, used: tuple[str, ...], adapters: Adapters | None, held: contextlib.ExitStack) -> Request:
    """The same request, which waits for its adapters before it is sent, and holds them until `held` is closed."""
    if not adapters or not used:
        return request
    return dataclasses.replace(request, before=adapters.hold(used, held).before)


async def listing(request: Request, adapters: Adapters | None) -> Request:
    """The same request; the list of models, however it is shown, has the adapters that may be loaded."""
    if adapters is None or (request.method, request.path) != ("GET", "/v1/models"):
        return request
    return dataclasses.replace(request, reshape=reshape.with_adapters(await adapters.offered(), request.reshape))
