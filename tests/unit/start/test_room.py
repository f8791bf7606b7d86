"""How much memory the container may still use: cgroup v2, v1, both, nested, none."""

import pytest

from start.weights import room

GB = 10**9


def system(tmp_path, groups, own, available=None):
    """/sys/fs/cgroup and /proc as `groups` says: {folder: {file: text}}; own: /proc/self/cgroup."""
    for folder, files in groups.items():
        (tmp_path / "cgroup" / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (tmp_path / "cgroup" / folder / name).write_text(f"{text}\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(own)
    if available:
        (tmp_path / "proc/meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:   {available // 1024} kB\n")
    return room.left(tmp_path / "cgroup", tmp_path / "proc")


def v2(limit, used, inactive=0, **more):
    return {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 1\ninactive_file {inactive}", **more}


def v1(limit, used, inactive=0):
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used,
            "memory.stat": f"inactive_file 1\ntotal_inactive_file {inactive}"}


@pytest.mark.parametrize(("groups", "own", "expected"), [
    ({"": v2(20 * GB, 5 * GB)}, "0::/\n", 15 * GB),
    ({"": v2(20 * GB, 15 * GB, 10 * GB)}, "0::/\n", 15 * GB),                        # page cache gives way
    ({"": v2("max", 5 * GB)}, "0::/\n", None),
    ({"": v2(20 * GB, 5 * GB, **{"memory.high": 10 * GB})}, "0::/\n", 5 * GB),
    ({"a": v2(9 * GB, 1 * GB), "a/b": v2(30 * GB, 1 * GB)}, "0::/a/b\n", 8 * GB),      # the group above is the limit
    ({"": v2(20 * GB, 5 * GB)}, "0::/../elsewhere\n", 15 * GB),
    ({"memory": v1(20 * GB, 15 * GB, 10 * GB)}, "4:memory:/docker/abc\n0::/\n", 15 * GB),  # a path of the host's
    ({"memory": v1(2**63 - 4096, 15 * GB)}, "4:cpu,memory:/\n", None),
    ({"memory/a": v1(3 * GB, 1 * GB), "memory": v1(2**63 - 4096, 9)}, "4:cpu,memory:/a\n", 2 * GB),
    ({"": v2(1 * GB, 5 * GB)}, "0::/\n", 0),
    ({"": {"memory.max": "20"}}, "0::/\n", None),
    ({}, "nonsense\n", None),
])
def test_what_a_group_leaves(tmp_path, groups, own, expected):
    assert system(tmp_path, groups, own) == expected


def test_the_machine_is_a_limit_too(tmp_path):
    assert system(tmp_path, {"": v2(64 * GB, GB)}, "0::/\n", available=2**30) == 2**30


def test_no_system_at_all(tmp_path):
    assert room.left(tmp_path, tmp_path) is None


def test_this_very_machine():
    assert (left := room.left()) is None or left >= 0


@pytest.mark.parametrize(("groups", "own", "expected"), [
    ({"": {"cpu.max": "400000 100000"}}, "0::/\n", 4),
    ({"": {"cpu.max": "max 100000"}}, "0::/\n", 64),
    ({"": {"cpu.max": "350000 100000"}, "a": {"cpu.max": "900000 100000"}}, "0::/a\n", 4),
    ({"": {"cpu.max": "20000 100000"}}, "0::/\n", 1),
    ({"": {"cpu.max": "9900000 100000"}}, "0::/\n", 64),
    ({"cpu": {"cpu.cfs_quota_us": "600000", "cpu.cfs_period_us": "100000"}}, "4:cpu,cpuacct:/docker/abc\n", 6),
    ({"cpu": {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}}, "4:cpu:/\n", 64),
    ({"": {"cpu.max": "nonsense"}}, "0::/\n", 64), ({}, "", 64)])
def test_cores_that_may_be_kept_busy(tmp_path, monkeypatch, groups, own, expected):
    """A container that may use four cores of a machine's 64 sees all of them."""
    monkeypatch.setattr(room.os, "sched_getaffinity", lambda _: set(range(64)))
    system(tmp_path, groups, own)
    assert room.cores(tmp_path / "cgroup", tmp_path / "proc") == expected
