"""Each committed snapshot: it is taken for the SGLang that is there, and the worker puts nothing into its server's
arguments that this SGLang does not have."""

import os
import re
from pathlib import Path

import pytest

from settings import config, flags, here, listeners, snapshots
from settings.flags import bounds, profiles
from start.kernels import compile_key
from tests.flag_samples import SNAPSHOTS, parser, sample
from tests.unit.settings.test_listeners import HARMLESS

ROOT = Path(__file__).parents[3]
DEFAULT = snapshots.read(snapshots.DEFAULT)["sglang"]
VERSIONS = sorted(SNAPSHOTS)


def python(folder: Path, *versions: str, site: str = "lib/python3.11/site-packages", environment: bool = True) -> str:
    """A Python in `folder`, by the look of it, that has these SGLangs."""
    for version in versions:
        (folder / site / f"sglang-{version}.dist-info").mkdir(parents=True)
    (folder / site / "sglang_kernel-9.9.dist-info").mkdir(parents=True)
    if environment:
        (folder / "pyvenv.cfg").touch()
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin/python3"
    program.touch()
    program.chmod(0o755)
    return str(program)


def test_there_is_one_for_each_image():
    bases = re.findall(r'BASE_IMAGE = "lmsysorg/sglang:v(\d+\.\d+\.\d+)[^"]*"', (ROOT / "docker-bake.hcl").read_text())
    assert set(bases) == set(SNAPSHOTS) and len(bases) == 2
    assert bases[0] == DEFAULT
    for version in set(VERSIONS) - {DEFAULT}:
        assert snapshots.read(snapshots.FOLDER / f"flags-{version}.json") == SNAPSHOTS[version]


@pytest.mark.parametrize(("site", "environment"), [
    ("lib/python3.11/site-packages", True), ("local/lib/python3.12/dist-packages", False),
    ("lib/python3/dist-packages", False)])
def test_the_version_is_that_of_the_servers_python(tmp_path, site, environment):
    program = python(tmp_path / "engine", "0.5.19", site=site, environment=environment)
    assert snapshots.installed([program, "-m", "sglang.launch_server"], {}) == "0.5.19"
    assert snapshots.installed(["python3"], {"PATH": str(Path(program).parent)}) == "0.5.19"


def test_the_version_is_that_of_a_links_target(tmp_path):
    program = python(tmp_path / "engine", "0.5.19", environment=False)
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin/python3"
    link.symlink_to(program)
    assert snapshots.installed([str(link)], {}) == "0.5.19"


def test_the_path_of_python_comes_first(tmp_path):
    program = python(tmp_path / "engine", "0.5.19")
    python(tmp_path / "other", "0.5.23")
    path = os.pathsep.join(["", str(tmp_path), str(tmp_path / "other/lib/python3.11/site-packages")])
    assert snapshots.installed([program], {"PYTHONPATH": path}) == "0.5.23"


@pytest.mark.parametrize("versions", [(), ("0.5.19", "0.5.23")])
def test_there_may_be_no_telling(tmp_path, versions):
    assert snapshots.installed([python(tmp_path / "engine", *versions)], {}) is None


@pytest.mark.parametrize("command", [["/nowhere/python3"], ["/bin/sh", "-c", "python3 -m sglang.launch_server"]])
def test_another_program_tells_nothing(command):
    assert snapshots.installed(command, {}) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_the_snapshot_of_what_is_installed_is_taken(tmp_path, version):
    program = python(tmp_path / "engine", version)
    environ = {"SGLANG_LAUNCH_COMMAND": f"{program} -m sglang.launch_server"}
    snapshot, lines = snapshots.at_hand(environ)
    assert snapshot == SNAPSHOTS[version]
    assert lines == ([] if version == DEFAULT else [
        ("info", f"settings go by the flags of SGLang {version}, which is installed")])
    settings, used = here.resolved({**environ, "MODEL_NAME": "owner/name"})
    assert used == snapshot and set(lines) <= set(settings.notices)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_of_a_version_has_its_flags(tmp_path, version):
    program = python(tmp_path / "engine", f"{version}+cu130")
    snapshot, lines = snapshots.at_hand({"SGLANG_LAUNCH_COMMAND": f"{program} -m sglang.launch_server"})
    assert snapshot == SNAPSHOTS[version] and [level for level, _ in lines if level == "warn"] == []


def test_another_sglang_than_the_snapshots_gives_a_line(tmp_path):
    program = python(tmp_path / "engine", "0.6.0")
    snapshot, ((level, line),) = snapshots.at_hand({"SGLANG_LAUNCH_COMMAND": f"{program} -m sglang.launch_server"})
    assert snapshot["sglang"] == DEFAULT and level == "warn"
    assert f"SGLang 0.6.0 is installed, and settings are checked against the flags of {DEFAULT}" in line


@pytest.mark.parametrize("environ", [{}, {"SGLANG_LAUNCH_COMMAND": "python3 '"}])
def test_where_nothing_is_known_the_default_is_taken_without_a_word(environ):
    assert snapshots.at_hand(environ) == (SNAPSHOTS[DEFAULT], [])


@pytest.mark.parametrize("version", VERSIONS)
def test_every_flag_is_passed_as_that_parser_takes_it(version):
    snapshot = SNAPSHOTS[version]
    takes = parser(snapshot)
    for flag, entry in snapshot["flags"].items():
        if flag in flags.REFUSED or entry["kind"] == "removed":
            continue
        argv, _, problems = flags.argv_for({flags.variable(flag): sample(flag, entry)}, snapshot)
        assert problems == [], flag
        takes.parse_args(argv)


# Whatever makes the worker choose a flag itself.
CHOSEN = (
    {}, {"START_PROFILE": "fast"}, {"WORKER_MODE": "http", "WORKER_API_KEY": "none"},
    {"LOAD_BALANCE_METHOD": "shortest_queue"}, {"LOAD_BALANCE_METHOD": "minimum_tokens"}, {"QUANTIZATION": "marlin"},
    {"DISABLE_CUDA_GRAPH": "true"}, {"ENABLE_FLASHINFER_MLA": "true"}, {"CHAT_TEMPLATE": "llama3"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "ENABLE_TRACE": "true"},
    {"MODEL_NAME": "https://huggingface.co/owner/name/tree/v2"}, {"MODEL_NAME": "owner/name:Q4_K_M"},
    {"DATA_PARALLEL_SIZE": "2"}, {"ENABLE_DP_ATTENTION": "true", "DATA_PARALLEL_SIZE": "4"},
    {"MODEL_REVISION": "v1"}, {"SGLANG_CONFIG_FILE": "/x/server.yaml", "START_PROFILE": "fast"},
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("environ", CHOSEN, ids=str)
def test_the_worker_chooses_only_flags_that_this_sglang_has(version, environ):
    snapshot = SNAPSHOTS[version]
    settings = config.load(environ, snapshot, 8, "python3")
    assert [item.spelled for item in flags.read(settings.server_args, snapshot) if item.flag is None] == []
    parser(snapshot).parse_args(list(settings.server_args))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_flag_that_names_a_port_or_an_address_was_looked_at(version):
    named = {flag for flag in SNAPSHOTS[version]["flags"]
             if re.search(r"port|host|addr|url|endpoint|socket|-ip\b", flag.replace("support", ""))}
    assert named - set(listeners.LISTENERS) - set(HARMLESS) == set()


def test_every_flag_that_the_worker_knows_by_name_is_one_of_these_sglangs():
    known = {name for snapshot in SNAPSHOTS.values() for entry in snapshot["flags"].values() for name in entry["names"]}
    fast = {word for choice in profiles.FAST for word in (*choice.words, *choice.unless)}
    spoken = {*flags.REFUSED, *listeners.LISTENERS, *bounds.AT_LEAST_ONE, *bounds.NOT_NEGATIVE, *config.DEFAULTS, *fast,
              *compile_key.KEYED_FLAGS}
    assert spoken - known == {"--help", "--torchao-config"}
