import pytest

from local import tiny_adapters
from lora.sources import Sources, Wanted, found
from settings.lora import places


def make(folder, name):
    return str(tiny_adapters.make(folder / name, 1, 2, modules=("q_proj", "v_proj")))


def test_a_name_in_a_folder_may_be_there_and_nothing_else_is_meant():
    sources = Sources(places("/vol/adapters /vol/more"))
    assert sources.meant("sql").folders == (("/vol/adapters/sql", "/vol/adapters"), ("/vol/more/sql", "/vol/more"))
    assert sources.meant("more").folders[-2:] == (("/vol/more", "/vol/more"), ("/vol/more/more", "/vol/more"))
    for name in ("..", ".", "../x", "a/b", "/vol/adapters/sql", "", ".hidden", "-x", "a b", "a:b", "a\n", "x" * 200):
        assert sources.meant(name) is None, name


def test_repositories_by_name_and_by_pattern():
    sources = Sources(places("org/one org/sql-*@v2 other/*"))
    assert sources.meant("org/one") == Wanted("org/one", (), "org/one", "")
    for name in ("org/sql-big", "org/sql-big@v2"):
        assert sources.meant(name) == Wanted("org/sql-big", (), "org/sql-big", "v2")
    assert sources.meant("other/x.y") == Wanted("other/x.y", (), "other/x.y", "")
    for name in ("org/two", "org/sql-big@main", "org/one@v1", "third/x", "other/..", "other/x/y", "OTHER/x", "other/",
                 "other/x@", "other/x@v1"):
        assert sources.meant(name) is None, name


def test_a_pattern_has_one_wildcard_alone():
    sources = Sources(places("org/a.b* "))
    assert sources.meant("org/a.bc") and not sources.meant("org/axbc")


def test_two_names_of_one_adapter_are_one():
    sources = Sources(places("first=/vol/adapters/sql second=/vol/adapters/sql /vol/adapters hub=org/one org/*"),
                      {"start": "/adapters/start"})
    assert {sources.meant(name).name for name in ("first", "second", "sql")} == {"first"}
    assert {sources.meant(name).name for name in ("hub", "org/one")} == {"hub"}
    assert sources.meant("start") == Wanted("start", (("/adapters/start", "/adapters/start"),))
    assert sources.meant("org/two").name == "org/two"


def test_another_revision_is_another_adapter():
    sources = Sources(places("old=org/one@v1 org/one"))
    assert (sources.meant("old").revision, sources.meant("org/one").revision) == ("v1", "")
    assert sources.meant("org/one").name == "org/one"


@pytest.mark.parametrize("text, present, meant", [
    ("org/one org/one@v2", {}, {"org/one": "", "org/one@v2": "v2"}),
    ("org/one@v2 org/one org/one@v3", {}, {"org/one": "", "org/one@v2": "v2", "org/one@v3": "v3"}),
    ("org/* org/one@v2", {}, {"org/one": "v2", "org/one@v2": "v2", "org/two": ""}),
    ("org/o* org/one* org/one@v2", {"org/one": "/adapters/one"}, {"org/one": "", "org/one@v2": "v2", "org/ones": ""})])
def test_each_revision_has_a_name_of_its_own_in_the_engine(text, present, meant):
    sources = Sources(places(text), present)
    found = {name: sources.meant(name) for name in meant}
    assert {name: wanted.revision for name, wanted in found.items()} == meant
    adapters = {wanted.name: wanted for wanted in found.values()}
    assert len(adapters) == len(set(adapters.values())) == len(set(found.values()))
    assert all(sources.meant(name) == wanted for name, wanted in adapters.items())  # as it is found again by it
    assert {wanted.name for wanted in found.values() if "*" not in text} <= set(sources.offered()) | set(present)


def test_what_is_there_is_listed_whenever_it_comes(tmp_path):
    sources = Sources(places(f"{tmp_path}/volume org/one org/* alias=org/two"))
    assert sources.offered() == {"alias": "org/two", "org/one": "org/one"}  # no volume yet
    make(tmp_path / "volume", "b")
    make(tmp_path / "volume", "a")
    (tmp_path / "volume" / "empty").mkdir()
    assert list(sources.offered()) == ["alias", "a", "b", "org/one"]
    assert sources.offered()["a"] == str(tmp_path / "volume" / "a")
    assert found(sources.meant("a")) == str(tmp_path / "volume" / "a")
    assert found(sources.meant("empty")) is None and found(sources.meant("c")) is None


def test_a_folder_may_be_an_adapter_itself(tmp_path):
    make(tmp_path, "sql")
    sources = Sources(places(f"{tmp_path}/sql"))
    assert list(sources.offered()) == ["sql"]
    assert found(sources.meant("sql")) == str(tmp_path / "sql")


@pytest.mark.parametrize("target, there", [("inside", True), ("../outside", False)])
def test_a_link_leads_no_further_than_the_folder(tmp_path, target, there):
    make(tmp_path / "volume", "inside")
    make(tmp_path, "outside")
    (tmp_path / "volume" / "link").symlink_to(target)
    sources = Sources(places(str(tmp_path / "volume")))
    assert ("link" in sources.offered()) == there
    assert (found(sources.meant("link")) is not None) == there
    # a folder that the operator names may be a link to anywhere
    (tmp_path / "named").symlink_to(tmp_path / "outside")
    assert found(Sources(places(f"x={tmp_path}/named")).meant("x")) == str(tmp_path / "named")
