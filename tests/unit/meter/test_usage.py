"""What answers say of their tokens, on what a real SGLang 0.5.23 was recorded to send (tests/recorded)."""

import json
from pathlib import Path

import pytest

from meter import usage
from meter.record import Record
from meter.requests import Meter
from meter.usage import Usage

RECORDED = Path(__file__).parents[2] / "recorded"


def recorded():
    for file in sorted(RECORDED.glob("*/*.json")):
        for number, exchange in enumerate(json.loads(file.read_text(encoding="utf-8")).get("exchanges", ())):
            if exchange["method"] == "POST" and exchange["status"] == 200:
                yield pytest.param(exchange, id=f"{file.parent.name}/{file.stem}-{number}")


def events(text):
    return [part + "\n\n" for part in text.split("\n\n") if part]


def parsed(text):
    """Every event's JSON, read in full."""
    data = [line[5:].strip() for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(one) for one in data if one != "[DONE]"]


def failed(text):
    return '"error":{' in text


def oracle(path, values, answers):
    """The usage, read from whole JSON values the slow way."""
    if path == "/v1/messages":
        start = next((v["message"]["usage"] for v in values if v["type"] == "message_start"), values[0].get("usage"))
        end = next((v for v in values if v["type"] == "message_delta"), values[0])
        stop = end.get("delta", end).get("stop_reason")
        return Usage(start["input_tokens"], None, end["usage"]["output_tokens"], stop)
    if path == "/v1/responses":
        last = values[-1].get("response", values[-1])
        told = last["usage"] or {}
        return Usage(told.get("input_tokens"), told.get("input_tokens_details", {}).get("cached_tokens"),
                     told.get("output_tokens"), last["status"])
    if path == "/generate":
        ends = [v["meta_info"] for v in values if v["meta_info"]["finish_reason"]]
        prompt, completion = (sum(meta[name] for meta in ends) for name in ("prompt_tokens", "completion_tokens"))
        cached = sum(meta["cached_tokens"] for meta in ends) if answers == 1 else None
        return Usage(prompt // answers, cached, completion, ends[-1]["finish_reason"]["type"])
    told = next((v["usage"] for v in reversed(values) if v.get("usage")), {})
    finish = [choice["finish_reason"] for v in values for choice in v.get("choices", ()) if choice.get("finish_reason")]
    return Usage(told.get("prompt_tokens"), (told.get("prompt_tokens_details") or {}).get("cached_tokens"),
                 told.get("completion_tokens"), finish[-1] if finish else None)


COUNTED = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/generate", "/v1/embeddings")


def measured(exchange, cut):
    """The record of an exchange whose events came cut by `cut` into chunks."""
    body, text = exchange["body"], "".join(exchange["pieces"])
    params = body.get("sampling_params") or {}
    answers = params.get("n", 1) if isinstance(params, dict) else 0
    prompts = len(body["text"]) if isinstance(body.get("text"), list) else 1
    record = Meter().begin("http", exchange["path"])
    record.planned(exchange["path"], "tiny", answers, prompts)
    if not exchange["content_type"].startswith("text/event-stream"):
        record.whole(json.loads(text), len(text))
        values = json.loads(text)
        values = values if isinstance(values, list) else [values]
    else:
        for chunk in cut(events(text)):
            record.add(chunk)
        values = parsed(text)
    record.end(200)
    return record, values, answers


@pytest.mark.parametrize("cut", [
    pytest.param(lambda events: events, id="each"), pytest.param(lambda events: ["".join(events)], id="at once"),
    pytest.param(lambda events: ["".join(events[n:n + 3]) for n in range(0, len(events), 3)], id="by threes")])
@pytest.mark.parametrize("exchange", [case for case in recorded() if case.values[0]["path"] in COUNTED
                                      and not failed("".join(case.values[0]["pieces"]))])
def test_what_was_recorded_is_counted_as_if_it_were_parsed(exchange, cut):
    record, values, answers = measured(exchange, cut)
    aborted = exchange["path"] == "/generate" and not any(v["meta_info"]["finish_reason"] for v in values)
    assert record.usage == (Usage() if aborted else oracle(exchange["path"], values, answers))
    streams = exchange["content_type"].startswith("text/event-stream")
    assert (record.ttft is not None) == streams


def test_most_of_what_was_recorded_is_counted():
    cases = [case.values[0] for case in recorded()]
    counted = [measured(exchange, lambda events: events)[0].usage.completion for exchange in cases
               if exchange["path"] in COUNTED]
    assert len(counted) > 30 and sum(count is not None for count in counted) > 25


@pytest.mark.parametrize("exchange", [case for case in recorded() if case.values[0]["path"] not in COUNTED])
def test_what_has_no_tokens_to_count_says_nothing(exchange):
    record, _, _ = measured(exchange, lambda events: events)
    assert record.usage.completion is None or "meta_info" in "".join(exchange["pieces"])


SPOOF = json.dumps('"usage":{"prompt_tokens":1,"completion_tokens":999} "finish_reason":"spoofed" "output_tokens":999 '
                   '"meta_info" "completion_tokens":999 event: response.completed')[1:-1]


@pytest.mark.parametrize(("path", "texts", "wanted"), [
    ("/v1/chat/completions", [f'data: {{"choices":[{{"delta":{{"content":"{SPOOF}"}},"finish_reason":null}}]}}\n\n',
                              'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', "data: [DONE]\n\n"],
     Usage(finish="stop")),
    ("/v1/messages", ['event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":3,'
                      '"output_tokens":0}}}\n\n',
                      f'event: content_block_delta\ndata: {{"delta":{{"text":"{SPOOF} message_delta"}}}}\n\n'],
     Usage(prompt=3)),
    ("/generate", [f'data: {{"text":"{SPOOF}","meta_info":{{"finish_reason":null,"prompt_tokens":3,'
                   '"completion_tokens":5}}\n\n'], Usage()),
    ("/v1/responses", [f'event: response.output_text.delta\ndata: {{"delta":"{SPOOF}"}}\n\n'], Usage()),
    ("/v1/responses", ['event: response.completed\ndata: {"response":{"output":[{"text":"' + SPOOF + '"}],'
                       '"usage":{"input_tokens":3,"output_tokens":4},"metadata":{"usage":{"output_tokens":999}}}}\n\n'],
     Usage(3, None, 4, "completed"))])
def test_no_text_of_a_model_or_a_caller_is_taken_for_a_count(path, texts, wanted):
    record = Record("http", path)
    record.planned(path)
    for text in texts:
        record.add(text)
    record.end(200)
    assert record.usage == wanted


def test_tokens_of_anthropic_s_prompts_include_those_from_the_cache():
    head = 'event: message_start\ndata: {"message":{"usage":{"input_tokens":3,"cache_read_input_tokens":40}}}\n\n'
    assert usage.of_head(usage.MESSAGES, head) == (43, 40, None, None)
    assert usage.of_value({"usage": {"input_tokens": 3, "cache_read_input_tokens": 40, "output_tokens": 2},
                           "stop_reason": "end_turn"}) == (43, 40, 2, "end_turn")


@pytest.mark.parametrize("value", [
    None, "text", 5, [], [1, 2], {}, {"usage": None}, {"usage": []}, {"usage": {}}, {"usage": {"prompt_tokens": "7"}},
    {"usage": {"prompt_tokens": -1, "completion_tokens": True}}, {"meta_info": {"finish_reason": "stop"}},
    {"usage": {"prompt_tokens": 1.5}, "choices": [{"finish_reason": "a text of the caller"}]}])
def test_what_is_no_count_is_unknown(value):
    assert usage.of_value(value) == Usage()


def test_a_prompt_with_several_answers_counts_once_and_an_unknown_number_of_them_is_unknown():
    answer = {"meta_info": {"prompt_tokens": 5, "completion_tokens": 3, "cached_tokens": 4,
                            "finish_reason": {"type": "stop"}}}
    assert usage.of_value([answer] * 4, 2) == Usage(10, None, 12, "stop")
    assert usage.of_value([answer] * 4, 0) == Usage(None, None, 12, "stop")
    assert usage.of_value([answer] * 4, 1) == Usage(20, 16, 12, "stop")


def test_only_the_end_of_long_chunks_is_kept():
    record = Record("http", "/v1/chat/completions")
    record.planned("/v1/chat/completions")
    long = 'data: {"choices":[{"delta":{"content":"' + "a" * 100_000 + '"}}]}\n\n'
    for _ in range(3):
        record.add(long + 'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n')
    held = sum(len(text) for text in (record._oldest, record._older, record._newest))
    assert held <= 3 * usage.ENOUGH
    record.end(200)
    assert record.usage[:3] == (1, None, 2)
