"""The engine and its guard against real processes: readiness, endings, and nothing left behind by any of them."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

import utils
from engine import Engine, EngineError, Patience
from server import guard
from server.diagnosis import diagnose
from server.processes import port_is_free
from server.states import FINAL, State
from start.start_report import Timeline
from tests.contract.children import DIE, HANG_UP
from tests.contract.server.trees import (
    FAMILY,
    PATIENCE,
    RUNAWAYS,
    await_gone,
    ended,
    members,
    program,
    report,
    requests,
    script,
    settle,
)
from tests.support import ROOT, free_port

pytestmark = pytest.mark.timeout(60)

# Readiness

@pytest.mark.parametrize(("answers", "asked"), [
    ({"/ready": [200]}, ["/ready"]),
    ({"/ready": [503, 503, 200]}, ["/ready", "/ready", "/ready"]),
    ({"/ready": [HANG_UP, 500, 200]}, ["/ready", "/ready", "/ready"]),
    ({"/ready": [404], "/health": [200]}, ["/ready", "/health"]),
    ({"/ready": [404], "/health": [503, 503, 200]}, ["/ready", "/health", "/health", "/health"]),
    ({"/ready": [503, 404], "/health": [200]}, ["/ready", "/ready", "/health"]),
])
def test_ready_is_asked_first_and_health_where_it_is_unknown(serve, output, answers, asked):
    engine = serve(answers)
    engine.start()
    assert engine.state is State.STARTING
    assert engine.wait_ready() > 0
    assert engine.state is State.UP and engine.returncode is None
    engine.stop(PATIENCE)  # and with it every line is read
    assert [path for path, _ in requests(output)] == asked


@pytest.mark.parametrize(("key", "sent"), [("sesame", "Bearer sesame"), (None, "None")])
def test_the_api_key_goes_with_every_question(serve, output, key, sent):
    engine = serve({"/ready": [404], "/health": [200]}, engine={"api_key": key}, info="{}")
    engine.start()
    engine.wait_ready()
    engine.capacity()
    engine.stop(PATIENCE)
    assert requests(output) == [["/ready", sent], ["/health", sent], ["/server_info", sent]]


@pytest.mark.parametrize(("source", "ending"), [
    ("raise SystemExit(3)", "(exit status 3)"),
    ("raise SystemExit(0)", "(exit status 0)"),
    ("import os; os.kill(os.getpid(), 11)", "(killed by SIGSEGV)"),
    ("import os; os.kill(os.getpid(), 9)", "(killed by SIGKILL)"),
    ("import os; os.kill(os.getpid(), 35)", "35"),  # a real-time signal, for which Python has no name
])
def test_a_server_that_ends_while_it_starts_is_reported(build, source, ending):
    engine = build(script(
        f"print('loading', flush=True); print('torch.OutOfMemoryError: CUDA out of memory.', flush=True); {source}"))
    engine.start()
    with pytest.raises(EngineError) as caught:
        engine.wait_ready()
    headline, *rest = str(caught.value).splitlines()
    assert "ended before it was ready" in headline and ending in headline
    assert rest[:2] == ["    loading", "    torch.OutOfMemoryError: CUDA out of memory."]
    assert "MEM_FRACTION_STATIC" in rest[-1]
    assert engine.state in FINAL
    # The same for people who are not shown the log.
    assert engine.trouble.startswith(headline.removesuffix(" Its last lines:") + " What to do: ")
    assert "MEM_FRACTION_STATIC" in engine.trouble and "loading" not in engine.trouble


def test_a_silent_end_is_reported_too(build):
    engine = build(script("raise SystemExit(1)"))
    engine.start()
    with pytest.raises(EngineError, match=r"exit status 1.*\n.*no output"):
        engine.wait_ready()


def test_a_server_that_dies_right_after_its_answer_is_not_ready(serve):
    class DeadAtOnce(Engine):
        def get(self, path, *args, **options):
            answer = super().get(path, *args, **options)
            if answer[0] == 200:
                assert self._supervisor.tree.broken.wait(PATIENCE)
            return answer

    engine = serve({"/ready": [DIE]}, engine={"cls": DeadAtOnce})
    engine.start()
    with pytest.raises(EngineError, match="exit status 3"):
        engine.wait_ready()
    assert engine.state is State.GIVEN_UP


def test_a_server_that_is_not_ready_in_time_is_stopped_whole(serve, output, mark):
    engine = serve({"/ready": [503]}, family=FAMILY + RUNAWAYS, on_term="ignore")
    engine.start()
    output.family()
    engine._supervisor.patience = Patience(startup=0.1)
    with pytest.raises(EngineError, match=r"(?s)was not ready after.*SGLANG_STARTUP_TIMEOUT"):
        engine.wait_ready()
    assert engine.state is State.GIVEN_UP and engine.returncode == -signal.SIGKILL
    assert members(mark) == []
    assert port_is_free(engine.port)


@pytest.mark.parametrize(("family", "host"), [
    (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def test_a_taken_port_is_found_before_anything_starts(build, tmp_path, mark, family, host):
    with socket.socket(family) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((host, 0))
        taken.listen()
        engine = build(["touch", str(tmp_path / "started")], port=taken.getsockname()[1])
        with pytest.raises(EngineError, match="SGLANG_PORT"):
            engine.start()
        assert engine.stop(1) is None and engine.state is State.NEW
        assert members(mark) == [] and not list(tmp_path.iterdir())


def test_the_port_is_free_again_after_a_served_life(serve):
    engine = serve()
    engine.start()
    engine.wait_ready()
    assert not port_is_free(engine.port)
    engine.stop(10)
    assert port_is_free(engine.port)


@pytest.mark.parametrize(("info", "capacity"), [
    ({"internal_states": [{"effective_max_running_requests_per_dp": 48}]}, 48),
    ({"internal_states": [{"effective_max_running_requests_per_dp": 24}] * 2}, 48),
    ({"internal_states": [{"effective_max_running_requests_per_dp": 0}]}, None),
    ({"internal_states": [{"effective_max_running_requests_per_dp": None}]}, None),
    ({"internal_states": [{}]}, None),
    ({"internal_states": []}, None),
    ({"internal_states": None}, None),
    ({}, None),
    ([], None),
    ("{not JSON", None),
    ("", None),
])
def test_capacity(serve, info, capacity):
    engine = serve(info=info if isinstance(info, str) else json.dumps(info))
    engine.start()
    engine.wait_ready()
    assert engine.capacity() == capacity


def test_capacity_of_a_server_that_is_gone(serve):
    engine = serve()
    assert engine.capacity() is None


# Endings

def test_a_graceful_stop_asks_the_server_alone_and_leaves_nothing(serve, output, mark):
    engine = serve(family=FAMILY + RUNAWAYS)
    engine.start()
    engine.wait_ready()
    assert len(members(mark)) >= 2 + len(FAMILY + RUNAWAYS)
    assert engine.stop(PATIENCE) == 0 == engine.returncode
    assert "server got SIGTERM" in output.lines and "plain got SIGTERM" not in output.lines
    assert members(mark) == [] and engine.state is State.STOPPED


@pytest.mark.parametrize(("grace", "on_term", "status"), [
    (0, "exit", -signal.SIGKILL), (0.05, "ignore", -signal.SIGKILL), (PATIENCE, "default", -signal.SIGTERM)])
def test_a_forced_stop_leaves_nothing(build, output, mark, grace, on_term, status):
    engine = build(program("server", family=FAMILY + RUNAWAYS, on_term=on_term))
    engine.start()
    output.family()
    assert engine.stop(grace) == status
    assert members(mark) == [] and engine.state is State.STOPPED


def test_a_stop_at_once_after_the_start_leaves_nothing(build, mark):
    for grace in (0, 0.001, PATIENCE):
        engine = build(program("server", family=["plain"], on_term="default"))
        engine.start()
        assert engine.stop(grace) is not None
        assert members(mark) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_server_takes_its_whole_family_along(build, output, mark, number):
    engine = build(program("server", family=FAMILY + RUNAWAYS))
    engine.start()
    server, _ = output.family()
    os.kill(server, number)
    assert ended(engine) and engine.returncode == -number
    assert members(mark) == []


@pytest.mark.parametrize("family", [FAMILY, RUNAWAYS], ids=["family", "runaways"])
def test_a_killed_guard_takes_the_server_along(serve, output, mark, family):
    engine = serve(family=family)
    engine.start()
    engine.wait_ready()
    _, its_guard = output.family()
    os.kill(its_guard, signal.SIGKILL)
    assert ended(engine) and engine.returncode == -signal.SIGKILL
    await_gone(mark)
    assert port_is_free(engine.port)


STAGES = {"just started": "engine started", "starting": "tree complete", "up": "engine ready"}


@pytest.mark.parametrize("pidfd", [True, False], ids=["pidfd", "no pidfd"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("stage", STAGES)
def test_no_orphan_when_the_worker_is_killed(environ, mark, tmp_path, stage, number, pidfd):
    port = free_port()
    options = {"port": port, "answers": {"/ready": [200]}} if stage == "up" else {}
    command = program("server", family=FAMILY + RUNAWAYS, on_term="ignore", **options)
    old_kernel = tmp_path / "guard.py"
    old_kernel.write_text("import os, runpy\ndel os.pidfd_open\n"
                          f"runpy.run_path({guard.__file__!r}, run_name='__main__')\n")
    worker = subprocess.Popen(program("worker", command=command, environ=environ, port=port, until="ready",
                                      guard=None if pidfd else str(old_kernel)),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    with worker:
        assert any(line.startswith(STAGES[stage]) for line in worker.stdout)
        if stage != "just started":
            assert len(members(mark)) >= 2 + len(FAMILY + RUNAWAYS)
        worker.send_signal(number)
        assert worker.wait(PATIENCE) == -number
    await_gone(mark)
    assert port_is_free(port)


def test_no_orphan_when_the_worker_just_ends(environ, mark):
    command = program("server", family=FAMILY + RUNAWAYS, on_term="ignore")
    done = subprocess.run(program("worker", command=command, environ=environ, port=free_port(), until="tree"),
                          timeout=PATIENCE, stdout=subprocess.PIPE)
    assert done.returncode == 0 and b"tree complete" in done.stdout
    await_gone(mark)


# The guard by itself

def guarded(command, environ, **options):
    return subprocess.run([sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), *command], env=environ,
                          timeout=PATIENCE, capture_output=True, text=True, **options)


@pytest.mark.parametrize(("source", "status"), [
    ("raise SystemExit(0)", 0), ("raise SystemExit(3)", 3), ("raise SystemExit(255)", 255),
    ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL), ("import os; os.kill(os.getpid(), 11)", -signal.SIGSEGV),
    ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM), ("import os; os.kill(os.getpid(), 6)", -signal.SIGABRT),
    ("import os; os.kill(os.getpid(), 1)", -signal.SIGHUP),
    ("import signal, os; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)", -signal.SIGINT),
])
def test_the_guard_ends_as_the_server_did(environ, source, status):
    assert guarded(script(source), environ).returncode == status


@pytest.mark.parametrize(("name", "reason"), [
    ("no-such-program", "No such file"), ("/etc/passwd", "Permission denied"), ("/", "Permission denied")])
def test_a_command_that_cannot_run(environ, name, reason):
    done = guarded([name, "argument"], environ)
    assert done.returncode == 127
    assert done.stderr.startswith(f"cannot run {name}: {reason}") and len(done.stderr.splitlines()) == 1


def test_the_guard_of_a_worker_that_is_gone_starts_nothing(environ, tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    started = tmp_path / "started"
    done = subprocess.run([sys.executable, "-I", "-S", guard.__file__, str(gone.pid), "touch", str(started)],
                          env=environ, timeout=PATIENCE)
    assert done.returncode == 1 and not started.exists()


def test_the_guard_passes_an_interrupt_on(build, output):
    engine = build(program("server"))
    engine.start()
    _, its_guard = output.family()
    os.kill(its_guard, signal.SIGINT)
    assert ended(engine) and engine.returncode == 0
    assert "server got SIGINT" in output.lines


@pytest.mark.parametrize("numbers", [(3, 15), (15, 3), (3, 3), (15, 15, 3)], ids=str)
def test_signals_to_the_guard_that_come_together(environ, numbers):
    source = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from server import guard
spawn = guard._spawn
def spawn_and_be_signalled(command):
    pid = spawn(command)
    for number in {numbers}:
        os.kill(os.getpid(), number)
    return pid
guard._spawn = spawn_and_be_signalled
guard.main(os.getppid(), {program("server", on_term="ignore")!r})
"""
    done = subprocess.run(script(source), env=environ, timeout=10, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert done.returncode in (-signal.SIGKILL, -signal.SIGTERM)  # the latter: before the server took it


def test_the_environment_of_the_server_does_not_reach_into_the_guard(environ, tmp_path):
    for module in ("ctypes", "select", "sitecustomize", "usercustomize", "resource"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('the wrong module')")
    hostile = {**environ, "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nonexistent", "PYTHONSTARTUP": "/nonexistent"}
    done = guarded(["/bin/sh", "-c", "echo $PYTHONPATH; exit 3"], hostile, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, f"{tmp_path}\n")


def test_the_server_inherits_its_output_and_nothing_else(build):
    engine = build(script(
        "import os\n"
        "print({fd: os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd')\n"
        "       if os.path.exists(f'/proc/self/fd/{fd}')})\n"
        "print([line for line in open('/proc/self/status') if line.startswith('SigBlk')][0].split()[1])\n"
        f"print(os.getpgid(0) == os.getpid(), os.getsid(0) == {os.getsid(0)})"))
    engine.start()
    assert ended(engine)
    descriptors, blocked, isolation = engine.tail()
    assert "'0': '/dev/null'" in descriptors and "'1': 'pipe:" in descriptors and "'2': 'pipe:" in descriptors
    assert descriptors.count("':") == 3
    assert int(blocked, 16) == 0
    assert isolation == "True False"  # its own group, out of the worker's session: no Ctrl-C of a terminal


# Output

def test_lines_arrive_as_they_are_written(build, output):
    engine = build(script("import signal\nprint('one', flush=True)\nsignal.pause()"))
    engine.start()
    output.wait_for("one")
    assert engine.returncode is None and engine.tail() == ["one"]


def test_the_last_200_lines_are_kept(build, output):
    engine = build(script("for i in range(5000): print(i)\nimport os, sys; sys.stdout.flush(); os._exit(1)"))
    engine.start()
    assert ended(engine)
    assert engine.tail() == [str(i) for i in range(4800, 5000)]
    assert engine.tail(2) == ["4998", "4999"]
    assert output.lines == [str(i) for i in range(5000)]
    assert report(engine).splitlines()[-1].strip() == "4999"


def test_stdout_and_stderr_keep_their_order(build):
    engine = build(script("import os\nfor i in range(50): os.write(1 + i % 2, b'%d\\n' % i)"))
    engine.start()
    assert ended(engine)
    assert engine.tail() == [str(i) for i in range(50)]


@pytest.mark.parametrize(("written", "lines"), [
    (b"caf\xc3\xa9 \xe2\x82\xac\n", ["café €"]),
    (b"bad \xff\xfe byte\n", ["bad \ufffd\ufffd byte"]),
    (b"cut \xe2\x82\nnext\n", ["cut \ufffd", "next"]),
    (b"no newline", ["no newline"]),
    (b"dos\r\n\r\n", ["dos", ""]),
    (b"nul \x00 byte\n", ["nul \x00 byte"]),
    (b"", []),
])
def test_any_bytes_are_tolerated(build, output, written, lines):
    engine = build(script(f"import os; os.write(1, {written!r})"))
    engine.start()
    assert ended(engine)
    assert engine.tail() == lines == output.lines


WRITE_ALL = "import os\ndata = {}\nwhile data: data = data[os.write(1, data):]"


def test_a_line_of_ten_megabytes_neither_fills_the_memory_nor_spoils_the_report(build, output):
    size = 10 << 20
    # Words of the patterns themselves, over and over: what a matcher finds hardest.
    words = "b'Capture cuda graph 1 context length max_position_embeddings '"
    engine = build(script(WRITE_ALL.format(f"({words} * {size // 50})[:{size}] + b'\\nRuntimeError: boom\\n'")))
    engine.start()
    with pytest.raises(EngineError) as caught:
        engine.wait_ready()
    assert ended(engine)
    assert sum(map(len, output.lines)) == size + len("RuntimeError: boom")
    assert output.lines[-1] == engine.tail()[-1] == "RuntimeError: boom"
    assert "RuntimeError: boom" in str(caught.value) and len(str(caught.value)) < 1 << 20


def test_secrets_are_masked_everywhere(build, output, capsys):
    utils.hide(["hf_secret_token"])
    engine = build(script("print('HF_TOKEN=hf_secret_token', flush=True)\nraise SystemExit(1)"),
                   on_line=lambda line: (output(line), utils.emit(line)))
    engine.start()
    with pytest.raises(EngineError) as caught:
        engine.wait_ready()
    assert engine.tail() == output.lines == ["HF_TOKEN=***"]
    assert capsys.readouterr().out == "HF_TOKEN=***\n"
    assert "hf_secret_token" not in str(caught.value) and "HF_TOKEN=***" in str(caught.value)


def test_no_part_of_a_long_line_shows_a_secret(build, output):
    secret = "hf_0123456789abcdefghijklmnopqrstuvwxyz"
    utils.hide([secret])
    engine = build(script(WRITE_ALL.format(f"b'{secret}.' * 10_000 + b'\\n'")))
    engine.start()
    assert ended(engine)
    assert secret not in "".join(output.lines)
    assert secret[:20] not in "".join(output.lines) and secret[20:] not in "".join(output.lines)


def test_everything_is_read_before_the_end_is_told_however_slow_the_log(build, output):
    looked = threading.Event()

    def slow(line):  # as a log collector that does not take the first line until it must
        if not output.lines:
            looked.wait(1)
        output(line)

    engine = build(script("for i in range(20): print(i)\nprint('RuntimeError: boom')"), on_line=slow)
    engine.start()
    assert ended(engine)
    tail = engine.tail()
    looked.set()
    assert tail[-1:] == ["RuntimeError: boom"]


def test_a_log_that_fails_does_not_stop_the_reading(build):
    def broken(line):
        raise UnicodeEncodeError("ascii", line, 0, 1, "ordinal not in range(128)")

    engine = build(script("for i in range(100_000): print('line', i)"), on_line=broken)
    engine.start()
    assert ended(engine) and engine.returncode == 0
    assert engine.tail()[-1] == "line 99999"


# Events

def watched(engine, told):
    engine.watch(last_sign=lambda: 0.0,
                 on_give_up=lambda reason: told.append((engine.state, engine.returncode, reason)))


def test_the_end_is_told_once_after_everything_is_known(serve):
    told = []
    engine = serve({"/ready": [200, DIE]})
    engine.start()
    engine.wait_ready()
    watched(engine, told)
    engine.get("/ready")
    assert ended(engine)
    assert engine.stop(5) == 3
    settle()
    [(state, code, reason)] = told
    assert (state, code) == (State.GIVEN_UP, 3) and "SGLANG_MAX_RESTARTS" in reason


def test_a_stop_is_not_told_as_an_end(serve):
    told = []
    engine = serve()
    engine.start()
    engine.wait_ready()
    watched(engine, told)
    assert engine.stop(PATIENCE) == 0
    settle()
    assert told == [] and engine.state is State.STOPPED


def test_who_watches_too_late_hears_of_the_end(serve):
    engine = serve({"/ready": [200, DIE]})
    engine.start()
    engine.wait_ready()
    engine.get("/ready")
    assert ended(engine)
    with pytest.raises(EngineError, match="SGLANG_MAX_RESTARTS"):
        watched(engine, [])


def test_stop_before_a_start_and_after_an_end(build):
    engine = build(script("raise SystemExit(4)"))
    assert engine.stop(5) is None and engine.returncode is None
    engine.start()
    assert ended(engine)
    assert [engine.stop(5), engine.stop(0), engine.stop(5)] == [4, 4, 4]


def test_stop_from_many_threads(serve, output):
    engine = serve(family=FAMILY)
    engine.start()
    engine.wait_ready()
    together, results = threading.Barrier(8), []

    def stop():
        together.wait()
        results.append(engine.stop(PATIENCE))

    threads = [threading.Thread(target=stop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == [0] * 8
    assert output.lines.count("server got SIGTERM") == 1


def test_a_stop_wakes_the_wait_for_readiness(build, output):
    engine = build(program("server"))
    engine.start()
    output.family()
    stopper = threading.Thread(target=engine.stop, args=(PATIENCE,))
    stopper.start()
    with pytest.raises(EngineError, match="exit status 0"):
        engine.wait_ready()
    stopper.join(PATIENCE)


def test_an_engine_is_started_once(serve):
    engine = serve()
    engine.start()
    engine.wait_ready()
    with pytest.raises(EngineError, match="started already"):
        engine.start()
    assert engine.stop(PATIENCE) == 0
    with pytest.raises(EngineError, match="started already"):
        engine.start()


def test_a_start_that_the_system_refuses(build):
    engine = build(["true", "x" * (1 << 20)])  # above the limit of one argument, as a lack of memory or of processes
    with pytest.raises(EngineError, match="cannot be started"):
        engine.start()
    assert engine.state is State.NEW and engine.stop(5) is None


# What the output means

HEALTHY = """\
/usr/lib/python3/dist-packages/sglang/launch_server.py:71: UserWarning: 'python -m sglang.launch_server' is still supported, but 'sglang serve' is the recommended entrypoint.
[2026-11-22 11:14:47] Cuda graph is disabled because of using torch native attention backend
[2026-11-22 11:14:50] Fail to set RLIMIT_NOFILE: current limit exceeds maximum limit
[2026-11-22 11:14:50] server_args={'model_path': '/models/tiny', 'tokenizer_mode': 'auto', 'load_format': 'auto', 'model_loader_extra_config': '{}', 'trust_remote_code': False, 'context_length': None, 'is_embedding': False, 'host': '127.0.0.1', 'port': 30000, 'tp_size': 1, 'pp_size': 1, 'moe_dense_tp_size': None}
[2026-11-22 11:14:50] No chat template found, defaulting to 'string' content format
[2026-11-22 11:15:18] Init parallel begin.
[2026-11-22 11:15:18] init_threads_binding: numa_index=0, world_size=1, local_omp_cpuid=0,1
[2026-11-22 11:15:18] Init parallel ends. elapsed=0.03 s
[2026-11-22 11:15:19] Ignore import error when loading sglang.srt.models.inkling: No module named 'cutlass'
[2026-11-22 11:15:20] Load weight begin. avail mem=21.32 GB
[2026-11-22 11:15:20] Load weight end. elapsed=0.03 s, type=LlamaForCausalLM, avail mem=21.32 GB, mem usage=-0.00 GB.
[2026-11-22 11:15:21] KV Cache is allocated. dtype: torch.float16, #tokens: 16384, K size: 0.00 GB, V size: 0.00 GB
[2026-11-22 11:15:21] Memory pool end. avail mem=21.29 GB
[2026-11-22 11:15:21] max_total_num_tokens=16384, chunked_prefill_size=4096, max_prefill_tokens=16384, max_running_requests=32, context_len=2048, available_cpu_mem=21.29 GB
[2026-11-22 11:15:21] INFO:     Started server process [22139]
[2026-11-22 11:15:21] INFO:     Application startup complete.
[2026-11-22 11:15:21] INFO:     Uvicorn running on http://127.0.0.1:30000 (Press CTRL+C to quit)
[2026-11-22 11:15:21] INFO:     127.0.0.1:60222 - "GET /ready HTTP/1.1" 503 Service Unavailable
[2026-11-22 11:15:22] The server is fired up and ready to roll!
[2026-11-22 11:15:22] INFO:     127.0.0.1:60272 - "GET /v1/models/nope HTTP/1.1" 404 Not Found
[2026-11-22 11:15:27] Gracefully exiting... Remaining number of requests 0. Remaining requests remaining_rids=[].
""".splitlines()  # noqa: E501

# Information and warnings of SGLang and transformers themselves, none of them a reason to end.
HARMLESS = """\
[2026-11-22 11:15:21 TP0] NCCL/RCCL/HCCL warmup completed in 1.2s (tp_size=2, pp_size=1, ep_size=1)
[2026-11-22 11:15:21 TP0] Custom allreduce is disabled due to an unsupported world size: 3. Supported world sizes: [2, 4, 6, 8]. To silence this warning, specify disable_custom_all_reduce=True explicitly.
[2026-11-22 11:15:21 TP0] TorchSymmMemCommunicator: World size 3 not supported, communicator is not available.
Unsupported dimension or dtype for prepacking for weight 'weight' with shape (3, 5) and dtype torch.float32 in Linear. The derived (OC, IC) dimensions must be divisible by (16, 32).
It is recommended to run `sglang.compile_deep_gemm` with same args as `sglang.launch_server` for pre-compiling to reduce the overhead if you have not run it before. For example: `python3 -m sglang.compile_deep_gemm --model deepseek-ai/DeepSeek-V3 --tp 8 --trust-remote-code`
The argument `trust_remote_code` is to be used with Auto classes. It has no effect here and is ignored.
AutoProcessor for tiny rejected standard kwargs, retrying without trust_remote_code
Tokenizer for tiny is still TokenizersBackend after retries with --trust-remote-code. Model-specific tokenizer attributes may be missing.
    trust_remote_code=trust_remote_code,
The command line argument '--chunked-prefill' is deprecated and will be removed in future versions.
Padding shared_experts intermediate_size from 100 to 128 to satisfy FP8 blockwise quantization alignment (block_size=128, tp_size=2).
[2026-11-22 11:17:51] Received sigquit from a child process. It usually means the child failed.
[2026-11-22 11:17:51] kill_process_tree called: parent_pid=22699, include_parent=True, pid=22699
""".splitlines()  # noqa: E501


@pytest.mark.parametrize("line", HEALTHY + HARMLESS, ids=lambda line: line[:60])
def test_no_advice_from_a_harmless_line(line):
    assert diagnose([line]) is None


@pytest.mark.parametrize("lines", [[], [""], ["RuntimeError: something nobody has seen before"], HEALTHY],
                         ids=["nothing", "an empty line", "an unknown error", "a healthy life"])
def test_no_advice_for_an_unknown_cause(lines):
    assert diagnose(lines) is None


# "## what -> words of the advice", then the last lines of a server that ended so, in its libraries' own words.
KNOWN = """\
## gated, no token -> HF_TOKEN
huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-6555-1)

Cannot access gated repo for url https://huggingface.co/meta-llama/Llama/resolve/main/config.json.
Access to model meta-llama/Llama is restricted. You must have access to it and be authenticated to access it. Please log in.
## gated, as transformers says it -> licence
huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-6555-1)

Cannot access gated repo for url https://huggingface.co/meta-llama/Llama/resolve/main/config.json.
Access to model meta-llama/Llama is restricted. You must have access to it and be authenticated to access it. Please log in.

OSError: You are trying to access a gated repo.
Make sure to have access to it at https://huggingface.co/meta-llama/Llama.
Cannot access gated repo for url https://huggingface.co/meta-llama/Llama/resolve/main/config.json.
Access to model meta-llama/Llama is restricted. You must have access to it and be authenticated to access it. Please log in.
## gated, awaiting review -> licence
huggingface_hub.errors.GatedRepoError: 403 Client Error. (Request ID: Root=1-6555-1)

Cannot access gated repo for url https://huggingface.co/a/b/resolve/main/config.json.
Your request to access model a/b is awaiting a review from the repo authors.
## no such repository -> MODEL_NAME
huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1-6555-1)

Repository Not Found for url: https://huggingface.co/api/models/a/b.
Please make sure you specified the correct `repo_id` and `repo_type`.
If you are trying to access a private or gated repo, make sure you are authenticated and your token has the required permissions.
For more details, see https://huggingface.co/docs/huggingface_hub/authentication
## no such repository, as transformers says it -> MODEL_NAME
huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: Root=1-6555-1)

Repository Not Found for url: https://huggingface.co/api/models/a/b.
Please make sure you specified the correct `repo_id` and `repo_type`.
If you are trying to access a private or gated repo, make sure you are authenticated and your token has the required permissions.
For more details, see https://huggingface.co/docs/huggingface_hub/authentication
OSError: a/b is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'
If this is a private repository, make sure to pass a token having permission to this repo either by logging in with `hf auth login` or by passing `token=<your_token>`
## no such path -> MODEL_NAME
OSError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '/does/not/exist'. Use `repo_type` argument if needed.
## a folder without config.json -> config.json
ValueError: Unrecognized model in /models/x. Should have a `model_type` key in its config.json.
## a repository without config.json -> config.json
OSError: /models/x does not appear to have a file named config.json. Checkout 'https://huggingface.co//models/x/tree/main' for available files.
## no such revision -> MODEL_REVISION
huggingface_hub.errors.RevisionNotFoundError: 404 Client Error. (Request ID: Root=1-6555-1)

Revision Not Found for url: https://huggingface.co/a/b/resolve/nope/config.json.
## no such revision, as transformers says it -> MODEL_REVISION
huggingface_hub.errors.RevisionNotFoundError: 404 Client Error. (Request ID: Root=1-6555-1)

Revision Not Found for url: https://huggingface.co/a/b/resolve/nope/config.json.
OSError: nope is not a valid git identifier (branch name, tag name or commit id) that exists for this model name. Check the model page at 'https://huggingface.co/a/b' for available revisions.
## offline, not in the cache -> HF_HUB_OFFLINE
huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files in the disk cache and outgoing traffic has been disabled. To enable hf.co look-ups and downloads online, set 'local_files_only' to False.
OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.
Check your internet connection or see how to run the library in offline mode at 'https://huggingface.co/docs/transformers/installation#offline-mode'.
## no network -> network
OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.
## no weights -> LOAD_FORMAT
RuntimeError: Cannot find any model weights with `/models/x`

[2026-11-22 11:17:51] Received sigquit from a child process. It usually means the child failed.
[2026-11-22 11:17:51] kill_process_tree called: parent_pid=22699, include_parent=True, pid=22699
## truncated weights -> download
safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file not fully covered

[2026-11-22 11:17:51] Received sigquit from a child process. It usually means the child failed.
[2026-11-22 11:17:51] kill_process_tree called: parent_pid=22699, include_parent=True, pid=22699
## out of GPU memory -> lower MEM_FRACTION_STATIC
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 23.53 GiB of which 1.10 GiB is free.

[2026-11-22 11:17:51] Received sigquit from a child process. It usually means the child failed.
[2026-11-22 11:17:51] kill_process_tree called: parent_pid=22699, include_parent=True, pid=22699
## old driver, as torch says it -> driver
RuntimeError: The NVIDIA driver on your system is too old (found version 12040). Please update your GPU driver
## old driver, as CUDA says it -> driver
torch.AcceleratorError: CUDA error: CUDA driver version is insufficient for CUDA runtime version
## mismatched driver -> driver
RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 803: system has unsupported display driver / cuda driver combination
## no GPU, as SGLang says it -> no GPU
RuntimeError: No accelerator (CUDA, XPU, HPU, NPU, MUSA, MPS) or platform plugin is available.
## no GPU, as torch says it -> no GPU
RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver
## port taken -> SGLANG_PORT
ERROR:    [Errno 98] error while attempting to bind on address ('127.0.0.1', 30000): address already in use
## custom code -> TRUST_REMOTE_CODE
ValueError: The repository a/b contains custom code which must be executed to correctly load the model. You can inspect the repository content at https://hf.co/a/b .
 You can inspect the repository content at https://hf.co/a/b.
Please pass the argument `trust_remote_code=True` to allow custom code to be run.
## custom tokenizer -> TRUST_REMOTE_CODE
RuntimeError: Failed to load the tokenizer. If the tokenizer is a custom tokenizer not yet available in the HuggingFace transformers library, consider setting `trust_remote_code=True` in LLM or using the `--trust-remote-code` flag in the CLI.
## context too long -> CONTEXT_LENGTH
ValueError: Warning: User-specified context_length (99999) is greater than the derived context_length (2048). This may lead to incorrect model outputs or CUDA errors. Note that the derived context_length may differ from max_position_embeddings in the model's config. To allow overriding this maximum, set the env var SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN=1
## unknown flag -> SGLANG_EXTRA_ARGS
sglang serve: error: unrecognized arguments: --no-such-flag
## bad choice -> SGLANG_EXTRA_ARGS
sglang serve: error: argument --dtype: invalid choice: 'floaty' (choose from 'auto', 'half')
## heads over GPUs -> TENSOR_PARALLEL_SIZE
    assert self.total_num_heads % tp_size == 0
           ^^^^^^^^^^^
AssertionError

[2026-11-22 11:17:51] Received sigquit from a child process. It usually means the child failed.
[2026-11-22 11:17:51] kill_process_tree called: parent_pid=22699, include_parent=True, pid=22699
## vocabulary over GPUs -> TENSOR_PARALLEL_SIZE
AssertionError: 32003 is not divisible by 4

[2026-11-22 11:17:51] Received sigquit from a child process. It usually means the child failed.
[2026-11-22 11:17:51] kill_process_tree called: parent_pid=22699, include_parent=True, pid=22699
"""  # noqa: E501


def known():
    for block in KNOWN.removeprefix("## ").split("\n## "):
        title, *lines = block.splitlines()
        what, advice = title.split(" -> ")
        yield pytest.param(lines, advice, id=what)


@pytest.mark.parametrize(("lines", "advice"), list(known()))
def test_advice_for_a_known_cause(lines, advice):
    assert advice in (diagnose(HEALTHY[:12] + lines) or "no advice")


def test_too_small_a_share_of_memory_is_not_told_to_be_smaller():
    advice = diagnose(["RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: "
                       "mem_fraction_static=0.1"])
    assert "MEM_FRACTION_STATIC" in advice and "lower MEM_FRACTION_STATIC" not in advice


def test_the_newest_cause_counts():
    assert "SGLANG_PORT" in diagnose(["torch.OutOfMemoryError: CUDA out of memory.", "address already in use"])


def test_the_phases_of_a_start_are_read_while_it_runs(build):
    timelines = []

    def listen():
        timelines.append(Timeline())
        return timelines[-1].feed

    engine = build(script(f"print({chr(10).join(HEALTHY)!r})"), listen=listen)
    engine.start()
    assert ended(engine)
    [timeline] = timelines
    assert [span.name for span in timeline.spans] == [
        "server imports", "scheduler imports", "distributed init", "weights", "kv cache", "server", "server warm-up"]
    assert all(0 <= span.start <= span.end for span in timeline.spans)
