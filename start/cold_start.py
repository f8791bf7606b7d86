"""What happens between the worker's start and its first look for jobs, beside the server's own start.

Everything here runs while the server imports, or once it is ready; nothing of it may delay or fail the start.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import utils
from clock import awake
from engine import Engine, Orders, Patience
from job.model import ModelFacts
from server import headstart
from server.diagnosis import diagnose
from server.processes import started_at
from server.states import FINAL
from settings import flags, gpus
from settings.config import Settings
from start import bytecode, kv_files, spawned, start_report, warmup
from start.kernels import compile_cache, compile_key
from start.kernels.compile_cache import CompileCache
from start.start_report import Span, Timeline
from start.weights.coming import Coming

_HEADSTART = headstart.__file__
_CORES_FOR_HEAD_START = 4  # with fewer the imports only take turns
# A container's process 1 that is older than this before the worker is no part of the worker's start.
_LONGEST_BOOT = 600.0
_OTHERS = "other nodes"  # the phase in which they are waited for


class ColdStart:
    """The start of one worker; its methods are called in the order in which they stand here.

    snapshot: of the server's flags (builder/flags.json); began: clock.awake at which the worker's own code began.
    """

    _engine: Engine  # from `launched` on

    def __init__(self, settings: Settings, snapshot: dict[str, Any], began: float):
        self.settings, self.wanted = settings, settings.start
        self._spans: list[Span] = []  # in clock.awake
        self._cache: CompileCache | None = None
        self._weights = Coming(settings, snapshot, compile_cache.VOLUME)
        self._environ: dict[str, str] = {}
        self._bytecode: bytecode.Bytecode | None = None
        self._fit: dict[str, Any] = {}
        self._reported = self._launched = self._ready = False
        self._polled: Span | None = None
        self._timeline = Timeline()  # of the newest start, in seconds since `engine.started_at`
        self._snapshot = snapshot
        process, container = started_at(os.getpid()), started_at(1)
        if process is not None and process <= began:
            if container is not None and os.getpid() != 1 and 0 <= process - container <= _LONGEST_BOOT:
                self._spans.append(Span("container", container, process))
            self._spans.append(Span("python", process, began))
        self.phase("configuration", began)

    def phase(self, name: str, began: float, meanwhile: bool = False) -> None:
        """Something of the worker's own that began at `began` and ends now."""
        self._spans.append(Span(name, began, awake(), meanwhile))

    def command(self) -> list[str]:
        """The server's command line, with a head start for its children where that helps (see headstart.py)."""
        settings, cores = self.settings, len(os.sched_getaffinity(0))
        python, *rest = settings.launch_command
        plain = [*settings.launch_command, *settings.server_args]
        off = self.wanted.head_start == "off" or self.wanted.head_start == "auto" and cores < _CORES_FOR_HEAD_START
        if off or rest != ["-m", "sglang.launch_server"] or not os.path.basename(python).startswith("python"):
            return plain
        given = flags.Given(list(settings.server_args), self._snapshot)
        children = spawned.children(given, settings.sglang)
        if self.wanted.head_start == "auto":
            children = spawned.within(children, cores - 1)
        return [python, _HEADSTART, ",".join(map(str, children)), rest[1], *settings.server_args]

    def environ(self, environ: dict[str, str]) -> dict[str, str]:
        """The server's environment with its compile caches in one place, if they are kept, and its KV cache's files."""
        environ = {**environ, **kv_files.variables(self.settings.server_args, self._snapshot, environ)}
        self._environ = environ = self._weights.environ(environ)
        folder = compile_cache.place(self.wanted.compile_cache_dir) if self.wanted.compile_cache_bytes else None
        if not self.wanted.compile_cache_bytes or not (folder or os.path.isdir(compile_cache.BAKED)):
            return environ  # the libraries' own places, where an image may have something too
        root = compile_key.default_root()
        environ = {**environ, **compile_key.variables(root, environ)}
        self._cache = CompileCache(root, folder, self.wanted.compile_cache_bytes, lambda: self._facts(root, environ))
        return environ

    def engine(self, environ: dict[str, str], orders: Orders | None = None) -> Engine:
        """The server of this start, to be started; environ: its environment, before `environ`; orders: see Engine."""
        settings = self.settings
        patience = Patience(settings.startup_timeout, settings.max_restarts, settings.restart_window,
                            settings.hang_timeout)
        engine = Engine(self.command(), self.environ(environ), port=settings.port, api_key=settings.api_key,
                        listen=self.listen, patience=patience, orders=orders)
        engine.on_restarted(self.restarted)
        return engine

    def _facts(self, root: str, environ: dict[str, str]) -> dict[str, Any]:
        gpus, driver = compile_key.gpu_facts()
        return {"root": root, "gpus": gpus, "driver": driver,
                "model": self.settings.model, "revision": self.settings.revision,
                "engine": compile_key.engine_facts(self.settings.launch_command, environ),
                "flags": compile_key.flag_facts(self.settings.server_args, self._snapshot)}

    def listen(self) -> Callable[[str, float], bool]:
        """The server is about to be started, for the first time or again: what is to hear its lines.

        That takes a line and the seconds since this start, and returns True when the line says that the server is
        ready, once.
        """
        timeline = self._timeline = Timeline()
        if self._launched:
            self._weights.again()

        def hear(line: str, at: float) -> bool:
            due = timeline.feed(line, at)
            self._weights.hear(timeline)
            return due
        return hear

    def launched(self, engine: Engine) -> None:
        """The server was started, by `engine`, which was made with `listen`."""
        self._engine, self._launched, self._launched_at = engine, True, awake()
        # Now, before the server writes its own.
        threading.Thread(target=self._look_for_bytecode, name="bytecode", daemon=True).start()
        if self.settings.nodes.count == 1:  # the others' GPUs are not known here
            threading.Thread(target=self._look_whether_it_fits, name="outlook", daemon=True).start()
        self._weights.begin()
        if self._cache:
            self._cache.begin()

    def _look_for_bytecode(self) -> None:
        found = self._bytecode = bytecode.look(self.settings.launch_command, self._environ)
        if found and found.missing:
            utils.log(bytecode.sentence(found), "warn")

    def _look_whether_it_fits(self) -> None:
        try:
            from start import outlook  # not above: nothing of it comes before the server's start

            if found := outlook.look(self.settings.server_args, self._snapshot, gpus.devices()):
                self._fit = found.facts
                for line in found.warnings:
                    utils.log(line, "warn")
                utils.log(f"what fits: {found.facts}", "debug")
        except Exception as error:  # an estimate is no reason to trouble a start
            utils.log(f"whether the model fits is not known: {type(error).__name__}: {error}", "debug")

    def ready(self, after: float) -> None:
        """The server is ready, `after` seconds since its start."""
        self._ready = True
        self._weights.ready()
        if self.settings.nodes.count > 1:
            self._spans.append(Span(_OTHERS, self._launched_at, max(self._launched_at, self._engine.started_at)))
        own = self._spans + self._beside()
        utils.log(start_report.sentence(after, self._timeline.spans, own))

    def warm(self, facts: ModelFacts) -> None:
        """Run the warm-up, if there is one, and keep what was compiled."""
        if self.wanted.warmup_timeout:
            began = awake()
            warmup.run(self.settings, self._engine, facts)
            self.phase("warm-up", began)
        if self._cache:
            self._cache.keep()
        self._weights.keep()

    def first_poll(self) -> None:
        """Jobs are asked for; only the first call counts."""
        if self._reported:
            return
        self._reported = True
        server, last = self._server(), self._last()
        self._polled = Span("first poll", last, max(last, awake()))
        spans = [*self._spans, *self._beside(), *server, self._polled]
        facts: dict[str, Any] = {"worker": utils.VERSION, "sglang": self.settings.telemetry.sglang}
        facts |= {"weights": self._weights.facts} if self._weights.facts else {}
        facts |= {"fit": self._fit} if self._fit else {}
        facts |= {"bytecode": self._bytecode._asdict()} if self._bytecode and self._bytecode.missing else {}
        utils.log(start_report.structured(spans, facts))
        if self.wanted.svg:
            try:
                from start.waterfall import svg

                with open(self.wanted.svg, "w", encoding="utf-8") as f:
                    f.write(svg(spans) + "\n")
            except OSError as error:
                utils.log(f"START_REPORT_SVG: {error}", "warn")

    def seconds(self) -> dict[str, float]:
        """Seconds of each phase of the newest start, as far as it is; those of one name are added up."""
        found: dict[str, float] = {}
        for span in [*self._spans, *self._beside(), *self._timeline.spans]:
            found[span.name] = found.get(span.name, 0.0) + span.end - span.start
        return found

    def progress(self) -> dict[str, Any]:
        """The newest start as far as it is, as start_report.report() has it. From any thread."""
        engine, timeline = self._engine, self._timeline
        zero = engine.started_at
        over = engine.up or engine.state in FINAL
        running = [] if over else [(name, start + zero) for name, start in timeline.running()]
        if not engine.life and not over:
            running = [(_OTHERS, self._launched_at)]
        if engine.life > 1:
            return start_report.report(self._server(), running, awake())
        if engine.up and not self._reported:
            running = [("warm-up", self._last())]
        polled = [self._polled] if self._polled else []
        return start_report.report([*self._spans, *self._beside(), *self._server(), *polled], running, awake())

    def _server(self) -> list[Span]:
        """The phases of the server's newest start, in clock.awake."""
        zero = self._engine.started_at
        return [span._replace(start=span.start + zero, end=span.end + zero) for span in list(self._timeline.spans)]

    def _last(self) -> float:
        """When the newest phase ended."""
        return max([self._engine.started_at, *(span.end for span in [*self._server(), *list(self._spans)])])

    def restarted(self, after: float) -> None:
        """The server died and is ready again, `after` seconds since its newest start."""
        utils.log(f"restarted: {start_report.sentence(after, self._timeline.spans)}", "warn")

    def _beside(self) -> list[Span]:
        own = (("compile cache", self._cache), ("read ahead", self._weights))
        return [Span(name, *one.span, True) for name, one in own if one and one.span]

    def failed(self) -> None:
        """The server could not be started, or was lost for good.

        The kernels that were put back are suspect only where its last words name no other cause (a gate, a flag).
        """
        self._weights.close()
        if self._cache and self._launched and not self._ready and diagnose(self._engine.tail()) is None:
            self._cache.doubt()

    def close(self, patience: float = 10.0) -> None:
        """The worker ends, and its server has ended; a last save may take `patience` seconds."""
        self._weights.close()
        if self._cache and self._ready:
            self._cache.close(patience)
