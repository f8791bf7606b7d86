"""The parts of a message in the shapes that SGLang's routes read.

Pure. A chat takes `text`, `image_url` and their like and refuses the parts of OpenAI's Responses, of Anthropic's
Messages and of Ollama, of which many mean the same (sglang: openai/protocol.py, ChatCompletionMessageContentPart;
anthropic/protocol.py, AnthropicContentBlock). What has no such sister is left as it is, to be refused by name.
"""

from __future__ import annotations

from typing import Any

from utils import JobError

_TEXTS = {"input_text": "text", "output_text": "text", "summary_text": "text", "refusal": "refusal"}
_ADDRESSED = ("image_url", "video_url", "audio_url")
_DETAILS = ("auto", "low", "high", "default")


def of_message(message: Any) -> Any:
    """A chat's message with parts that the chat route reads. Raises JobError 400."""
    if not isinstance(message, dict):
        return message
    message = _with_images(message)
    content = message.get("content")
    return {**message, "content": [_part(part) for part in content]} if isinstance(content, list) else message


def _with_images(message: dict[str, Any]) -> dict[str, Any]:
    """Ollama's `images` of a message, encoded or addresses, as parts of its content."""
    if "images" not in message:
        return message
    images = message["images"] or []
    message = {name: value for name, value in message.items() if name != "images"}
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise JobError("`images` of a message must be a list of strings.", param="messages")
    content = message.get("content")
    if images:
        texts = content if isinstance(content, list) else [{"type": "text", "text": content}] if content else []
        message["content"] = [*texts, *map(_picture, images)]
    return message


def _picture(address: str, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address, **more}}


def _part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        return part
    if kind in _TEXTS and isinstance(part.get(_TEXTS[kind]), str):
        return {"type": "text", "text": part[_TEXTS[kind]]}
    if kind in _ADDRESSED:
        return _addressed(part, kind)
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return _addressed({"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail")}},
                          "image_url")
    if kind == "image":
        return _image(part)
    return part


def _addressed(part: dict[str, Any], kind: str) -> dict[str, Any]:
    """The address alone in place of the object around it, and a detail that SGLang does not know."""
    value = part.get(kind)
    if isinstance(value, str):
        return {**part, kind: {"url": value}}
    if isinstance(value, dict) and kind == "image_url" and "detail" in value and value["detail"] not in _DETAILS:
        return {**part, kind: {name: inner for name, inner in value.items() if name != "detail"}}
    return part


def _image(part: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's image, or the one of Hugging Face's templates."""
    source = part.get("source")
    if isinstance(source, dict) and isinstance(source.get("data"), str):
        return _picture(f"data:{source.get('media_type') or 'image/png'};base64,{source['data']}")
    address = source.get("url") if isinstance(source, dict) else part.get("image") or part.get("url")
    return _picture(address) if isinstance(address, str) else part


def of_blocks(blocks: list[Any]) -> list[Any]:
    """The blocks of an Anthropic message with documents that are texts as texts."""
    read: list[Any] = []
    for block in blocks:
        if isinstance(block, dict) and block.get("type") == "document" and (texts := _document(block)) is not None:
            read += texts
        elif isinstance(block, dict) and block.get("type") == "tool_result" and isinstance(block.get("content"), list):
            read.append({**block, "content": of_blocks(block["content"])})
        else:
            read.append(block)
    return read


def _document(block: dict[str, Any]) -> list[Any] | None:
    """The text of a document with its title and its context, None where it is no text."""
    source = block.get("source")
    if not isinstance(source, dict):
        return None
    heads = [block[name] for name in ("title", "context") if isinstance(block.get(name), str) and block[name]]
    texts = [{"type": "text", "text": head} for head in heads]
    if source.get("type") == "text" and isinstance(source.get("data"), str):
        return [*texts, {"type": "text", "text": source["data"]}]
    if source.get("type") == "content":
        content = source.get("content")
        return [*texts, *([{"type": "text", "text": content}] if isinstance(content, str) else content or [])]
    return None
