"""The engine's guard: a small process between the worker and the server, so that nothing outlives the worker.

    python guard.py WORKER_PID COMMAND [ARGUMENT ...]

SGLang is a tree of processes, and killing its parent in the middle of a start leaves some of them behind.
A worker that is killed with SIGKILL cannot clean up after itself, so this process does it for all endings:

- It is a child subreaper (prctl(2)): whatever the server's tree loses, becomes this process's child. So its
  descendants are always exactly what is left of the server, daemonised or not.
- It waits for three things at once: the server's exit, the worker's exit, a signal.
- It never ends while a descendant lives, and ends as the server did: same exit status or same signal.

SIGTERM and SIGINT are passed on to the server alone, which then finishes its requests; signalling the whole
group makes SGLang take it for a crash. SIGQUIT kills the tree at once.
Runs alone, on the standard library, with nothing of the project imported: it must start in milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
_POLL_WITHOUT_PIDFD = 0.2  # seconds between looks at the parent on a kernel without pidfd_open


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Process ids of every living descendant of `root`, from /proc."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as f:
                # The command name is in parentheses and may itself contain spaces and parentheses.
                ppid = int(f.read().rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            continue  # gone between listing and reading
        children.setdefault(ppid, []).append(int(name))
    found, queue = [], [root]
    while queue:
        for pid in children.get(queue.pop(), ()):
            found.append(pid)
            queue.append(pid)
    return found


def _reap(server: int) -> int | None:
    """Collect every exited child. Returns the server's wait status once it is among them."""
    status = None
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == server:
            status = code


def _kill_tree(server: int) -> int | None:
    """SIGKILL every descendant until none is left. Returns the server's wait status if it ended here."""
    status = None
    while True:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ended = _reap(server)
        status = ended if ended is not None else status
        try:
            # A child that exists but is not yet dead keeps the loop going; a tree can fork while it dies.
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return status
        time.sleep(0.01)


def _end_as(status: int) -> None:
    if os.WIFSIGNALED(status):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the server's core, if any, is the one of interest
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status))


def _spawn(command: list[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        # Own group: a Ctrl-C in the terminal must reach the worker only, which decides the order of things.
        os.setpgid(0, 0)
        # Should this guard itself be killed, the server follows at once.
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def main(worker: int, command: list[str]) -> None:
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    for wanted in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        signal.signal(wanted, lambda *_: None)
    poller = select.poll()
    poller.register(wake_read, select.POLLIN)
    timeout = None
    try:
        poller.register(os.pidfd_open(worker), select.POLLIN)
    except ProcessLookupError:
        os._exit(1)
    except (OSError, AttributeError):
        timeout = _POLL_WITHOUT_PIDFD * 1000
    server = _spawn(command)
    status = None
    while status is None:
        if os.getppid() != worker:
            status = _kill_tree(server) or 0
            break
        for fd, _ in poller.poll(timeout):
            if fd != wake_read:
                continue
            for number in os.read(wake_read, 512):
                if status is not None:
                    break  # killed and reaped: its process id is nobody's any more
                if number in (signal.SIGTERM, signal.SIGINT):
                    os.kill(server, number)
                elif number == signal.SIGQUIT:
                    status = _kill_tree(server)
        if status is None:
            status = _reap(server)
    _kill_tree(server)
    _end_as(status)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
