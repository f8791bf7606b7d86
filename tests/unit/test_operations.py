"""docs/operations.md names every way in which the worker fails, and nothing that is not there."""

import ast
import io
import json
import re
import runpy
import sys
from pathlib import Path

import promql_parser
import yaml

from answer.failures import _TYPES
from builder import causes_table, fit
from meter.catalogue import METRICS, PREFIX
from meter.record import OUTCOMES, REASONS, Record
from server.causes import CAUSES
from settings import config
from settings.worker_settings import WORKER_SETTINGS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
FLAT = re.sub(r"\s+", " ", TEXT).replace("\\|", "|")
PRODUCT = ("handler.py", "engine.py", "utils.py", "settings", "server", "start", "job", "answer", "lora", "front",
           "meter", "clock", "cluster")


def blocks(language: str) -> list[str]:
    return [re.sub(r"^ {3}", "", found, flags=re.MULTILINE) if indent else found for indent, found in re.findall(
        rf"^( *)```{language}\n(.*?)^ *```", TEXT, flags=re.MULTILINE | re.DOTALL)]


def calls():
    """(file, function's name, call) of every call in the product."""
    for name in PRODUCT:
        for file in [ROOT / name] if name.endswith(".py") else sorted((ROOT / name).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield file.relative_to(ROOT), ast.unparse(node.func), node


def pieces(node: ast.expr) -> list[str]:
    """The parts of a text that stand in the code as they are."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [part for value in node.values for part in pieces(value)]
    if isinstance(node, ast.BinOp):
        return pieces(node.left) + pieces(node.right)
    return []


def told(text: str) -> bool:
    """Whether the guide has it: its beginning is enough, for it may be shortened."""
    words = re.sub(r"\s+", " ", text).strip(" :;,.(")
    return words[:40].rstrip(" :;,.(`") in FLAT


# --------------------------------------------------------------------- failures
def test_every_cause_of_an_end_is_in_the_guide():
    assert causes_table.table() in TEXT  # and builder.generate keeps it so
    assert all(re.sub(r"\{0(!v)?\}", "…", cause.advice) in FLAT for cause in CAUSES)


# What has nothing of its own in the code: where its words come from is in the guide by these.
_OF_OTHERS = {"handler.py": "What to do:", "server/supervisor.py": "The SGLang server ended", "front/process.py":
              "The engine died again after", "start/cold_start.py": "SGLang has no bytecode here",
              "start/weights/read_ahead.py": "read ahead, then no more"}


def test_every_warning_and_error_of_the_log_is_in_the_guide():
    seen = 0
    for file, name, call in calls():
        last = name.rsplit(".", 1)[-1]
        level = last if name.startswith("_log.") else next(
            (one.value for one in call.args[1:2] if isinstance(one, ast.Constant)), "info") if last == "log" else ""
        if level not in ("warn", "error"):
            continue
        said = sorted(pieces(call.args[0]), key=len, reverse=True)
        longest = next((one for one in said if len(one.strip()) > 4), "")
        assert told(longest or _OF_OTHERS[str(file)]), f"{file}:{call.lineno} {longest!r}"
        seen += 1
    assert seen > 30


def test_every_word_of_a_server_that_is_gone_is_in_the_guide():
    tree = ast.parse((ROOT / "server" / "supervisor.py").read_text(encoding="utf-8"))
    said = [pieces(node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Attribute) and target.attr in ("reason", "_headline")
                    for target in node.targets)]
    headlines = [parts[0] for parts in said if parts and parts[0]]
    assert len(headlines) > 4 and all(told(headline) for headline in headlines), headlines
    for file, name, call in calls():
        if name == "EngineError" and (parts := pieces(call.args[0])) and "already" not in parts[0]:
            assert told(parts[0]) or parts[0] == "The worker is stopping.", f"{file}:{call.lineno}"


def rows(title: str) -> list[list[str]]:
    table = TEXT.split(title, 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_every_code_type_and_reason_of_a_refusal_is_in_the_guide():
    codes, types, reasons = set(), {}, set()
    for code, kind, why, *_ in rows("| code | type | reason |"):
        for number in map(int, re.findall(r"\d+", code)):
            codes.add(number)
            types[number] = kind.strip("`")
        reasons |= set(re.findall(r"\w+", why))
    given = set(REASONS) | set(_TYPES)
    for _, name, call in calls():
        if name.rsplit(".", 1)[-1] != "JobError":
            continue
        words = {word.arg: word.value for word in call.keywords}
        code = words.get("code")
        numbers = {node.value for node in ast.walk(code) if isinstance(node, ast.Constant)} if code else {400}
        given |= (numbers := {number for number in numbers if isinstance(number, int) and number >= 400})
        kind = words.get("type")
        if isinstance(kind, ast.Constant) and len(numbers) == 1:
            assert types[next(iter(numbers))] == kind.value, ast.unparse(call)
    assert codes == given
    assert all(types[code] == kind for code, kind in _TYPES.items())
    assert reasons == {*REASONS.values(), "full", "starting", "leaving", "other"}


def test_every_exit_status_is_in_the_guide():
    told_of = {number for status, *_ in rows("| status | what it means |") for number in re.findall(r"\d+", status)}
    main = next(node for node in ast.parse((ROOT / "handler.py").read_text()).body
                if isinstance(node, ast.FunctionDef) and node.name == "main")
    given = {str(node.value.value) for node in ast.walk(main)
             if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant)}
    assert given | {str(128 + number) for number in (2, 9, 15)} == told_of


# --------------------------------------------------------------------- settings
def test_every_variable_is_one_that_there_is():
    snapshot = json.loads((ROOT / "builder" / "flags.json").read_text(encoding="utf-8"))
    known = config.known_variables(snapshot) | {
        "RUNPOD_INIT_TIMEOUT", "RUNPOD_ENDPOINT_ID", "RUNPOD_LOG_LEVEL", "RUNPOD_API_KEY", "RUNPOD_WEBHOOK_GET_JOB",
        "HF_TOKEN", "HF_HOME", "OTEL_EXPORTER_OTLP_HEADERS",
        "SGLANG_REQ_RUNNING_TIMEOUT", "SGLANG_REQ_WAITING_TIMEOUT"}  # the last two are SGLang's own
    states = {"IN_QUEUE", "IN_PROGRESS", "TIMED_OUT"}
    prose = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
    prose = prose.split("| What to do: |")[0] + prose.split("### Lines of the log")[1]
    named = set(re.findall(r"`([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", prose)) - states
    assert len(named) > 30 and named <= known, named - known


def test_every_limit_of_time_and_its_default_is_in_the_table():
    cells = [cell for row in rows("| RunPod's | default | the worker's |") for cell in row]
    for setting in WORKER_SETTINGS:
        if setting.type != "float" or not re.match("Seconds", setting.help):
            continue
        place = next((number for number, cell in enumerate(cells) if f"`{setting.name}`" in cell
                      and number % 5 == 2), None)
        assert place is not None, setting.name
        default = 325 if setting.name == "HTTP_REQUEST_SECONDS" else setting.default
        assert cells[place + 1] == f"{default:g} s", setting.name


# --------------------------------------------------------------------- metrics
def test_alerts_ask_for_metrics_labels_and_values_that_are_there():
    [text] = [block for block in blocks("yaml") if "alert:" in block]
    rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert len(rules) > 8 and all(rule["annotations"]["do"] for rule in rules)
    values = {"outcome": set(OUTCOMES), "reason": {*REASONS.values(), "full", "starting", "leaving", "other"}}
    for rule in rules:
        promql_parser.parse(rule["expr"])
        names = re.findall(rf"\b{PREFIX}_\w+|sglang:\w+", rule["expr"])
        assert names
        for name in names:
            assert name in PROMETHEUS or name in SGLANG, name
        for name, given in re.findall(rf"({PREFIX}_\w+)\{{([^}}]*)\}}", rule["expr"]):
            for label, value in re.findall(r'(\w+)=~?"([^"]*)"', given):
                assert label in PROMETHEUS[name].labels, rule["alert"]
                assert label not in values or set(value.split("|")) <= values[label], rule["alert"]


_BEHIND = {"counter": ("_total",), "total": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
PROMETHEUS = {metric.prometheus + one: metric for metric in METRICS for one in _BEHIND[metric.kind]}
SGLANG = {name for name in re.findall(r"sglang:\w+", (ROOT / "docs/observability/grafana.json").read_text())}


# -------------------------------------------------------------------- snippets
def test_the_program_for_logs_reads_the_lines_that_the_worker_writes(monkeypatch, capsys, tmp_path):
    from meter.line import fields

    [program] = blocks("python")
    record = Record("queue", "/v1/chat/completions", "job")
    record.ttft, record.outcome = 0.25, "completed"
    line = {"message": "request", "level": "INFO"} | fields(record)
    log = [json.dumps(line), json.dumps(line | {"outcome": "failed", "code": 502, "ttft_s": 0.75, "reason": None}),
           json.dumps({"requestId": None, "message": "restarting the engine (1 of 3)\nmore", "level": "WARN"}),
           "[2026-11-26 10:00:00] Decode batch"]
    file = tmp_path / "figures.py"
    file.write_text(program)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(log)))
    runpy.run_path(str(file))
    out = capsys.readouterr().out
    assert "2 requests {'completed': 1, 'failed': 1}" in out and "{(502, None): 1}" in out
    assert "ttft_s p50, p99: [0.25, 0.25]" in out and "1 x restarting the engine (1 of 3)" in out


# --------------------------------------------------------------------- figures
def test_tables_of_the_simulation_are_those_of_its_results():
    results = (ROOT / "docs" / "operations" / "results.md").read_text(encoding="utf-8")
    shown = TEXT.split("### What to set")[1].split("All ")[0]
    lines = [line for line in shown.splitlines() if re.match(r"\| [^|]+ \| \d+ \| ", line)]
    assert len(lines) > 20
    for line in lines:
        assert line in results, line


def test_what_a_worker_costs_follows_from_readings_and_prices():
    price = fit.prices(fit.PRICES)[0]["HOPPER_141"]
    medians = {one["streams"]: one for one in json.loads(
        (ROOT / "docs/performance/h200/results.json").read_text())["medians"] if one["design"] == "worker"}
    found = rows("| streams | H200: tokens a second |")
    assert [int(row[0]) for row in found] == sorted(medians)
    for streams, tokens, each, first, dollars in found:
        one = medians[int(streams)]
        assert tokens == f"{one['tok_s']:,.0f}" and first == f"{one['ttft']['p50']:.0f} ms"
        assert each == f"{1000 / one['tpot']['p50']:.0f}"
        assert dollars == f"{1e6 * price / one['tok_s']:.2f}"


def test_every_reckoning_of_the_costs_is_right():
    found = rows("| what | reckoning | |")
    assert len(found) > 5
    for what, reckoning, outcome in found:
        value = eval(reckoning.replace("×", "*").replace("$", "").replace(",", "").replace("%", "/100"))
        number = float(re.search(r"[\d.]+", outcome.replace(",", ""))[0])
        digits = len(outcome.split(".")[1].split()[0]) if "." in outcome else 0
        assert round(value, digits) == number, what


def test_what_is_said_of_settings_stands_in_the_results():
    words = TEXT.split("### What to set")[1].split("The cheapest settings that keep")[0]
    found = [json.loads((ROOT / "docs" / "operations" / folder / "results.json").read_text())["rows"]
             for folder in ("", "flashboot")]
    means = [row["mean"] for rows_ in found for row in rows_]
    dollars = {f"{mean['dollars_million']:.2f}" for mean in means}
    late = {f"{mean['late_share']:.1%}" for mean in means}
    said = re.findall(r"\$(\d+\.\d\d)", words)
    assert len(said) > 15 and set(said) <= dollars, set(said) - dollars
    waits = [f"{share}%" for share in re.findall(r"(\d+\.\d) %", words)]
    assert len(waits) > 4 and set(waits) <= late, set(waits) - late


def test_the_reading_beside_the_real_worker_is_the_one_that_was_made():
    read = (ROOT / "docs" / "operations" / "check-worker.md").read_text(encoding="utf-8")
    lines = [line for line in read.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert len(lines) == 12 and all(line in TEXT for line in lines)
