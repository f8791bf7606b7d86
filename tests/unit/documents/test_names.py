"""Settings and constants that a document names: there is such a setting, or the name stands in some other file."""

import functools
import re

import pytest

from settings import config
from settings.foreign import FOREIGN
from tests import documents
from tests.dockerfile import ROOT
from tests.unit.documents.test_code import BESIDE, SNAPSHOT

CODE = ("*.py", "*.hcl", "*.yml", "Dockerfile", "*.toml", ".runpod/*.json", ".github/**/*.yml", "settings/**/*.py",
        "server/**/*.py", "start/**/*.py", "job/**/*.py", "answer/**/*.py", "front/**/*.py", "meter/**/*.py",
        "builder/*", "local/**/*.py", "bench/**/*.py", "fit/**/*.py",
        "tests/contract/front/test_http_by_two.py", "examples/**/*.*")
# Words of the shell in an example, of RunPod's and the kernel's own pages, and of a change that nobody made.
ELSEWHERE = {"ENGINE_PYTHON", "TINY_MODEL", "SO_REUSEPORT", "TIMED_OUT", "OPENAI_API_KEY", "MAX_IDLE_STREAMS"}
LIBRARIES = ("OTEL_", "SGLANG_USE_", "SGLANG_CPU_")  # OpenTelemetry's and SGLang's own variables
NAME = re.compile(r"([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)(?:=\S*)?")
NAMES = sorted({(str(path.relative_to(ROOT)), found[1]) for path in documents.documents()
                for _, text in documents.code(path) if (found := NAME.fullmatch(text))})


@functools.cache
def words() -> frozenset[str]:
    """Every such name in a file that is no document."""
    found: set[str] = set()
    for pattern in CODE:
        for path in ROOT.glob(pattern):
            if path.is_file() and path.suffix != ".md":
                found.update(re.findall(r"[A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+", path.read_text(encoding="utf-8")))
    return frozenset(found)


@pytest.mark.parametrize("path, name", NAMES)
def test_a_name_in_capitals_is_one_that_is_there(path, name):
    settings = config.known_variables(SNAPSHOT) | set(FOREIGN) | BESIDE
    assert name in settings or name in words() or name in ELSEWHERE or name.startswith(LIBRARIES)


def test_a_name_that_is_nowhere_is_found():
    assert len(NAMES) > 200 and "MAX_CONCURENCY" not in words() | config.known_variables(SNAPSHOT)
