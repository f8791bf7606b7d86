"""examples/: each file is in its README and is run by a test; each says which settings it needs, and ends with a word
where it does not know its endpoint."""

import re
import runpy
import subprocess

import pytest

from settings import config
from tests.examples import EXAMPLES, FOLDER, SETTINGS
from tests.unit.settings.test_incoming import SNAPSHOT, load

FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*.*")
               if path.is_file() and path.suffix != ".pyc" and path.name != "README.md")
README = (FOLDER / "README.md").read_text(encoding="utf-8")
# What the engine that all end-to-end tests share is set to (tests/e2e/conftest.py).
SHARED = {"TOOL_CALL_PARSER": "qwen25"}
# Without the first an example says so and works: it is run on the real server without it. The tests set the others.
LEFT_OUT = {"SPECULATIVE_ALGORITHM", "LORA_SOURCES", "LORA_PATHS", "WORKER_MODE"}
VALUES = {"TOOL_CALL_PARSER": "qwen25", "REASONING_PARSER": "qwen3", "LORA_PATHS": "pirate=org/pirate",
          "LORA_SOURCES": "pirate=org/pirate"}


def told(name: str) -> tuple[str, str]:
    """(title, settings) that a file's head gives."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    title = re.match(r'"""(.*)\n', text) if name.endswith(".py") else re.match(r"#!.*\n# (.*)\n", text)
    return title[1].rstrip("."), re.search(r"^(?:# )?Settings: (.*)$", text, re.MULTILINE)[1]


def settings_of(name: str) -> dict[str, str]:
    return {setting: value.removeprefix("=") or VALUES[setting]
            for setting, value in re.findall(r"\b([A-Z][A-Z_]{3,})\b(=\w+)?", told(name)[1])}


def test_every_file_is_run_by_a_test_and_every_test_has_its_file():
    assert sorted(EXAMPLES) == FILES


@pytest.mark.parametrize("name", FILES)
def test_the_readme_says_what_a_file_says(name):
    title, settings = told(name)
    marked = re.sub(r"([A-Z][A-Z_]{3,}(=\w+)?)", r"`\1`", settings) if settings != "none" else "–"
    assert f"| [`{name.split('/')[1]}`]({name}) | {title} | {marked} |" in README.splitlines()


@pytest.mark.parametrize("name", FILES)
def test_the_settings_are_the_workers_and_are_those_of_the_engine_that_it_is_run_on(name):
    asked = settings_of(name)
    assert asked.keys() <= config.known_variables(SNAPSHOT)
    load(MODEL_NAME="org/model", WORKER_API_KEY="sesame-open-now", **asked)  # or a ConfigError
    served = SETTINGS.get(EXAMPLES[name].engine, SHARED)
    wanted = {setting: value for setting, value in asked.items() if setting not in LEFT_OUT}
    if "reranker" not in told(name)[1]:  # of which only one kind embeds
        assert wanted.items() <= served.items()


def test_ngram_speculation_reaches_the_server():
    [setting] = settings_of("openai/speculative.py").items()
    arguments = load(**dict([setting])).server_args
    assert arguments[arguments.index("--speculative-algorithm") + 1] == "NGRAM"


@pytest.mark.parametrize("name", FILES)
def test_an_example_that_is_not_told_its_endpoint_says_what_to_set(name, monkeypatch, capsys):
    for variable in ("BASE_URL", "ENDPOINT_ID", "RUNPOD_API_KEY", "MODEL"):
        monkeypatch.delenv(variable, raising=False)
    if name.endswith(".sh"):
        done = subprocess.run(["bash", str(FOLDER / name)], capture_output=True, text=True, timeout=60)
        assert done.returncode and "Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL" in done.stderr
        return
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FOLDER / name))
    assert str(ended.value).startswith("Set ENDPOINT_ID and RUNPOD_API_KEY, or BASE_URL")


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_short_and_goes_to_runpod_by_the_endpoints_id(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert 10 <= len(text.splitlines()) <= 60
    assert "https://api.runpod.ai/v2/" in text or name == "runpod/sdk.py"  # whose package knows it
