"""One version: where it is repeated, what a release asks of it and of the changelog, and where it is told."""

import shutil
import subprocess
import sys
import tomllib

import pytest

import utils
from builder import release
from settings.version import version
from tests.dockerfile import ROOT, every

NAMES = ("utils.py", "Dockerfile", "docker-bake.hcl")
CHANGELOG = "# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n\n## [0.9.0] - 2020-01-02\n\n- Older.\n"


@pytest.fixture
def checkout(tmp_path):
    for name in NAMES:
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    return tmp_path


def test_this_checkout_agrees_with_itself():
    assert release.problems(ROOT) == []
    assert release.read(ROOT, *release.SOURCE) == utils.VERSION


def test_the_project_reads_its_version_where_it_stands():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "utils.VERSION"}


def test_the_image_has_it_as_a_label_behind_all_that_costs():
    assert f"VERSION={utils.VERSION}" in every("ARG")
    assert 'org.opencontainers.image.version="${VERSION}"' in every("LABEL")[-1]
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert text.index("ARG VERSION=") > text.rindex("\nRUN ")


def test_every_place_follows(checkout, capsys):
    assert release.main(["2.3.4"], checkout) == 0
    assert capsys.readouterr().out == "2.3.4\n"
    for name, pattern in (release.SOURCE, *release.COPIES):
        assert release.read(checkout, name, pattern) == "2.3.4"
        was, now = ((root / name).read_text(encoding="utf-8") for root in (ROOT, checkout))
        assert was.replace(utils.VERSION, "2.3.4", 1) == now or was == now.replace("2.3.4", utils.VERSION)
    listed = release.sections((checkout / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert list(listed) == ["Unreleased", "2.3.4", "0.9.0"]
    assert listed["Unreleased"] == (None, "") and listed["2.3.4"][1] == "### Added\n\n- A thing."
    assert release.problems(checkout, "v2.3.4") == []
    assert release.main(["--check", "v2.3.4"], checkout) == 0
    assert release.main(["--notes"], checkout) == 0
    assert capsys.readouterr().out == "### Added\n\n- A thing.\n"


@pytest.mark.parametrize(("tag", "said"), [
    ("v9.9.9", f"the tag v9.9.9 is not v{utils.VERSION}"),
    (f"v{utils.VERSION}", f"CHANGELOG.md has no dated section for {utils.VERSION}")])
def test_a_tag_that_is_not_what_is_here(checkout, tag, said, capsys):
    assert release.main(["--check", tag], checkout) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("name", "old", "new", "said"), [
    ("Dockerfile", f"ARG VERSION={utils.VERSION}", "ARG VERSION=0.0.1", "Dockerfile has version 0.0.1"),
    ("docker-bake.hcl", f'default = "{utils.VERSION}"', 'default = "dev"', "docker-bake.hcl has version dev"),
    ("utils.py", f'"{utils.VERSION}"', '"one"', "one is no version"),
    ("CHANGELOG.md", "## [Unreleased]\n", "", "does not begin with a section"),
    ("CHANGELOG.md", " - 2020-01-02", "", "0.9.0 has no date")])
def test_what_disagrees_is_named(checkout, name, old, new, said):
    path = checkout / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert any(said in problem for problem in release.problems(checkout))


@pytest.mark.parametrize(("version", "changelog", "said"), [
    ("1.0", CHANGELOG, "no version such as"), ("0.9.0", CHANGELOG, "a section for 0.9.0 already"),
    ("2.0.0", "## [Unreleased]\n\n## [0.9.0] - 2020-01-02\n", "nothing under")])
def test_what_is_no_release_changes_nothing(checkout, version, changelog, said):
    (checkout / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    with pytest.raises(SystemExit, match=said):
        release.main([version], checkout)
    assert release.read(checkout, *release.SOURCE) == utils.VERSION


def test_the_version_is_printed_without_anything_that_is_slow():
    program = ("import runpy, sys\nsys.argv = ['handler.py', '--version']\n"
               "try: runpy.run_path('handler.py', run_name='__main__')\nexcept SystemExit as end: print(end.code)\n"
               "print(sorted({'sglang', 'torch', 'runpod', 'aiohttp', 'prometheus_client'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [version(), "0", "[]"]
    assert done.stdout.startswith(f"worker-sglang {utils.VERSION} (SGLang ")
