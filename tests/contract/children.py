"""Tiny programs for the engine's tests: the server, with a family of processes, and a worker that owns an engine.

    python children.py server JSON
    python children.py worker JSON

Each tells what happened to it on stdout, one line an event, unbuffered: tests wait for lines, never for time.
"""

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler

HANG_UP, DIE = 0, -1  # in place of a status: close the connection; answer 200 and be gone at once
_STUBBORN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def say(text: str) -> None:
    os.write(1, (text + "\n").encode())


def _idle():
    while True:
        signal.pause()


def _grandchild(kind: str, up: int) -> None:
    """Fork one member of the family, which writes a byte to `up` once it is what `kind` says."""
    if os.fork():
        return
    if kind == "plain":
        signal.signal(signal.SIGTERM, lambda *_: say("plain got SIGTERM"))
    elif kind == "stubborn":
        for number in _STUBBORN:
            signal.signal(number, signal.SIG_IGN)
    elif kind == "part":  # as a scheduler of a data parallel controller, for which nobody waits
        subprocess.Popen(["sglang::scheduler_DP1", "600"], executable="/bin/sleep")
    elif kind == "session":  # out of the session and the group, with the server's output still open
        os.setsid()
    elif kind == "daemon":  # the textbook's double fork: nothing ties it to the server any more
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        for number in _STUBBORN:
            signal.signal(number, signal.SIG_IGN)
    elif kind == "respawner":  # brings its child back whenever it dies
        os.write(up, b".")
        while True:
            if os.fork() == 0:
                _idle()
            os.wait()
    os.write(up, b".")
    _idle()


def _family(kinds) -> None:
    read, write = os.pipe()
    for kind in kinds:
        _grandchild(kind, write)
    os.close(write)
    for _ in kinds:
        os.read(read, 1)
    os.close(read)


def server(family=(), port=None, answers=None, info=None, on_term="exit"):
    """A server of the given family. Without a port it never listens, as one that is still loading.

    answers: path to the list of statuses it gives there, one a request, the last one for ever after.
    info: the body of /server_info. on_term: "exit" (status 0), "ignore", or "default" (the signal kills).
    """
    def on_signal(number, _frame):
        say(f"server got {signal.Signals(number).name}")
        if on_term == "exit":
            os._exit(0)

    if on_term != "default":
        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
    answers = {path: list(statuses) for path, statuses in (answers or {}).items()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            say(f"request {self.path} {self.headers.get('Authorization')}")
            statuses = answers.get(self.path, [200 if self.path == "/server_info" else 404])
            status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
            if status == HANG_UP:
                self.close_connection = True
                return
            body = (info or "").encode() if self.path == "/server_info" else b""
            self.send_response(200 if status == DIE else status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if status == DIE:
                os._exit(3)

        def log_message(self, *_):
            pass

    _family(family)
    say(f"tree complete, server {os.getpid()}, guard {os.getppid()}")
    if port is None:
        _idle()
    socketserver.TCPServer.allow_reuse_address = True
    with socketserver.TCPServer(("127.0.0.1", port), Handler) as listener:
        listener.serve_forever()


def worker(command, environ, port, until, guard=None):
    """Start an engine and say "engine started"; then stay, or end without a word to it.

    until: "ready" (wait for readiness, say "engine ready", stay) or "tree" (return when the tree is complete).
    guard: a program to use as the guard.
    """
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    import engine
    from server import tree

    tree._GUARD = guard or tree._GUARD
    complete = threading.Event()

    def on_line(line):
        say(line)
        if line.startswith("tree complete"):
            complete.set()

    child = engine.Engine(command, environ, port=port, on_line=on_line)
    child.start()
    say("engine started")
    if until == "tree":
        complete.wait()
        return
    child.wait_ready()
    say("engine ready")
    _idle()


if __name__ == "__main__":
    {"server": server, "worker": worker}[sys.argv[1]](**json.loads(sys.argv[2]))
