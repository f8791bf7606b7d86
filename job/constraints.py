"""Constraints on an answer's form, under whatever name, put where the route reads them.

Pure. SGLang ignores the fields that a route does not know, so a job that asks for JSON in another server's words would
get free text and no error. What SGLang has the same of is translated, for what it lacks there is a JobError. Names of
others: vLLM's guided_* and structured_outputs, text-generation-inference's grammar, OpenAI's response_format and
text.format, Anthropic's output_format, Google's response_schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from utils import JobError

# A constraint's form: a JSON schema, any JSON object, a regular expression, a grammar, a structural tag, alternatives.
Found = tuple[str, str, Any]  # field, form, value

_GUIDED = {"guided_json": "json", "guided_json_object": "object", "guided_regex": "regex", "guided_choice": "choice",
           "guided_grammar": "ebnf", "json_mode": "object", "json_object": "object", "response_schema": "json",
           "responseSchema": "json", "response_json_schema": "json", "responseJsonSchema": "json",
           "output_schema": "json", "choice": "choice", "grammar_string": "ebnf"}
_STRUCTURED = {"json": "json", "json_object": "object", "regex": "regex", "choice": "choice", "grammar": "ebnf",
               "structural_tag": "tag"}
_OBJECTS = ("structured_outputs", "structured_output", "guided_decoding", "guided_options", "guided_options_request")
_MIME = ("responseMimeType", "response_mime_type")  # Google's, beside a schema or alone
_REFUSED = ("lark_grammar", "lark", "lmfe_grammar")  # languages that SGLang does not read
# How a constraint is kept, not what it is.
_BACKENDS = ("backend", "_backend", "disable_fallback", "backend_was_auto",
             "_backend_was_auto")
_OWN = {"json_schema": "json", "regex": "regex", "ebnf": "ebnf", "structural_tag": "tag"}  # SGLang's own names
# Fields of each kind of route that hold a constraint already, as the engine reads it.
_READ = {"native": ("json_schema", "regex", "ebnf", "structural_tag"),
         "chat": ("response_format", "regex", "ebnf"),
         "completions": ("response_format", "json_schema", "regex", "ebnf"),
         "responses": ("text",), "messages": ("output_config",)}
NAMES = (*_GUIDED, *_OBJECTS, *_MIME, *_REFUSED, "grammar", "output_format", "response_format", "format",
         "output_config", "guided_decoding_backend", "guided_whitespace_pattern")
# A schema says one of these; what does not, and has a `schema`, is OpenAI's wrapping of one.
_SCHEMA_WORDS = frozenset(("type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const", "items", "$defs"))
_DEEPEST = 100  # levels of a schema that is given as text
_SCHEMA_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_SPECIAL = str.maketrans({c: "\\" + c for c in r"\.^$*+?{}[]|()/-"} | {"\n": r"\n", "\r": r"\r", "\t": r"\t"})


def translated(body: dict[str, Any], kind: str) -> dict[str, Any]:
    """A body (or sampling_params) with its constraints in the fields that a route of `kind` reads. Raises JobError 400,
    naming the field, when the route cannot keep one, or there are several."""
    if kind not in _READ:
        return body
    body = dict(body)
    found = [(field, form, value) for field, form, value in _taken(body, kind)
             if value not in (None, "", [], False) and (value != {} or form == "json")]  # {}: any JSON at all
    own = [name for name in _READ[kind] if _constrains(body, name)]
    if len(found) > 1 or own:  # that it is JSON, beside the schema of it
        found = [entry for entry in found if entry[0] not in _MIME]
    if not found:
        return body
    (field, form, value), *more = found
    if more or own:
        raise JobError(f"`{field}` and `{(more[0][0] if more else own[0])}` both constrain the answer: give only one.",
                       param=field)
    if form == "choice":
        form, value = "regex", _alternatives(field, value)
    if form in ("json", "tag"):
        value = _object(field, value)
    elif form != "object" and not isinstance(value, str):
        raise JobError(f"`{field}` must be a string.", param=field)
    _WRITE[kind](body, field, form, value)
    return body


def _constrains(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if isinstance(value, dict) and name in ("text", "output_config"):
        value = value.get("format")
    return bool(value) and not (isinstance(value, dict) and value.get("type") == "text")


def _taken(body: dict[str, Any], kind: str) -> Iterator[Found]:
    """Every constraint that stands in a field which the route does not read; the field is taken out of `body`."""
    for name, form in _GUIDED.items():
        if name in body:
            yield name, form, body.pop(name)
    for name in _OBJECTS:
        if name in body:
            yield from _structured(name, body.pop(name))
    for name in _REFUSED:
        if body.pop(name, None):
            raise JobError(f"`{name}` is in a language that SGLang does not read: use `ebnf` or `regex`.", param=name)
    mimes = [(name, body.pop(name)) for name in _MIME if name in body]
    body.pop("guided_decoding_backend", None)
    for name, form in _OWN.items():
        if name in body and name not in _READ[kind]:
            yield name, form, body.pop(name)
    if isinstance(body.get("json_schema"), (dict, str)) and body["json_schema"] != "":  # read, but as text
        body["json_schema"] = json.dumps(_object("json_schema", body["json_schema"]))
    if isinstance(body.get("structural_tag"), dict):
        body["structural_tag"] = json.dumps(body["structural_tag"])
    if "grammar" in body:
        grammar = body.pop("grammar")  # llama.cpp's is a text, text-generation-inference's an object
        yield ("grammar", "ebnf", grammar) if isinstance(grammar, str) else _typed("grammar", grammar)
    if body.get("format") == "json" or isinstance(body.get("format"), dict):
        asked = body.pop("format")  # as Ollama calls it
        yield "format", "object" if asked == "json" else "json", asked
    if "output_format" in body:
        yield _typed("output_format", body.pop("output_format"))
    if "output_config" in body and kind != "messages" and isinstance(body["output_config"], dict):
        yield _typed("output_config", body.pop("output_config").get("format"))
    if "response_format" in body:
        answer_format = body["response_format"]
        if "response_format" not in _READ[kind] or _unread(answer_format):
            yield _typed("response_format", body.pop("response_format"))
    if kind not in ("native", "responses") and isinstance(body.get("text"), dict) and "format" in body["text"]:
        yield _typed("text", body.pop("text")["format"])
    for name, mime in mimes:
        if mime not in ("text/plain", "application/json"):
            raise JobError(f"`{name}` can be \"application/json\" or \"text/plain\" here.", param=name)
        if mime == "application/json":
            yield name, "object", mime


def _structured(field: str, value: Any) -> Iterator[Found]:
    if not isinstance(value, dict):
        if value is not None:
            raise JobError(f"`{field}` must be an object such as {{\"regex\": \"yes|no\"}}.", param=field)
        return
    for name, inner in value.items():
        if name in _STRUCTURED:
            yield f"{field}.{name}", _STRUCTURED[name], inner
        elif name not in _BACKENDS and inner not in (None, False, "", [], {}):
            raise JobError(f"`{field}.{name[:60]}` is not known to SGLang: leave it out.", param=field)


def _unread(answer_format: Any) -> bool:
    """Spellings of other servers: the route would ignore the schema, or refuse the type."""
    if not isinstance(answer_format, dict):
        return True
    inner = answer_format.get("json_schema")
    if answer_format.get("type") == "json_schema":
        return "schema" in answer_format or not (isinstance(inner, dict) and "name" in inner
                                                 and isinstance(inner.get("schema"), dict))
    return answer_format.get("type") not in ("text", "json_object", "structural_tag") or "schema" in answer_format


def _typed(field: str, value: Any) -> Found:
    """{"type": …} with what belongs to it under any of the usual names."""
    if value in ("json", "json_object"):
        value = {"type": "json_object"}
    if value in (None, "text") or isinstance(value, dict) and value.get("type", "text") == "text" and (
            not _SCHEMA_WORDS & value.keys() - {"type"}):
        return field, "json", None
    form = value.get("type") if isinstance(value, dict) else None
    if form in ("json_schema", "json", "json_object"):
        inner = next((value[name] for name in ("json_schema", "schema", "value") if value.get(name) is not None), None)
        if inner is not None and not (_is_named(inner) and "schema" not in inner):
            return field, "json", inner
        if form == "json_object" or inner is not None:  # a name for whatever object it will be
            return field, "object", True
    if form in ("regex", "regex_schema", "pattern") and (inner := _first(value, "value", "pattern", form)):
        return field, "regex", inner
    if form in ("grammar", "ebnf", "gbnf") and isinstance(inner := _first(value, "grammar", "value", form), str):
        return field, "ebnf", inner
    if form in ("choice", "enum") and (inner := _first(value, "choice", "choices", "value", form)):
        return field, "choice", inner
    if form == "structural_tag":
        return field, "tag", value
    if isinstance(value, dict) and (form in _SCHEMA_TYPES or _SCHEMA_WORDS & value.keys() - {"type"}):
        return field, "json", value  # the schema itself
    raise JobError(f"`{field}` must be an object such as {{\"type\": \"json_schema\", \"json_schema\": {{\"name\": "
                   "…, \"schema\": …}}; for a grammar use `ebnf`, where the route has it.", param=field)


def _first(value: dict[str, Any], *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _is_named(value: Any) -> bool:
    """Whether it is what OpenAI wraps a schema in, and no schema."""
    return isinstance(value, dict) and isinstance(value.get("name"), str) and not _SCHEMA_WORDS & value.keys()


def _alternatives(field: str, value: Any) -> str:
    if not isinstance(value, list) or not all(isinstance(v, (str, int, float)) and v != "" for v in value):
        raise JobError(f"`{field}` must be a list of strings.", param=field)
    words = [v if isinstance(v, str) else json.dumps(v) for v in value]
    return "(" + "|".join(word.translate(_SPECIAL) for word in words) + ")"


def _object(field: str, value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
        if _depth(value) > _DEEPEST:  # the depth of an input counts what is no text alone
            raise JobError(f"`{field}` is nested deeper than {_DEEPEST} levels.", param=field)
    if not isinstance(value, dict):
        raise JobError(f"`{field}` must be a JSON object, or one as text.", param=field)
    if isinstance(value.get("schema"), (dict, str)) and not _SCHEMA_WORDS & value.keys():
        return _object(field, value["schema"])
    return value


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [entry for entry in level if isinstance(entry, (dict, list))]:
        level = [inner for entry in level for inner in (entry.values() if isinstance(entry, dict) else entry)]
        depth += 1
    return depth


def _native(body: dict[str, Any], field: str, form: str, value: Any) -> None:
    names = {"json": "json_schema", "object": "json_schema", "regex": "regex", "ebnf": "ebnf", "tag": "structural_tag"}
    if form == "object":
        value = {"type": "object"}
    body[names[form]] = value if isinstance(value, str) else json.dumps(value)


def _openai(body: dict[str, Any], field: str, form: str, value: Any) -> None:
    if form in ("regex", "ebnf"):
        body[form] = value
    elif form == "object":
        body["response_format"] = {"type": "json_object"}
    elif form == "tag":
        body["response_format"] = {**value, "type": "structural_tag"}
    else:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}


def _json_only(route: str, body: dict[str, Any], field: str, form: str, value: Any) -> None:
    if form not in ("json", "object"):
        raise JobError(f"`{field}` cannot be kept on {route}, where SGLang takes JSON schemas only: use "
                       "/v1/chat/completions.", param=field)
    schema = {"type": "object"} if form == "object" else value
    if route == "/v1/messages":
        given = body.get("output_config")
        body["output_config"] = {**(given if isinstance(given, dict) else {}),
                                 "format": {"type": "json_schema", "schema": schema}}
    else:
        given = body.get("text")
        body["text"] = {**(given if isinstance(given, dict) else {}),
                        "format": {"type": "json_schema", "name": "answer", "schema": schema}}


_WRITE: dict[str, Callable[[dict[str, Any], str, str, Any], None]] = {
    "native": _native, "chat": _openai, "completions": _openai,
    "responses": lambda *given: _json_only("/v1/responses", *given),
    "messages": lambda *given: _json_only("/v1/messages", *given)}
