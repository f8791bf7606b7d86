"""Files of opened folders, and nothing else."""

import os

import pytest

from answer.files import Closed, read


@pytest.fixture
def folder(tmp_path):
    inside, outside = tmp_path / "open", tmp_path / "closed"
    inside.mkdir()
    outside.mkdir()
    (inside / "a.png").write_bytes(b"inside")
    (inside / "sub").mkdir()
    (inside / "sub" / "b.png").write_bytes(b"below")
    (outside / "secret").write_bytes(b"secret")
    (inside / "link").symlink_to(outside / "secret")
    (inside / "linked").symlink_to(outside)
    (inside / "own").symlink_to("a.png")
    (inside / "gone").symlink_to(outside / "gone")
    (tmp_path / "alias").symlink_to(inside)
    os.mkfifo(inside / "pipe")
    return inside


def test_files_and_links_inside_are_read(folder):
    for name, content in (("a.png", b"inside"), ("sub/b.png", b"below"), ("own", b"inside"),
                          ("sub/../a.png", b"inside")):
        assert read(f"{folder}/{name}", (str(folder),), 100) == content
    assert read(f"{folder.parent}/alias/a.png", (f"{folder.parent}/alias/",), 100) == b"inside"


@pytest.mark.parametrize("name", ["link", "linked/secret", "../closed/secret", "gone", "../closed/gone", "../open",
                                  "."])
def test_whatever_lies_outside_is_refused_in_the_same_words(folder, name):
    with pytest.raises(Closed, match="in ALLOWED_MEDIA_FOLDERS only"):
        read(f"{folder}/{name}", (str(folder),), 100)


@pytest.mark.parametrize("name", ["missing", "sub", "pipe", "a.png/x", "a\0b"])
def test_what_is_no_file_is_refused_and_nothing_waits(folder, name):
    with pytest.raises(Closed, match="cannot be read"):
        read(f"{folder}/{name}", (str(folder),), 100)


def test_devices_are_refused():
    for path in ("/dev/zero", "/dev/stdin"):
        with pytest.raises(Closed):
            read(path, ("/dev",), 100)


def test_a_file_over_the_limit_is_refused(folder):
    assert read(f"{folder}/a.png", (str(folder),), 6) == b"inside"
    with pytest.raises(Closed, match="more than"):
        read(f"{folder}/a.png", (str(folder),), 5)
