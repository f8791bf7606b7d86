"""What GitHub is told: workflows, forms, updates. By their schemas, by actionlint, and against what they start here."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from local import environments
from tests import documents
from tests.dockerfile import ROOT
from tests.unit.builder.test_compose import bake
from tests.unit.documents.test_commands import command

GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in GITHUB.glob("workflows/*.yml")}
FORMS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in GITHUB.glob("ISSUE_TEMPLATE/*.yml")}
JOBS = [(name, key, job) for name, workflow in WORKFLOWS.items() for key, job in workflow["jobs"].items()]
STEPS = [(f"{name}/{key}", step) for name, key, job in JOBS for step in job.get("steps", ())]
# The one job of each of these may do more than read.
WRITES = {("release", "publish"): {"contents": "write"}, ("drift", "flags"): {"contents": "read", "issues": "write"}}


def program(name: str) -> str:
    """One of this environment's own."""
    found = shutil.which(name, path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    assert found, f"{name} is not installed (local/requirements-dev.txt)"
    return found


def linted(path: Path) -> subprocess.CompletedProcess:
    return subprocess.run([program("actionlint"), "-no-color", str(path)], cwd=ROOT, capture_output=True, text=True)


def valid(schema: str, path: Path) -> subprocess.CompletedProcess:
    return subprocess.run([program("check-jsonschema"), "--builtin-schema", schema, str(path)], capture_output=True,
                          text=True)


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_actionlint_finds_nothing(name):
    done = linted(GITHUB / "workflows" / f"{name}.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("old, new", [
    ("${{ github.ref }}", "${{ github.reff }}"), ("runs-on: ubuntu-24.04", "runs-on: ubuntu-24.05"),
    ("needs: version", "needs: versions"), ("permissions:", "permission:")])
def test_actionlint_finds_what_is_wrong(old, new, tmp_path):
    text = (GITHUB / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "wrong.yml").write_text(text.replace(old, new, 1), encoding="utf-8")
    assert linted(tmp_path / "wrong.yml").returncode == 1


@pytest.mark.parametrize("schema, pattern", [
    ("vendor.github-workflows", ".github/workflows/*.yml"),
    ("custom.github-workflows-require-timeout", ".github/workflows/*.yml"),
    ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
    ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"), ("vendor.renovate", "renovate.json"),
    ("vendor.compose-spec", "docker-compose*.yml")])
def test_each_file_has_the_form_that_it_has_to_have(schema, pattern, tmp_path):
    files = sorted(ROOT.glob(pattern))
    assert files
    for file in files:
        done = valid(schema, file)
        assert done.returncode == 0, done.stdout + done.stderr
    empty = tmp_path / f"empty{files[0].suffix}"
    empty.write_text('{"nothing": {"such": 1}, "extends": 5}\n', encoding="utf-8")
    if "timeout" not in schema:
        assert valid(schema, empty).returncode == 1


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_a_workflow_may_read_and_no_more_and_stands_in_nobody_s_way(name):
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {"contents": "read"} and workflow["concurrency"]["group"]
    for key, job in workflow["jobs"].items():
        assert job.get("permissions") == WRITES.get((name, key)), key


@pytest.mark.parametrize("where, step", [(where, step) for where, step in STEPS if "uses" in step])
def test_an_action_is_one_commit_that_keeps_no_token(where, step):
    assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}|docker://rhysd/actionlint:\d+\.\d+\.\d+", step["uses"]), where
    if step["uses"].startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] is False


def test_each_commit_has_its_version_behind_it_and_is_the_same_everywhere():
    pins = {}
    for path in GITHUB.glob("workflows/*.yml"):
        for action, commit, version in re.findall(r"uses: (actions/[\w-]+)@(\w+)(?: # (v\d+\.\d+\.\d+))?$",
                                                  path.read_text(encoding="utf-8"), re.MULTILINE):
            assert version and pins.setdefault(action, (commit, version)) == (commit, version)
    assert set(pins) == {"actions/checkout", "actions/cache", "actions/setup-python", "actions/setup-node"}


def test_the_clients_get_a_node_that_they_take():
    [node] = [step["with"]["node-version"] for where, step in STEPS
              if where == "ci/tests" and step.get("uses", "").startswith("actions/setup-node@")]
    lock = json.loads((ROOT / "local/clients/package-lock.json").read_text(encoding="utf-8"))
    wanted = {found["engines"]["node"] for found in lock["packages"].values()
              if "node" in found.get("engines", {}) and not isinstance(found["engines"], list)}
    least = [int(number) for one in wanted for number in re.findall(r">= ?(\d+)", one.split("||")[-1])]
    assert max(least) <= int(node), "a client asks for a newer Node"


@pytest.mark.parametrize("where, step", [(where, step) for where, step in STEPS if "run" in step])
def test_what_a_step_runs_parses_and_no_expression_is_pasted_into_it(where, step):
    assert "${{" not in step["run"], "hand it over as a variable"
    done = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for each in re.findall(r"python3 -m (?:local|builder)[\w./ -]*", step["run"]):
        for one in documents.commands(each):
            command(one)


def test_ci_runs_what_ci_runs():
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    runs = [step["run"] for where, step in STEPS if where.startswith("ci/") and "run" in step]
    assert ".ci/run" in runs and "python3 -m local check" in runs


def test_both_variants_are_built_and_a_release_needs_everything():
    assert set(WORKFLOWS["images"]["jobs"]["build"]["strategy"]["matrix"]["variant"]) == set(
        bake()["group"]["all"]["targets"])
    jobs = WORKFLOWS["release"]["jobs"]
    assert set(jobs["publish"]["needs"]) == {"tests", "images"} and jobs["tests"]["needs"] == "version"
    for job in jobs.values():
        if "uses" in job:
            assert (ROOT / job["uses"]).is_file()


def test_what_a_cache_is_keyed_by_is_there():
    names = {name for _, step in STEPS for name in re.findall(r"'([\w./*-]+)'", step.get("with", {}).get("key", ""))}
    assert names and all(list(ROOT.glob(name)) for name in names)


def test_updates_find_every_version_that_is_written_outside_of_requirements():
    settings = json.loads((ROOT / "renovate.json").read_text(encoding="utf-8"))
    files = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.*"), *ROOT.glob("local/*"))]
    found = {}
    for manager in settings["customManagers"]:
        for pattern in manager["managerFilePatterns"]:
            for file in filter(re.compile(pattern.strip("/")).search, files):
                text = (ROOT / file).read_text(encoding="utf-8")
                for said in manager["matchStrings"]:
                    found.setdefault(file, []).extend(re.findall(said.replace("(?<", "(?P<"), text))
    default = (ROOT / "Dockerfile").read_text(encoding="utf-8").split("ARG BASE_IMAGE=")[1].split("\n")[0]
    bases = {":".join(each) for each in found["docker-bake.hcl"]}
    assert bases == {target["args"]["BASE_IMAGE"] for target in bake()["target"].values()
                     if "BASE_IMAGE" in target["args"]} and default in bases
    for file in ("docker-compose.yml", "docker-compose.router.yml"):
        assert {":".join(each) for each in found[file]} == {default}
    assert {"==".join(each) for each in found["local/environments.py"]} == {environments.SGLANG,
                                                                            environments.TORCHVISION}


def test_whoever_has_a_problem_is_asked_for_the_version_and_the_start_report():
    fields = {field["id"]: field for field in FORMS["problem"]["body"] if "id" in field}
    assert {"version", "start", "settings", "request"} <= set(fields)
    assert all(fields[name]["validations"]["required"] for name in ("version", "start", "settings", "request"))
    assert "start report {" in fields["start"]["attributes"]["description"]
    assert FORMS["config"]["blank_issues_enabled"] is False
