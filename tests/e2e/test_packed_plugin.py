"""What safetensors itself makes of a file that is handed over as a descriptor."""

import json
import subprocess

from start.weights.packed.supply import PLUGIN

_SCRIPT = """
import json, os, socket, sys, threading
sys.path.append(sys.argv[1])
import safetensors, safetensors.torch, torch
import worker_sglang_weights as plugin

def memory(number):
    fd = os.memfd_create("weights")
    os.write(fd, safetensors.torch.save({"w": torch.full((5000,), number)}))
    return fd

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2])
listener.listen()
descriptors = [memory(1.0), memory(2.0)]

def answer():
    for fd in descriptors:
        one, _ = listener.accept()
        with one:
            one.recv(1000)
            socket.send_fds(one, [b"y"], [fd])

threading.Thread(target=answer).start()
os.environ[plugin.ADDRESS] = sys.argv[2]
plugin.activate()
# The second gets the number of the first, which is closed by then.
first, second = (safetensors.safe_open(name, framework="pt", device="cpu") for name in ("/none/a", "/none/b"))
print(json.dumps([first.get_tensor("w").unique().tolist(), second.get_tensor("w").unique().tolist()]))
"""


def test_each_file_is_its_own_after_its_descriptor_is_closed(engine_python, tmp_path):
    """A library that opened a file later than safe_open returns would find another's weights under its number."""
    done = subprocess.run([str(engine_python), "-c", _SCRIPT, PLUGIN, str(tmp_path / "socket")],
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1.0], [2.0]]
