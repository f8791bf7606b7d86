"""What the platform's stand-in keeps: jobs, chunks, workers, and the limits they are held to.

States, limits and defaults are those of RunPod's documentation (serverless/endpoints: operation-reference,
job-states, send-requests, endpoint-configurations).
"""

from __future__ import annotations

from dataclasses import dataclass, field

MB = 10**6  # the smaller reading of "MB": what passes here passes there
FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
STATES = ("IN_QUEUE", "IN_PROGRESS", *FINAL)


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes, policy times in milliseconds, retention in seconds."""

    run_body: int = 10 * MB
    runsync_body: int = 20 * MB
    chunk: int = MB
    result: int = 20 * MB
    execution_timeout: tuple[int, int] = (5_000, 7 * 86_400_000)
    ttl: tuple[int, int] = (10_000, 7 * 86_400_000)
    wait: tuple[int, int] = (1_000, 300_000)
    keep_run: float = 1800.0
    keep_runsync: float = 60.0


@dataclass(frozen=True)
class Policy:
    """How long a job may run once taken, and how long it may exist at all; milliseconds."""

    execution_timeout: int = 600_000
    ttl: int = 86_400_000


# What RunPod does not document, as settings of the stand-in: what it is about, and the choices. The first is the
# default, and the harsher one: a worker and a client that live with it live with the others.
UNKNOWNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "get_input": ("the openai_input of a GET, or of a POST without a body, on the OpenAI route",
                  ("empty", "null", "absent")),
    "large_chunk": ("a job-stream POST above 1 MB: answered 400, or taken and cut for /stream", ("refuse", "split")),
    "abandoned": ("the job whose unstreamed request on the OpenAI route lost its client", ("cancel", "finish")),
    "failed_stream": ("the stream of a job that failed after its first chunk: broken off, or ended as a whole one is",
                      ("cut", "end")),
    "stream_header": ("when the header of a stream leaves", ("first-chunk", "at-once")),
}


@dataclass(frozen=True)
class Unknowns:
    """One choice of each; ValueError for one that is none. See UNKNOWNS."""

    get_input: str = "empty"
    large_chunk: str = "refuse"
    abandoned: str = "cancel"
    failed_stream: str = "cut"
    stream_header: str = "first-chunk"

    def __post_init__(self) -> None:
        for name, (_, choices) in UNKNOWNS.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}")


class Refused(Exception):
    """A request that the platform turns down, with its HTTP status."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Chunk:
    """One POST to job-stream: when it arrived, what it carried, and the size of its body."""

    time: float
    output: object
    size: int


@dataclass(eq=False)
class Job:
    """One job. `output` is what job-done carried; `chunks` what job-stream did, in order of arrival; `named` is when a
    ping named it last."""

    id: str
    input: object
    source: str
    policy: Policy
    created: float
    status: str = "IN_QUEUE"
    chunks: list[Chunk] = field(default_factory=list)
    output: object = None
    error: str | None = None
    progress: object = None
    worker_id: str | None = None
    taken: float | None = None
    ended: float | None = None
    named: float | None = None
    attempts: int = 0
    expired: bool = False
    read: int = 0

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def text(self) -> str:
        """The streamed text chunks joined."""
        return "".join(c.output for c in self.chunks if isinstance(c.output, str))

    def public(self) -> dict:
        """The JSON of /status and /runsync."""
        answer: dict = {"id": self.id, "status": self.status}
        if self.taken is not None:
            answer["delayTime"] = round((self.taken - self.created) * 1000)
            answer["workerId"] = self.worker_id
            if self.ended is not None:
                answer["executionTime"] = round((self.ended - self.taken) * 1000)
        if self.output is not None:
            answer["output"] = self.output
        elif self.progress is not None and not self.is_final:
            answer["output"] = self.progress
        if self.error is not None:
            answer["error"] = self.error
        return answer


@dataclass
class Worker:
    """What a worker's pings said; jobs: those that the last one named."""

    id: str
    first_seen: float
    last_ping: float | None = None
    jobs: tuple[str, ...] = ()
    version: str | None = None
    unhealthy: str | None = None
