"""What the scripted engine can be told to do: the script of one request, and of the process's own life.

Both are JSON objects. An unknown key is an error, so that a misspelt fault cannot make a test pass.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, fields, replace

MARK = "#script "
EOL = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}

# A child outlives nothing for ever: a test that fails half-way must not leave a process on the machine.
_CHILD = ("import signal, time\n"
          "if {ignore}: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
          "print('ready', flush=True)\n"
          "time.sleep({life})\n")


@dataclass(frozen=True)
class Script:
    """How the engine treats one request. `…_at` is a token index: it happens before that token is sent.

    tokens: how many (None: the body's max_tokens, else 16). text: the answer itself, one token per
    character group as `pieces` cuts it. reasoning: stands before it, in /v1/chat/completions alone. repeat:
    `text` is one token, and comes so often. echo: the answer is the prompt without its script. token_bytes:
    every generated token is padded to this many bytes, which makes huge events. tps: tokens per second of
    this stream, 0 as fast as possible. first_delay_ms: before the first token.
    die_at, die_code: the whole process ends (a negative code is a signal to itself). hang_at: nothing more
    is sent until POST /_scripted/release, an abort or a disconnect. drop_at: the TCP connection is reset.
    error_at: the stream carries an error event there and ends; `error` names a shape (see
    scripted_shapes.EVENT_ERRORS) or is the raw event text or object; error_code, error_message fill it.
    status, body, headers: answer with this at once; without a body the shape named by `error`.
    cut: bytes per TCP write, or "utf8" to cut inside every multi-byte character and every event's end;
    cut_ms: the pause between such writes. eol: "lf", "crlf" or "cr". comments: an SSE comment before every
    token. done: whether `data: [DONE]` ends the stream. finish: the finish reason ("stop", "length").
    """

    tokens: int | None = None
    text: str | None = None
    reasoning: str | None = None
    repeat: int | None = None
    echo: bool = False
    token_bytes: int = 0
    tps: float = 0.0
    first_delay_ms: float = 0.0
    die_at: int | None = None
    die_code: int = 1
    hang_at: int | None = None
    drop_at: int | None = None
    error_at: int | None = None
    error: str | dict | list | None = None
    error_code: int = 400
    error_message: str = "scripted error"
    status: int | None = None
    body: object = None
    headers: dict = field(default_factory=dict)
    cut: int | str | None = None
    cut_ms: float = 1.0
    eol: str = "lf"
    comments: bool = False
    done: bool = True
    finish: str | None = None

    def updated(self, changes: dict) -> Script:
        """A copy with `changes`; ValueError names an unknown key."""
        _check(Script, changes)
        return replace(self, **changes)

    def next_fault(self, index: int) -> int | None:
        """The first fault at or after token `index`."""
        points = (self.die_at, self.hang_at, self.drop_at, self.error_at)
        return min((p for p in points if p is not None and p >= index), default=None)


@dataclass(frozen=True)
class Life:
    """How the process behaves as a whole.

    log: lines written to stderr first. bind_delay, ready_delay: seconds before it listens, and after that during
    which the health routes say 503. bind_file: it listens only while that is there. exit_after, exit_code: it ends
    by itself so many seconds after its start (a negative code is a signal), 0 before it ever listens.
    ignore_sigterm. exit_delay: seconds between the last stream and the exit after SIGTERM. children: processes
    started at once, a list of {"setsid", "ignore_sigterm", "survive"}; those that survive are left behind even by
    an orderly exit, the others are killed then. pid_file: where the children's ids are written, one a line.
    health_status: what the health routes answer when up, or "hang". files: written at once, {path: text}, with
    variables of the environment in the paths; one that is there stays, and is said to be. adapters: the faults of
    their loads that it begins with, see scripted_adapters.py.
    """

    log: tuple | list = ()
    bind_delay: float = 0.0
    ready_delay: float = 0.0
    exit_after: float | None = None
    exit_code: int = 1
    ignore_sigterm: bool = False
    exit_delay: float = 0.0
    children: tuple | list = ()
    child_life: float = 300.0
    pid_file: str | None = None
    health_status: int | str = 200
    bind_file: str | None = None
    files: dict = field(default_factory=dict)
    adapters: dict = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> Life:
        changes = json.loads(text) if text else {}
        _check(cls, changes)
        return cls(**changes)


def _check(cls, changes: dict) -> None:
    unknown = sorted(set(changes) - {f.name for f in fields(cls)})
    if unknown:
        raise ValueError(f"unknown key of {cls.__name__}: {', '.join(unknown)}")


def find_script(body: dict, prompt: str) -> dict:
    """The request's own script: after "#script " in the prompt, in `user`, or in metadata.user_id."""
    metadata = body.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    for text in (prompt, body.get("user"), user_id):
        if isinstance(text, str) and MARK in text:
            return json.JSONDecoder().raw_decode(text.split(MARK, 1)[1].lstrip())[0]
    return {}


def without_script(prompt: str) -> str:
    """`prompt` with its script removed; what stands after the JSON stays."""
    if MARK not in prompt:
        return prompt
    before, after = prompt.split(MARK, 1)
    after = after.lstrip()
    return before + after[json.JSONDecoder().raw_decode(after)[1]:]


def end_process(code: int) -> None:
    """End now, without any clean-up, as a crash does."""
    sys.stderr.flush()
    if code < 0:
        os.kill(os.getpid(), -code)
        signal.pause()  # the signal may be delivered to another thread a moment later
    os._exit(code)


def pieces_of(data: bytes, cut: int | str) -> list[bytes]:
    """`data` as the TCP writes that `cut` asks for; joined they are `data` again."""
    if isinstance(cut, int):
        return [data[i:i + cut] for i in range(0, len(data), cut)]
    edges = [0]
    for i in range(1, len(data)):
        inside_character = data[i] & 0xC0 == 0x80
        inside_end = data[i] in b"\r\n" and data[i - 1] in b"\r\n"
        if inside_character or inside_end:
            edges.append(i)
    return [data[a:b] for a, b in zip(edges, edges[1:] + [len(data)], strict=True)]


def write_files(life: Life) -> None:
    """Write the life's files; says of each on stderr whether it is new."""
    for name, text in life.files.items():
        path = os.path.expandvars(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        found = os.path.exists(path)
        if not found:
            with open(path, "w") as out:
                out.write(text)
        print(f"{'found' if found else 'compiled'} {os.path.basename(path)}", file=sys.stderr, flush=True)


def start_children(life: Life) -> list[tuple[subprocess.Popen, bool]]:
    """Start the scripted children; returns (process, survives an orderly exit), all past their set-up."""
    started = []
    for wish in life.children:
        unknown = set(wish) - {"setsid", "ignore_sigterm", "survive"}
        if unknown:
            raise ValueError(f"unknown key of a child: {sorted(unknown)}")
        code = _CHILD.format(ignore=bool(wish.get("ignore_sigterm")), life=life.child_life)
        child = subprocess.Popen([sys.executable, "-S", "-E", "-c", code], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, start_new_session=bool(wish.get("setsid")))
        child.stdout.readline()
        started.append((child, bool(wish.get("survive"))))
        print(f"child process {child.pid}", file=sys.stderr, flush=True)
    if life.pid_file:
        with open(life.pid_file + ".part", "w") as out:
            out.writelines(f"{child.pid}\n" for child, _ in started)
        os.replace(life.pid_file + ".part", life.pid_file)
    return started
