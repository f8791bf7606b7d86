"""The engine's errors, in every shape that SGLang 0.5.23 has for them, as the one error of this worker."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from answer.failures import failure
from answer.outcome import DECISIONS

BLOCKS = "list[tagged-union[TextBlock,ImageBlock,ToolUseBlock,ToolResultBlock,RedactedThinkingBlock]]"
NO_TEXT = "messages.0.content.str: Input should be a valid string"


def fields(error):
    return error.message, error.type, error.param, error.code


# --- shapes -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value, status, expected", [
    # OpenAI routes
    ({"object": "error", "message": "Too long.", "type": "BadRequestError", "param": None, "code": 400}, 400,
     ("Too long.", "invalid_request_error", None, 400)),
    ({"object": "error", "message": "No such tool.", "type": "BadRequest", "param": "tools", "code": 400}, 400,
     ("No such tool.", "invalid_request_error", "tools", 400)),
    ({"error": {"message": "The model 'x' does not exist", "type": "invalid_request_error", "param": "model",
                "code": "model_not_found"}}, 404,
     ("The model 'x' does not exist", "invalid_request_error", "model", 404)),
    # /v1/responses
    ({"error": {"message": "Bad tools.", "type": "invalid_request_error", "param": "tools", "code": 400}}, 400,
     ("Bad tools.", "invalid_request_error", "tools", 400)),
    # /v1/messages
    ({"type": "error", "error": {"type": "not_found_error", "message": "No such."}}, 404,
     ("No such.", "not_found_error", None, 404)),
    ({"type": "error", "error": {"type": "api_error", "message": "Internal server error"}}, 500,
     ("Internal server error", "api_error", None, 500)),
    # /generate
    ({"error": {"message": "Too long."}}, 400, ("Too long.", "invalid_request_error", None, 400)),
    ({"error": "unknown field `foo`"}, 400, ("unknown field `foo`", "invalid_request_error", None, 400)),
    # the framework's own
    ({"detail": "Not Found"}, 404, ("Not Found", "not_found_error", None, 404)),
    ({"detail": "Method Not Allowed"}, 405, ("Method Not Allowed", "method_not_allowed", None, 405)),
    ({"detail": [{"type": "missing", "loc": ["body", "state"], "msg": "Field required"},
                 {"type": "missing", "loc": ["body", "questions", 0], "msg": "Field required"}]}, 422,
     ("state: Field required; questions.0: Field required", "invalid_request_error", None, 422)),
    ({"detail": [{"loc": ["body"], "msg": "Not JSON"}, "and more"]}, 422,
     ("Not JSON; and more", "invalid_request_error", None, 422)),
    ({"error": "Unauthorized"}, 401, ("Unauthorized", "authentication_error", None, 401)),
    # text instead of JSON, and nothing at all
    ("Internal Server Error", 500, ("Internal Server Error", "server_error", None, 500)),
    ("", 502, ("The engine answered 502.", "server_error", None, 502)),
    (None, 503, ("The engine answered 503.", "overloaded_error", None, 503)),
    ({}, 500, ("The engine answered 500.", "server_error", None, 500)),
    ({"error": {}}, 429, ("The engine answered 429.", "rate_limit_error", None, 429)),
    ({"error": {"message": ["x"], "type": 5, "param": {}, "code": []}}, 418,
     ("The engine answered 418.", "invalid_request_error", None, 418)),
    # inside a stream of status 200
    ({"error": {"message": "Too long.", "type": "invalid_request_error", "code": 400, "retryable": False}}, 200,
     ("Too long.", "invalid_request_error", None, 400)),
    ({"error": {"message": "Full.", "type": None, "code": 503}}, 200, ("Full.", "overloaded_error", None, 503)),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Full."}}, 200,
     ("Full.", "overloaded_error", None, 503)),
    ({"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "Broken."}}, 200,
     ("Broken.", "server_error", None, 500)),
    *(({"error": {"message": "x", "code": code}}, 200, ("x", "server_error", None, 500))
      for code in (None, 0, 200, 399, 600, -1, True, 400.5, "400", [], {})),
])
def test_shapes(value, status, expected):
    assert fields(failure(value, status)) == expected


@pytest.mark.parametrize("status, kind", [
    (400, "invalid_request_error"), (401, "authentication_error"), (403, "permission_error"), (404, "not_found_error"),
    (405, "method_not_allowed"), (409, "invalid_request_error"), (413, "request_too_large"),
    (422, "invalid_request_error"), (429, "rate_limit_error"), (500, "server_error"), (501, "server_error"),
    (502, "server_error"), (503, "overloaded_error"), (504, "timeout_error"),
])
def test_a_type_for_every_status(status, kind):
    assert failure({"error": {"message": "x"}}, status).type == kind


@pytest.mark.parametrize("value, status", [
    ({"object": "error", "message": "The request queue is full.", "type": "503", "param": None, "code": 503}, 503),
    ({"error": {"object": "error", "message": "The request queue is full.", "type": "SERVICE_UNAVAILABLE",
                "param": None, "code": 503}}, 200),
    ({"error": {"message": "The request queue is full.", "type": "Service Unavailable", "param": None, "code": 503}},
     503),
    ({"error": {"message": "The request queue is full.", "type": None, "code": 503}}, 200),
], ids=["an answer", "a chat stream", "/v1/responses", "a /generate stream"])
def test_a_full_queue_is_one_error_wherever_it_shows(value, status):
    assert fields(failure(value, status)) == ("The request queue is full.", "overloaded_error", None, 503)


# --- the validator's findings -------------------------------------------------------------------------------------

SOURCE = "/sgl-workspace/sglang/python/sglang/srt/entrypoints/http_server.py"
GENERIC = "function-after[validate_thinking_parts_role(), ChatCompletionMessageGenericParam]"
USER = "function-after[validate_thinking_parts_role(), ChatCompletionMessageUserParam]"
CONTENT = ("list[union[ChatCompletionMessageContentTextPart,function-after[validate_payload(), "
           "ChatCompletionMessageContentThinkingPart],ChatCompletionMessageContentImagePart,"
           "ChatCompletionMessageContentVideoPart,function-after[_to_audio_url_part(), union["
           "ChatCompletionMessageContentAudioURLPart,ChatCompletionMessageContentAudioInlinePart]],"
           "ChatCompletionMessageContentToolReferenceBlock]]")
ITEMS = "list[union[" + ",".join(f"ResponseInputItemOfKind{i}Param" for i in range(30)) + "]]"
ROLE = "'role' must be one of 'system', 'assistant', 'tool', 'function', 'developer' (case-insensitive)."


def validation_message(path, *findings):
    """The message that http_server.py makes of a RequestValidationError: its text, then its findings again."""
    lines = "".join(f"\n  {finding}" for finding in findings)
    return (f"{len(findings)} validation error{'s' if len(findings) > 1 else ''}:{lines}\n\n"
            f'  File "{SOURCE}", line 1870, in handler\n    POST {path} {list(findings)}')


def finding(kind, loc, msg, value, **ctx):
    return {"type": kind, "loc": ("body", *loc), "msg": msg, "input": value, **({"ctx": ctx} if ctx else {})}


# Stands beside every finding on a user's message: the validator tries the other kinds of message as well.
WRONG_ROLE = finding("value_error", ["messages", 0, GENERIC, "role"], f"Value error, {ROLE}", "user",
                     error=ValueError(ROLE))


def told(path, *findings):
    error = failure({"object": "error", "message": validation_message(path, *findings), "type": "Bad Request",
                     "param": None, "code": 400}, 400)
    assert (error.type, error.code) == ("invalid_request_error", 400)
    return error.message


def test_one_finding_each():
    assert told("/v1/chat/completions", finding("missing", ["messages"], "Field required", {"model": "m"})
                ) == "messages: Field required"
    assert told("/v1/completions", finding("missing", ["prompt"], "Field required", {}),
                finding("float_parsing", ["temperature"], "Input should be a valid number", "hot")
                ) == "prompt: Field required; temperature: Input should be a valid number"
    assert told("/v1/chat/completions", finding("missing", ["tools", 0, "function"], "Field required", {})
                ) == "tools.0.function: Field required"
    assert told("/tokenize", finding("value_error", [], "Value error, give 'prompt' or 'messages'.", {},
                                     error=ValueError("give 'prompt' or 'messages'."))
                ) == "Value error, give 'prompt' or 'messages'."


@pytest.mark.parametrize("path, findings, expected", [
    ("/v1/chat/completions",  # a message without content
     [WRONG_ROLE,
      finding("missing", ["messages", 0, USER, "content"], "Field required", {"role": "user"})],
     ["messages.0", "content: Field required"]),
    ("/v1/chat/completions",  # a role that does not exist
     [WRONG_ROLE,
      finding("literal_error", ["messages", 0, USER, "role"], "Input should be 'user'", "nobody", expected="'user'")],
     ["messages.0", "role"]),
    ("/v1/chat/completions",  # content that is a number
     [WRONG_ROLE,
      finding("string_type", ["messages", 0, GENERIC, "content", "str"], "Input should be a valid string", 5),
      finding("list_type", ["messages", 0, GENERIC, "content", CONTENT], "Input should be a valid list", 5),
      finding("string_type", ["messages", 0, USER, "content", "str"], "Input should be a valid string", 5),
      finding("list_type", ["messages", 0, USER, "content", CONTENT], "Input should be a valid list", 5)],
     ["messages.0", "content", "Input should be a valid string"]),
    ("/v1/chat/completions",  # content parts that do not exist: 27 findings in all
     [finding("literal_error", ["messages", 0, USER, "content", CONTENT, i, "ChatCompletionMessageContentTextPart",
                                "type"], "Input should be 'text'", "image", expected="'text'") for i in range(27)],
     ["messages.0", "content", "Input should be 'text'"]),
    ("/v1/responses",  # input that is a number
     [finding("string_type", ["input", "str"], "Input should be a valid string", 5),
      finding("list_type", ["input", "list[dict[str,any]]"], "Input should be a valid list", 5),
      finding("list_type", ["input", ITEMS], "Input should be a valid list", 5)],
     ["input", "Input should be a valid string"]),
    ("/separate_reasoning",
     [finding("is_instance_of", ["is-instance[SeparateReasoningReqInput]"], "Input should be an instance", {}),
      finding("missing", ["function-after[build_struct(), SeparateReasoningReqInput]", "text"], "Field required", {})],
     ["text: Field required"]),
    ("/generate",
     [finding("list_type", ["sampling_params", "list[dict[str,any]]"], "Input should be a valid list", "x"),
      finding("dict_type", ["sampling_params", "dict[str,any]"], "Input should be a valid dictionary", "x")],
     ["sampling_params", "Input should be a valid dictionary"]),
    ("/v1/chat/completions",  # a lone surrogate, which the engine's JSON reader refuses
     [finding("json_invalid", [51], "JSON decode error", {}, error="no low surrogate in string")],
     ["JSON decode error"]),
    ("/v1/completions",  # words of the caller's own that look like the validator's
     [finding("missing", ["prompt"], "Field required", {"a": "'loc': ('body', 'x'), 'msg': 'no' File \"/etc/x\""})],
     ["prompt: Field required"]),
    ("/v1/completions", [finding("missing", ["prompt"], "Field required", {"a": "it's \"q\" \\ é\n)" * 50_000})],
     ["prompt: Field required"]),
    ("/v1/chat/completions",
     [finding("missing", ["messages", 0, USER, "content"], "Field required", {"a": "b" * 50_000})],
     ["content: Field required"]),
])
def test_findings_become_short_and_readable(path, findings, expected):
    message = told(path, *findings)
    for part in expected:
        assert part in message
    for leak in (SOURCE, "File", "'loc'", "{'", "()", "\n"):
        assert leak not in message
    assert len(message) <= 500


@pytest.mark.timeout(15)
@pytest.mark.parametrize("value", [" " * 400_000, "'loc': (" * 50_000], ids=["spaces", "openings"])
@pytest.mark.parametrize("loc", [["prompt"], ["messages", 0, USER, "content"]], ids=["plain", "union"])
def test_long_input_in_a_finding_takes_no_long_time(value, loc):
    # All jobs wait meanwhile: the time must not grow with the square of a caller's text.
    assert "Field required" in told("/v1/completions", finding("missing", loc, "Field required", {"a": value}))


@pytest.mark.parametrize("message", [
    "The input (9 tokens) is longer than the model's context length (8 tokens).",
    'Unknown tool "File "x""', "line one\nline two", "é模🙂",
])
def test_any_other_message_is_kept(message):
    assert failure({"error": {"message": message}}, 400).message == message


# --- whatever JSON may come ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("loc", [None, 5, True, "body", {}, [], [None, 5]])
def test_a_place_of_any_type(loc):
    assert "no" in failure({"detail": [{"loc": loc, "msg": "no"}]}, 422).message


KEYS = st.sampled_from(["error", "detail", "message", "type", "param", "code", "object", "loc", "msg"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(
    [400, 503, "validation error", "1 validation error: 'loc': ('body', 'x'), 'msg': 'no'"])
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
                    max_leaves=10)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(JSON, st.sampled_from([200, 400, 404, 429, 500, 503]))
@example({"detail": [{"loc": 5, "msg": {}}]}, 422)
def test_any_json_becomes_an_error(value, status):
    error = failure(value, status)
    told = json.loads(error.to_json("job-1"))
    assert isinstance(told["message"], str) and told["message"]
    assert isinstance(told["type"], str) and told["type"]
    assert told["param"] is None or isinstance(told["param"], str)
    assert 400 <= told["code"] < 600


# --- a status where only a type or words are left -----------------------------------------------------------------

@pytest.mark.parametrize("kind, status", [
    ("invalid_request_error", 400), ("authentication_error", 401), ("permission_error", 403), ("not_found_error", 404),
    ("request_too_large", 413), ("rate_limit_error", 429), ("api_error", 500), ("overloaded_error", 503),
    ("timeout_error", 504)])
def test_a_type_of_anthropic_is_a_status(kind, status):
    assert fields(failure({"type": "error", "error": {"type": kind, "message": "x"}}, 200)) == ("x", kind, None, status)


@pytest.mark.parametrize("message, status", [
    ("The input (9 tokens) is longer than the model's context length (8 tokens).", 400),
    ("Requested token count exceeds the model's maximum context length of 8 tokens.", 400),
    ("Multimodal prompt is too long after expanding multimodal tokens.", 400),
    ("Request prompt exceeds the KV memory budget: input_len=9.", 400),
    ("temperature must be a non-negative finite number, got -1.0.", 400),
    ("logit_bias must has keys in [0, 9], got 10.", 400),
    ("Failed to compile json grammar: {", 400), ("Invalid grammar request: x", 400),
    ("Please set `--enable-custom-logit-processor` to enable this feature.", 400),
    ("The model 'x' does not exist", 404), ("Response with id 'resp_1' not found.", 404),
    ("The request queue is full.", 503), ("Request running timeout reached.", 503),
    ("The request is aborted by a higher priority request.", 503), ("Too many requests.", 429),
    ("list index out of", 500), ("'NoneType' object has no attribute 'x'", 500), ("Generation aborted", 500),
])
def test_words_are_a_status_where_the_engine_says_server_error_of_all(message, status):
    failed = {"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": message}}
    assert failure(failed, 200).code == status


@pytest.mark.parametrize("text", [text for text, _ in DECISIONS if not text.startswith("Abort in")])
def test_what_the_engine_decides_is_503_on_every_route(text):
    assert failure({"id": "resp_1", "error": {"code": "server_error", "message": text}}, 200).code == 503


def test_a_status_in_front_of_the_message_is_the_status():
    told = failure({"error": {"message": "503: The request queue is full.", "type": "invalid_request_error",
                              "param": None, "code": 400}}, 400)
    assert fields(told) == ("The request queue is full.", "overloaded_error", None, 503)
    assert failure({"error": {"message": "400 tokens are too many: 5"}}, 400).message == "400 tokens are too many: 5"


# --- in this worker's words ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("said, told", [
    ("Please add `--is-embedding` when launching the server.",
     "Please add `IS_EMBEDDING=true` when launching the server."),
    ("Stateful Responses require --enable-response-store on a standalone server;",
     "Stateful Responses require ENABLE_RESPONSE_STORE=true on a standalone server;"),
    ("Please set `--return-hidden-states-mode last`, or", "Please set `RETURN_HIDDEN_STATES_MODE=last`, or"),
    ("exceeds --sampling-mask-max-tokens=5, commonly", "exceeds SAMPLING_MASK_MAX_TOKENS=5, commonly"),
    ("not supported when --language-model-only is set", "not supported when LANGUAGE_MODEL_ONLY is set"),
    ("a -- b --- c x--y -v", "a -- b --- c x--y -v"),
])
def test_flags_are_named_as_variables(said, told):
    assert failure({"error": {"message": said}}, 400).message == told


@pytest.mark.parametrize("said, told", [
    ("model: Field required; max_tokens: Field required", "model: Field required; max_tokens: Field required"),
    (f"{NO_TEXT}; messages.0.content.{BLOCKS}: Input should be a valid list",
     "messages.0.content: Input should be a valid string or a valid list"),
    (f"{NO_TEXT}; messages.0.content.{BLOCKS}.0.text.text: Field required",
     "messages.0.content.0.text: Field required"),
    (f"{NO_TEXT}; messages.0.content.{BLOCKS}.0: Input tag 'x' found using "
     "'type' does not match any of the expected tags: 'text', 'image'",
     "messages.0.content.0: Input tag 'x' found using 'type' does not match any of the expected tags: 'text', 'image'"),
    ("tools.0.custom.name: Field required; tools.0.custom.input_schema: Field required",
     "tools.0.name: Field required; tools.0.input_schema: Field required"),
    ("system.str: Input should be a valid string; system.list[tagged-union[TextBlock,Image…",
     "system: Input should be a valid string"),
    ("system.list[tagged-union[TextBlock,Image…", "The body does not fit this route."),
])
def test_findings_of_messages_name_fields_only(said, told):
    error = failure({"type": "error", "error": {"type": "invalid_request_error", "message": said}}, 400)
    assert fields(error) == (told, "invalid_request_error", None, 400)


def test_what_an_answer_held_is_not_told():
    said = "Grammar accept_token failed: Tokens not accepted: 5\nAccepted tokens: [1, 2]\nKey string: {\"a\": 1}"
    assert failure({"error": {"message": said}}, 500).message == "Grammar accept_token failed: Tokens not accepted: 5"


def test_a_message_has_a_length():
    assert len(failure({"error": {"message": "The model '" + "x" * 10**6}}, 404).message) < 5000
