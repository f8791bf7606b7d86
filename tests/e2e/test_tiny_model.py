"""The cached demo model keeps what the corpus promises, and its examination notices when one does not."""

import os
import shutil
import subprocess

from local import environments


def examine(python, folder):
    environ = environments.engine_environ(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join([str(environments.ROOT), environ["PYTHONPATH"]])
    return subprocess.run([python, "-W", "ignore", "-m", "local.tiny_model", "--check", folder], env=environ,
                          cwd=environments.ROOT, capture_output=True, text=True, timeout=240, check=False)


def test_stored_model_keeps_every_promise(engine_python, model_path):
    result = examine(engine_python, model_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "every promised answer is exact" in result.stdout


def test_damaged_weights_are_noticed(engine_python, model_path, tmp_path):
    folder = shutil.copytree(model_path, tmp_path / "model")
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-40_000] + bytes(40_000))
    result = examine(engine_python, folder)
    assert result.returncode == 1
    assert "the stored model is not exact" in result.stderr
