"""Short chat templates with the marks of each family of models, and what those models write.

Data only. The templates are the project's own, a line or two long: of a published template they have what SGLang's
detection of parsers looks for (sglang: parser/template_detection.py), and what a model of the family is told of tools.
`bench/parser_table.py` asks SGLang what it makes of each, `docs/tools.md` has the table.
"""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """template: its chat template; call, thought: a tool call and a reasoned answer as the model writes them, behind
    what the template has written already, "" for a family without; tools, reasoning: the parsers to set by hand, ""
    where SGLang has none; tokens: of its tokenizer, those that detection asks for."""

    name: str
    template: str
    call: str = ""
    thought: str = ""
    tools: str = ""
    reasoning: str = ""
    tokens: tuple[str, ...] = ()


THOUGHT, ANSWER = "Two and two.", "Four."
_ARGUMENTS = '{"city": "Paris"}'
_THINKING = f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"
_OPENED = f"{THOUGHT}\n</think>\n\n{ANSWER}"


def _turns(before: str, between: str, after: str, tools: str = "", prompt: str = "", assistant: str = "assistant"
           ) -> str:
    """A template of turns `before` role `between` content `after`; `tools` stands in front where there are some, and
    `prompt` is what the answer begins with."""
    shown = f"{{% if tools %}}{tools}{{% endif %}}" if tools else ""
    return (f"{shown}{{% for m in messages %}}{before}{{{{ m.role }}}}{between}{{{{ m.content }}}}{after}{{% endfor %}}"
            f"{{% if add_generation_prompt %}}{before}{assistant}{between}{prompt}{{% endif %}}")


def _chatml(tools: str = "", prompt: str = "") -> str:
    return _turns("<|im_start|>", "\n", "<|im_end|>\n", tools and f"<|im_start|>system\n{tools}<|im_end|>\n", prompt)


_LISTED = "<tools>{{ tools | tojson }}</tools>"
_JSON_CALL = f'<tool_call>\n{{"name": "get_weather", "arguments": {_ARGUMENTS}}}\n</tool_call>'
_XML_CALL = ("<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>")
_ASKED_JSON = _LISTED + ' Call one by <tool_call>{"name": ..., "arguments": ...}</tool_call>.'
_ASKED_XML = _LISTED + " Call one by <tool_call><function=NAME><parameter=KEY>VALUE</parameter></function></tool_call>."
_SWITCHED = "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
# As the published templates have it: a string with an escape in it, which detection looks for.
_ALWAYS = (_chatml(_ASKED_JSON).removesuffix("<|im_start|>assistant\n{% endif %}")
           + "{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}")
_LLAMA3 = _turns("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>",
                 "Environment: ipython\n{{ tools | tojson }} Answer with "
                 '{"name": ..., "parameters": ...}.')
_LLAMA4 = _turns("<|header_start|>", "<|header_end|>\n\n", "<|eot|>",
                 "{{ tools | tojson }} Call them by [name(key=value)].")
_MISTRAL = ("{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}{% for m in messages %}"
            "{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.tool_calls %}[TOOL_CALLS]"
            "{{ m.tool_calls | tojson }}{% else %}{{ m.content }}</s>{% endif %}{% endfor %}")
_DEEPSEEK = ("{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% elif m.tool_calls %}"
             "<｜Assistant｜><｜tool▁calls▁begin｜>{% for c in m.tool_calls %}"
             "<｜tool▁call▁begin｜>CALL<｜tool▁call▁end｜>{% endfor %}<｜tool▁calls▁end｜>"
             "{% else %}<｜Assistant｜>{{ m.content }}<｜end▁of▁sentence｜>{% endif %}"
             "{% endfor %}{% if add_generation_prompt %}<｜Assistant｜>PROMPT{% endif %}")
_V3_CALL = "{{ c.type }}<｜tool▁sep｜>{{ c.function.name }}\n```json\n{{ c.function.arguments }}\n```"
_V31_CALL = "{{ c.function.name }}<｜tool▁sep｜>{{ c.function.arguments }}"


def _deepseek(call: str, prompt: str = "") -> str:
    return _DEEPSEEK.replace("CALL", call).replace("PROMPT", prompt)


def _deepseek_call(inside: str) -> str:
    return f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{inside}<｜tool▁call▁end｜><｜tool▁calls▁end｜>"


_V3_WRITES = _deepseek_call(f"function<｜tool▁sep｜>get_weather\n```json\n{_ARGUMENTS}\n```")
_HARMONY = _turns("<|start|>", "<|message|>", "<|end|>", "<|start|>developer<|message|>namespace functions "
                  "{{ tools | tojson }}<|end|>").removesuffix("<|message|>{% endif %}") + (
                  "{% endif %}{# answers begin with <|channel|>analysis, commentary or final #}")
_GLM_TOOLS = _LISTED + "\n<tool_call>{name}\n<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n</tool_call>"
_GLM_CALLS = ("{% for m in messages %}{% for tc in m.tool_calls or [] %}{{ OPEN + tc.name }}{% endfor %}{% endfor %}"
              "{% if enable_thinking is defined and not enable_thinking %}/nothink{% endif %}")
_GLM_WRITES = "\n<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n</tool_call>"
_GLM_TOKENS = ("<tool_call>", "</tool_call>", "<arg_key>", "<arg_value>", "<|user|>", "<|endoftext|>")


def _glm(opening: str) -> str:
    return "[gMASK]<sop>" + _turns("<|", "|>\n", "", f"<|system|>\n{_GLM_TOOLS}") + _GLM_CALLS.replace("OPEN", opening)


FAMILIES = (
    Family("Qwen 2.5, Qwen3-Instruct-2507, Qwen3-VL-Instruct", _chatml(_ASKED_JSON), _JSON_CALL, "", "qwen25"),
    Family("Qwen 3 (thinking by switch)", _chatml(_ASKED_JSON, _SWITCHED), _JSON_CALL, _THINKING, "qwen25", "qwen3"),
    Family("Qwen3-Thinking-2507, QwQ", _ALWAYS, _JSON_CALL, _OPENED, "qwen25", "qwen3-thinking"),
    Family("Qwen3-Coder", _chatml(_ASKED_XML), _XML_CALL, "", "qwen3_coder"),
    Family("Qwen 3.5", _chatml(_ASKED_XML, _SWITCHED), _XML_CALL, _THINKING, "qwen3_coder", "qwen3"),
    Family("Hermes 2 Pro, Hermes 3", _chatml(_ASKED_JSON), _JSON_CALL, "", "hermes"),
    Family("Llama 3.1, 3.2, 3.3", _LLAMA3, f'{{"name": "get_weather", "parameters": {_ARGUMENTS}}}', "", "llama3"),
    Family("Llama 4", _LLAMA4, '[get_weather(city="Paris")]', "", "pythonic"),
    Family("Mistral 7B v0.3, Nemo, Small 3", _MISTRAL,
           f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {_ARGUMENTS}}}]', "", "mistral"),
    Family("Mistral with `reasoning_effort`", _MISTRAL + "{% if reasoning_effort == 'high' %}[THINK]{% endif %}",
           f"[TOOL_CALLS]get_weather[ARGS]{_ARGUMENTS}", f"[THINK]{THOUGHT}[/THINK]{ANSWER}", "mistral", "mistral"),
    Family("Magistral", _MISTRAL + "{# thoughts stand in [THINK] and [/THINK] #}",
           f"[TOOL_CALLS]get_weather[ARGS]{_ARGUMENTS}", f"[THINK]{THOUGHT}[/THINK]{ANSWER}", "mistral", "mistral"),
    Family("Gemma 2, Gemma 3", _turns("<start_of_turn>", "\n", "<end_of_turn>\n", assistant="model")),
    Family("Gemma 4", _turns("<|turn>", "\n", "<turn|>\n", "<|tool>{{ tools | tojson }}<tool|>",
                             "{% if not enable_thinking %}<|channel>thought\n<channel|>{% endif %}", "model"),
           '<|tool_call>call:get_weather{city:<|"|>Paris<|"|>}<tool_call|>',
           f"<|channel>thought\n{THOUGHT}<channel|>{ANSWER}", "gemma4", "gemma4"),
    Family("DeepSeek V3", _deepseek(_V3_CALL), _V3_WRITES, "", "deepseekv3"),
    Family("DeepSeek R1 and its distillates", _deepseek(_V3_CALL, "<think>\n"), _V3_WRITES, _OPENED, "deepseekv3",
           "deepseek-r1"),
    Family("DeepSeek V3.1", "{% if not thinking is defined %}{% set thinking = false %}{% endif %}" + _deepseek(
           _V31_CALL, "{% if thinking %}<think>{% else %}</think>{% endif %}"),
           _deepseek_call(f"get_weather<｜tool▁sep｜>{_ARGUMENTS}"), f"<think>{THOUGHT}</think>{ANSWER}", "deepseekv31",
           "deepseek-v3"),
    Family("GPT-OSS", _HARMONY, "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
           f"to=functions.get_weather <|constrain|>json<|message|>{_ARGUMENTS}<|call|>",
           f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}",
           "gpt-oss", "gpt-oss"),
    Family("GLM 4.5, 4.6", _glm("'\\n<tool_call>'"), _GLM_WRITES, _THINKING, "glm45", "glm45", _GLM_TOKENS),
    Family("GLM 4.7", _glm("'<tool_call>'").replace("{{ '<tool_call>' + tc.name", "{{- '<tool_call>' + tc.name"),
           "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Paris</arg_value></tool_call>", _THINKING, "glm47",
           "glm45", _GLM_TOKENS),
    Family("Kimi K2", _turns("<|im_", "<|im_middle|>", "<|im_end|>",
                             "<|im_system|>tool_declare<|im_middle|>{{ tools | tojson }}<|im_end|>"),
           "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
           f"{_ARGUMENTS}<|tool_call_end|><|tool_calls_section_end|>", f"<think>{THOUGHT}</think>{ANSWER}", "kimi_k2",
           "kimi_k2", ("<|tool_calls_section_begin|>", "<|tool_call_begin|>")),
    Family("MiniMax M2", _turns("]~b]", "\n", "[e~[\n", _LISTED + "<minimax:tool_call>\n<invoke name=\"NAME\">"
                                "<parameter name=\"KEY\">VALUE</parameter></invoke>\n</minimax:tool_call>",
                                "<think>\n", "ai"),
           '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris</parameter>\n</invoke>\n'
           "</minimax:tool_call>", _OPENED, "minimax-m2", "minimax"),
    Family("Nemotron 3", "{% set truncate_history_thinking = true %}{% set enable_thinking = enable_thinking if "
           "enable_thinking is defined else True %}" + _chatml(
           _ASKED_XML, "{% if enable_thinking %}<think>\n{% endif %}"), _XML_CALL, _OPENED, "qwen3_coder",
           "nemotron_3"),
    Family("LFM 2", _chatml("List of tools: <|tool_list_start|>{{ tools | tojson }}<|tool_list_end|>").replace(
           "{% for m", "{# calls stand in <|tool_call_start|> and <|tool_call_end|> #}{% for m", 1),
           '<|tool_call_start|>[get_weather(city="Paris")]<|tool_call_end|>', "", "lfm2"),
    Family("Phi-4-mini", _turns("<|", "|>", "<|end|>", "<|system|><|tool|>{{ tools | tojson }}<|/tool|><|end|>"),
           f'<|tool_call|>[{{"name": "get_weather", "arguments": {_ARGUMENTS}}}]<|/tool_call|>'),
    Family("Plain ChatML, no tools", _chatml()),
)
