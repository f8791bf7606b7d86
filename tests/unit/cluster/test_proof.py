"""Who may come in among the nodes, and with what."""

import pytest

from cluster import proof

ARGS = ["--nnodes", "2", "--node-rank", "1", "--tp-size", "16", "--model-path", "/a", "--enable-x", "--y=1", "--list",
        "a", "b"]


def test_a_proof_is_good_for_one_side_one_node_and_both_nonces():
    shown = proof.proof(b"secret", "node", ("a", "b"), 1)
    assert proof.same(shown, proof.proof(b"secret", "node", ("a", "b"), 1))
    others = [proof.proof(b"other", "node", ("a", "b"), 1), proof.proof(b"secret", "lead", ("a", "b"), 1),
              proof.proof(b"secret", "node", ("b", "a"), 1), proof.proof(b"secret", "node", ("a", "b"), 2), None, 7, ""]
    assert not any(proof.same(shown, other) for other in others)
    assert "secret" not in shown


@pytest.mark.parametrize(("changed", "names"), [
    ({}, []),
    ({"--tp-size": "8"}, ["--tp-size"]), ({"--list": "c"}, ["--list"]), ({"--enable-x": None}, ["--enable-x"]),
    ({"--y=1": "--y=2"}, ["--y"]),
    ({"--node-rank": "0", "--model-path": "/b"}, []),
])
def test_what_differs_is_named_and_what_may_differ_is_not(changed, names):
    theirs = list(ARGS)
    for flag, value in changed.items():
        at = theirs.index(flag)
        if value is None:
            del theirs[at]
        elif "=" in flag:
            theirs[at] = value
        else:
            theirs[at + 1] = value
    ours = proof.about(b"s", {"model": "m"}, ARGS)
    assert proof.differing(ours, proof.about(b"s", {"model": "m"}, theirs)) == names
    assert proof.differing(ours, proof.about(b"s", {"model": "n"}, theirs)) == [*names, "model"]


@pytest.mark.parametrize(("flag", "ours", "theirs", "alike"), [
    ("--lora-paths", "sql=org/sql", "sql=/volume/models--org--sql/snapshots/1", True),
    ("--lora-paths", "org/sql", "org/sql=/volume/sql", True),
    ("--lora-paths", "sql=org/sql", "law=org/sql", False),
    ("--lora-paths", '{"lora_name": "sql", "lora_path": "org/sql"}', '{"lora_name": "sql", "lora_path": "/volume/x"}',
     True),
    ("--chat-template", "/home/.cache/worker-sglang/templates/ab12.jinja", "/other/ab12.jinja", True),
    ("--chat-template", "/home/ab12.jinja", "/home/cd34.jinja", False),
    ("--model-checksum", "org/model", "", True),
])
def test_where_a_node_has_its_files_is_its_own_affair(flag, ours, theirs, alike):
    one, other = (proof.about(b"s", {}, [flag, value]) for value in (ours, theirs))
    assert proof.differing(one, other) == ([] if alike else [flag])


def test_values_do_not_leave_the_machine():
    told = proof.about(b"s", {"model": "org/private"}, ["--api-key", "sesame", "--z=sesame"])
    assert "sesame" not in str(told) and "private" not in str(told)


@pytest.mark.parametrize("theirs", [None, [], "x", 7, {"model": {}}])
def test_nonsense_differs(theirs):
    assert proof.differing({"model": "m"}, theirs) == ["model"]


def test_the_names_of_a_stranger_are_kept_short():
    assert max(map(len, proof.differing({}, {"x" * 1000 + str(n): 1 for n in range(99)}))) == 60
    assert len(proof.differing({}, {str(n): 1 for n in range(99)})) == 10
