"""The process that unpacks, and the plugin that asks it: real processes, real sockets, real memory."""

import json
import os
import signal
import socket
import subprocess
import threading
from types import SimpleNamespace

import pytest

from server.guard import descendants
from start.weights.packed import codec, copies, packer
from start.weights.packed.plugin import worker_sglang_weights as redirect
from start.weights.packed.supply import Supply
from tests.pages import forget
from tests.unit.start.packed.conftest import HEADER

COUNT = 3


@pytest.fixture
def model(tmp_path, bfloat16):
    """Three files that are not in memory."""
    paths = []
    for number in range(COUNT):
        path = tmp_path / f"model-{number}.safetensors"
        path.write_bytes(HEADER + bytes([number]) * 4096 + bfloat16 * 20)
        paths.append(path)
    return paths


@pytest.fixture
def packed(model, tmp_path):
    folder = tmp_path / "packed"
    packer.pack_all([str(path) for path in model], str(folder), 2)
    forget(*model)
    return folder


@pytest.fixture
def supply(packed):
    one = Supply(str(packed), "on", 2)
    one.environ({})
    yield one
    one.close()


class Running:
    """The process of a Supply, as ReadAhead runs it."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def ended(self):
        output, _ = self.process.communicate(timeout=60)
        return json.loads(output)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def run(supply, model):
    return Running(supply.command([str(path) for path in model], None))


def content(descriptor) -> bytes:
    with open(f"/proc/self/fd/{descriptor}", "rb") as f:
        data = f.read()
    os.close(descriptor)
    return data


def asked(supply, path):
    """As the plugin asks, once somebody is there to be asked."""
    while True:
        with socket.socket(socket.AF_UNIX) as one:
            if one.connect_ex(supply._socket) == 0:
                break
    found = redirect.unpacked(supply._socket, str(path))
    return None if found is None else content(found)


def test_every_file_is_handed_over_whole(supply, model, tmp_path):
    expected = [path.read_bytes() for path in model]
    forget(*model)
    with run(supply, model) as running:
        link = tmp_path / "link.safetensors"
        link.symlink_to(model[1])
        assert [asked(supply, path) for path in model] == expected
        assert asked(supply, link) == expected[1]  # a cache of the hub is made of links
        running.say("needed")
        assert asked(supply, tmp_path / "other.safetensors") is None
        running.say("enough")
        told = running.ended()
    total = sum(map(len, expected))
    assert (told["bytes"], told["read"], told["taken"], told["stopped"]) == (total, total, 4, None)
    assert 0 < told["stored"] < 0.7 * total and told["needed"] == total and told["seconds"] > 0


def test_who_asks_early_waits_until_the_file_is_whole(supply, model):
    """Asked before anything can be unpacked: its children are stopped meanwhile."""
    expected = model[2].read_bytes()
    forget(*model)
    with run(supply, model) as running:
        while not (children := descendants(running.process.pid)):
            pass
        got = []
        thread = threading.Thread(target=lambda: got.append(asked(supply, model[2])))
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        thread.start()
        for pid in children:
            os.kill(pid, signal.SIGCONT)
        thread.join(60)
        assert got == [expected]


def damage(folder, path, at=1000):
    base = os.path.join(folder, copies.identity(str(path)))
    with open(base + ".packed", "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 255]))


def test_a_damaged_copy_is_never_handed_over_and_the_others_are(supply, packed, model):
    whole = model[0].read_bytes()
    forget(*model)
    damage(packed, model[1])
    with run(supply, model) as running:
        assert asked(supply, model[0]) == whole and asked(supply, model[1]) is None
        running.say("needed")
        running.say("enough")
        told = running.ended()
    assert told["stopped"].startswith("1 of 3 packed copies cannot be read (") and told["taken"] == 1
    assert len(copies.find(map(str, model), packed)) == 2  # it is made anew, and tried by nobody until then


def test_a_copy_that_cannot_be_read_is_kept(supply, packed, model):
    """A volume that fails today may not tomorrow."""
    base = os.path.join(packed, copies.identity(str(model[1])))
    forget(*model)
    command = supply.command([str(path) for path in model], None)
    os.rename(base + ".packed", base + ".kept")
    os.mkdir(base + ".packed")  # what is read of a folder is an error
    with Running(command):
        assert asked(supply, model[0]) is not None and asked(supply, model[1]) is None
    assert os.path.exists(base + ".json")


def test_children_that_are_killed_end_in_a_refusal(supply, model):
    with run(supply, model) as running:
        while len(children := descendants(running.process.pid)) < 2:
            pass
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        got = []
        thread = threading.Thread(target=lambda: got.extend(asked(supply, path) for path in model))
        thread.start()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        thread.join(60)
        whole = [path.read_bytes() for path in model]
        assert len(got) == COUNT and all(one is None or one == whole[number] for number, one in enumerate(got))


def test_it_ends_with_its_input_and_takes_its_children_along(supply, model):
    with run(supply, model) as running:
        while len(children := descendants(running.process.pid)) < 2:
            pass
        running.process.stdin.close()
        running.process.stdin = None
        running.process.wait(60)
    for pid in children:
        with pytest.raises(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                with open(f"/proc/{pid}/stat") as f:
                    if f.read().rpartition(")")[2].split()[0] in "ZX":  # process 1 buries it
                        raise ProcessLookupError


def test_files_that_are_in_memory_are_read_themselves(supply, model):
    for path in model:
        path.read_bytes()
    with run(supply, model) as running:
        assert running.ended() == {"warm": True}


def with_constant(command, line):
    code = command[4].replace("sys.exit(", f"{line}; sys.exit(")
    return Running([*command[:4], code, *command[5:]])


def test_a_volume_that_gives_nothing_of_the_copies_ends_it(supply, packed, model):
    """A part of the volume may be lost where a copy lies, and the originals be whole."""
    command = supply.command([str(path) for path in model], None)
    path = next(iter(packed.glob("*.packed")))
    path.unlink()
    os.mkfifo(path)  # whoever opens it waits for ever
    with with_constant(command, "it._STALLED = 0.2") as running:
        running.process.wait(60)
        told = running.ended()
    assert told["stopped"] == "the volume gave nothing of packed copies for 0 s" and told["taken"] == 0


def test_files_that_wait_for_the_server_are_no_stall(supply, packed, model):
    """One copy is damaged, the others are whole for longer than a volume may give nothing."""
    whole = model[0].read_bytes()
    forget(*model)
    damage(packed, model[1])
    command = supply.command([str(path) for path in model], None)
    with with_constant(command, "it._STALLED = 1.5") as running:
        assert asked(supply, model[2]) is not None and asked(supply, model[1]) is None
        assert asked(supply, model[0]) == whole
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(3)
        assert asked(supply, model[0]) == whole
        running.say("enough")
        assert running.ended()["stopped"].startswith("1 of 3")


def test_a_server_that_never_asks_ends_it(supply, model):
    with with_constant(supply.command([str(path) for path in model], None), "it._UNASKED = 0") as running:
        running.say("needed")
        told = running.ended()
    assert told["stopped"] == "the server did not ask for them and reads the files themselves" and told["taken"] == 0


def test_the_plugin_opens_what_is_unpacked(supply, model, monkeypatch):
    opened = []

    def safe_open(filename, framework, device="cpu"):
        with open(filename, "rb") as f:
            opened.append((f.read(), framework, device))
        return "handle"

    library = SimpleNamespace(safe_open=safe_open)
    monkeypatch.setitem(__import__("sys").modules, "safetensors", library)
    monkeypatch.delenv(redirect.ADDRESS, raising=False)
    redirect.activate()
    assert library.safe_open is safe_open  # nobody said where to ask
    monkeypatch.setenv(redirect.ADDRESS, supply._socket)
    redirect.activate()
    expected, before = [path.read_bytes() for path in model], len(os.listdir("/proc/self/fd"))
    forget(*model)
    with run(supply, model):
        assert asked(supply, model[0]) == expected[0]
        assert library.safe_open(str(model[1]), framework="pt") == "handle"
        model[1].write_bytes(b"other")  # what was unpacked is what is opened
        assert library.safe_open(str(model[1]), "pt", device="cuda") == "handle"
    assert opened == [(expected[1], "pt", "cpu"), (expected[1], "pt", "cuda")]
    supply.close()
    assert library.safe_open(str(model[2]), "pt") == "handle" and opened[-1][0] == expected[2]
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_cannot_be_opened_in_memory_is_opened_itself(supply, model, monkeypatch):
    def safe_open(filename, framework):
        if filename.startswith("/proc/"):
            raise OSError("not allowed here")
        return filename, framework

    library = SimpleNamespace(safe_open=safe_open)
    monkeypatch.setitem(__import__("sys").modules, "safetensors", library)
    monkeypatch.setenv(redirect.ADDRESS, supply._socket)
    redirect.activate()
    forget(*model)
    with run(supply, model) as running:
        assert asked(supply, model[0]) is not None
        assert library.safe_open(str(model[1]), framework="pt") == (str(model[1]), "pt")
        running.say("enough")
        assert running.ended()["taken"] == 2


def test_one_silence_is_a_freeze_and_no_end(tmp_path, monkeypatch):
    """The time that a frozen process waits goes on, and is over when it is thawed."""
    monkeypatch.setattr(redirect, "_SILENT", 0.05)
    told, path = threading.Event(), str(tmp_path / "socket")
    real = socket.recv_fds

    def receive(*arguments):
        try:
            return real(*arguments)
        except TimeoutError:
            told.set()
            raise

    monkeypatch.setattr(redirect.socket, "recv_fds", receive)
    monkeypatch.setattr(redirect, "_TIMES", 10**6)
    with socket.socket(socket.AF_UNIX) as listener, open(os.devnull, "rb") as file:
        listener.bind(path)
        listener.listen()

        def answer():
            one, _ = listener.accept()
            with one:
                one.recv(100)
                told.wait(60)
                socket.send_fds(one, [b"y"], [file.fileno()])

        thread = threading.Thread(target=answer)
        thread.start()
        found = redirect.unpacked(path, "/x")
        thread.join(60)
    assert found is not None and not os.get_inheritable(found)  # a child of the server's would hold the memory
    os.close(found)


@pytest.mark.parametrize("manner", ["hangs up", "nonsense", "y without a file", "silence"])
def test_whoever_answers_something_else_is_not_believed(tmp_path, manner, monkeypatch):
    monkeypatch.setattr(redirect, "_SILENT", 0.2)
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer():
            one, _ = listener.accept()
            with one:
                one.recv(100)
                one.sendall({"nonsense": b"..x", "y without a file": b".y"}.get(manner, b"."))
                if manner == "silence":
                    one.recv(1)  # until the other side gives up

        thread = threading.Thread(target=answer)
        thread.start()
        assert redirect.unpacked(path, "/x") is None
        thread.join(60)


def test_windows_are_read_where_they_lie(bfloat16):
    window, _ = codec.pack(bfloat16)
    copy = copies.Copy("/o", "/p", 2 * len(bfloat16), [window, window])
    from start.weights.packed.unpacking import Job

    job = Job([copy, copy])
    assert [(number, stored, at) for number, _, stored, at in job.windows] == [
        (0, 0, 0), (0, window.stored, window.length), (1, 0, 0), (1, window.stored, window.length)]
    for fd in job.memory:
        assert os.fstat(fd).st_size == copy.size
        os.close(fd)
