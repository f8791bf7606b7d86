"""A server in miniature: spawns children as SGLang does and prints what they say. Run by test_headstart.py."""

import json
import multiprocessing
import os
import resource
import signal
import sys
import threading


def facts(connection, value, lock, queue):
    with lock, value.get_lock():
        value.value += 1
    connection.send({
        "argv": sys.argv, "parent": os.getppid(), "pid": os.getpid(), "folder": os.getcwd(),
        "set": os.environ.get("SET_LATER"), "unset": os.environ.get("UNSET_LATER"),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "threads": threading.active_count(),
        "preloaded": "xml.dom.minidom" in sys.modules, "main": sys.modules["__main__"].__name__,
        "descriptors": len(os.listdir("/proc/self/fd")), "path": sys.path[0],
        "name": multiprocessing.current_process().name})
    connection.recv()
    queue.put("é" * 100_000)


def controller(connection):
    """As SGLang's data parallel controller: its children are started by it, from a thread of its own."""
    told = []

    def start():
        for number in range(3):
            ours, theirs = multiprocessing.Pipe()
            child = multiprocessing.Process(target=scheduler, args=(theirs,), name=f"scheduler-{number}")
            child.start()
            theirs.close()
            told.append(ours.recv() | {"started": child.pid})
            child.join()
            told[-1]["exit"] = child.exitcode

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    connection.send({"pid": os.getpid(), "parent": os.getppid(), "preloaded": "xml.dom.minidom" in sys.modules,
                     "told": told})


def scheduler(connection):
    connection.send({"parent": os.getppid(), "pid": os.getpid(), "folder": os.getcwd(), "argv": sys.argv,
                     "set": os.environ.get("SET_LATER"), "preloaded": "xml.dom.minidom" in sys.modules})
    sys.exit(3)


def of_a_controller():
    multiprocessing.set_start_method("spawn", force=True)
    os.environ["SET_LATER"] = "yes"
    os.chdir("/tmp")
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.Process(target=controller, args=(theirs,))
    child.start()
    print(json.dumps(ours.recv() | {"server": os.getpid()}))
    child.join()


def fail():
    sys.exit(7)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def main():
    multiprocessing.set_start_method("spawn", force=True)
    os.environ["SET_LATER"] = "yes"
    os.environ.pop("UNSET_LATER", None)
    if "--other-gpu" in sys.argv:
        os.environ["CUDA_VISIBLE_DEVICES"] = "3"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 7, hard))
    os.chdir("/tmp")
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(40)]  # the children's descriptors get high numbers
    value, lock, queue = multiprocessing.Value("i", 0), multiprocessing.Lock(), multiprocessing.Queue()
    told = []
    for number in range(3):
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.Process(target=facts, args=(theirs, value, lock, queue), name=f"child-{number}")
        child.start()
        theirs.close()
        told.append(ours.recv() | {"started": child.pid, "alive": child.is_alive()})
        ours.send("go on")
        assert len(queue.get()) == 100_000
        child.join()
        told[-1]["exit"] = child.exitcode
    for target in (fail, die):
        child = multiprocessing.Process(target=target)
        child.start()
        multiprocessing.connection.wait([child.sentinel])
        child.join()
        told.append({"exit": child.exitcode})
    print(json.dumps({"pid": os.getpid(), "argv": sys.argv, "name": __name__, "value": value.value, "told": told,
                      "path": sys.path[0], "limit": soft - 7, "held": len(held)}))


if __name__ == "__main__":
    of_a_controller() if "--controller" in sys.argv else main()
