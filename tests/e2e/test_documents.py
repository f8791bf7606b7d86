"""What the documents say to type, typed: every example that calls an endpoint, against the real engine.

Its address becomes that of the platform's stand-in or of the worker's HTTP front, its model the tiny one. A block whose
model no engine here could serve says so behind its language (```bash unserved); it is parsed by tests/unit/documents.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from local import corpus, environments
from local.clients import installing
from tests import documents
from tests.over_http import KEY

SHELL, PROGRAMS = ("bash", "sh", "shell"), ("python", "javascript")
QUEUE = re.compile(r"https://api\.runpod\.ai/v2/<ENDPOINT_ID>|http://(?:127\.0\.0\.1|localhost):\d+/v2/local")
HTTP = re.compile(r"https://<ENDPOINT_ID>\.api\.runpod\.ai|https://<POD_ID>-80\.proxy\.runpod\.net"
                  r"|http://(?:127\.0\.0\.1|localhost):8000")
MODEL = re.compile(r"""(\bmodel["']?\s*[=:]\s*["'])(?!gpt-4\b)[^"']+""")
KEYS = re.compile(r"Bearer (?:anything|local|choose-a-key-of-your-own)")
# What a reader would write behind a block that only defines something.
CALLS = {"def ask(messages": 'print(ask([{"role": "user", "content": "Hello"}]).choices[0].message.content)'}
STAND_INS = """set -e
docker() { :; }; python3() { :; }
curl() { command curl -sS --max-time 120 "$@"; }
"""
EXAMPLES = [block for block in documents.every_block(*SHELL, *PROGRAMS)
            if block.served and (QUEUE.search(block.text) or HTTP.search(block.text))
            and (block.kind in PROGRAMS or re.search(r"^ *curl ", block.text, re.MULTILINE))]


def local(text: str, queue: str, http: str) -> str:
    """An example as it is said here. queue: the platform's address with its endpoint; http: the worker's."""
    text = HTTP.sub(http, QUEUE.sub(queue, text))
    return MODEL.sub(rf"\g<1>{corpus.SERVED_NAME}", KEYS.sub(f"Bearer {KEY}", text))


def test_there_are_examples_of_each_kind():
    assert {block.kind for block in EXAMPLES} == {"bash", "python", "javascript"}
    assert any(QUEUE.search(block.text) for block in EXAMPLES) and any(HTTP.search(block.text) for block in EXAMPLES)
    assert sum(block.path.name == "README.md" for block in EXAMPLES) >= 3


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: block.name)
@pytest.mark.asyncio(loop_scope="session")
async def test_an_example_does_what_it_says(block, behind_queue, over_http, tmp_path):
    text = local(block.text, behind_queue[0].url, over_http[0].openai_url.removesuffix("/v1"))
    if block.kind == "javascript":
        program = tmp_path / "example.mjs"
        program.write_text(text, encoding="utf-8")
        (tmp_path / "node_modules").symlink_to(await asyncio.to_thread(packages) / "node_modules")
        command = ["node", str(program)]
    elif block.kind == "python":
        text += "\n" + "\n".join(call for defined, call in CALLS.items() if defined in text)
        command = [sys.executable, "-c", text]
    else:
        # Of what else it says to type, nothing is done: the worker is there already.
        command = ["bash", "-c", STAND_INS + text]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "RUNPOD_API_KEY": KEY, "OPENAI_API_KEY": KEY})
    try:
        said, complained = (part.decode() for part in await asyncio.wait_for(process.communicate(), 180))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said + complained
    assert said.strip(), complained
    answered(block, said)


def packages() -> Path:
    """The folder with OpenAI's package for Node, of the version that local/clients runs; it brings no other along."""
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        pytest.skip("node and npm are not installed")
    version = json.loads(installing.NODE_FILES[0].read_text(encoding="utf-8"))["dependencies"]["openai"]
    folder = environments.cache_root() / f"openai-node-{version}"
    with environments.once(folder, print) as missing:
        if missing:
            folder.mkdir()
            environments.run_step("installing openai for Node", [
                npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund",
                f"openai@{version}"], folder.with_suffix(".log"), print)
    return folder


def answered(block: documents.Block, said: str) -> None:
    """It is an answer: a stream to its end, a job that was completed, or what the program prints of one."""
    if block.kind in PROGRAMS:
        refused = "gpt-4" in block.text
        assert ("404" in said and "gpt-4" in said) if refused else "error" not in said.lower()
    elif "data: " in said:
        assert said.rstrip().endswith("data: [DONE]") and '"error"' not in said
    else:
        for line in said.strip().splitlines():
            answer = json.loads(line)
            assert answer.get("status", "COMPLETED") in ("COMPLETED", "IN_QUEUE") and "error" not in answer, answer
