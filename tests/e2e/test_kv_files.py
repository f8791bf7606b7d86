"""Why files of KV cache have a folder for each configuration, on SGLang's own class: it reads any bytes as its own."""

import json
import os
import subprocess

from local import environments
from start import kv_files
from tests.flag_samples import SNAPSHOTS

# Servers one after the other: what one of a data type leaves, and what one of another finds by the same tokens.
PROGRAM = """
import json, os, sys, torch
from sglang.srt.mem_cache.hicache_storage import HiCacheFile, HiCacheStorageConfig
told = []
for environ, kind, writes in json.loads(sys.argv[1]):
    os.environ.update(environ)
    store = HiCacheFile(HiCacheStorageConfig(
        tp_rank=0, tp_size=1, pp_rank=0, pp_size=1, attn_cp_rank=0, attn_cp_size=1, is_mla_model=False,
        enable_storage_metrics=False, is_page_first_layout=False, model_name="tiny"))
    kind = getattr(torch, kind)
    if writes:
        store.set("page", torch.full((4,), 1.5, dtype=kind))
    found = store.get("page", torch.zeros(4, dtype=kind))
    told.append((sorted(os.listdir(store.file_path)), None if found is None else found.tolist(),
                 store._evictor.max_size_bytes))
print(json.dumps(told))
"""


def test_one_folder_for_all_would_answer_wrongly_and_one_for_each_does_not(engine_python, model_path, tmp_path):
    shared = {kv_files.PLACE: str(tmp_path / "shared")}
    bfloat16, float16 = (kv_files.variables(
        ("--model-path", str(model_path), "--hicache-storage-backend", "file", "--dtype", kind), SNAPSHOTS["0.5.23"],
        {kv_files.PLACE: str(tmp_path / "own")}) for kind in ("bfloat16", "float16"))
    servers = [(shared, "bfloat16", True), (shared, "float16", False),
               (bfloat16, "bfloat16", True), (float16, "float16", False), (bfloat16, "bfloat16", False)]
    ended = subprocess.run([str(engine_python), "-W", "ignore", "-c", PROGRAM, json.dumps(servers)], timeout=300,
                           env=environments.engine_environ(os.environ), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    one, other, own, others, again = json.loads(ended.stdout.splitlines()[-1])
    assert one == [["page_tiny_0_1.bin"], [1.5] * 4, 0]  # no word of the type, and no bound
    assert other[1] not in (None, [1.5] * 4)
    assert own == again == [["page_tiny_0_1.bin"], [1.5] * 4, 10**10]
    assert others == [[], None, 10**10]
