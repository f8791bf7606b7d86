"""The page at `GET /`, in a real browser: a whole worker, a scripted engine, and what somebody sees who looks on."""

import asyncio
import json
import os
import re
import shutil
import sys
from urllib.request import Request, urlopen

import pytest
from playwright.async_api import async_playwright, expect

import utils
from tests.contract.front.browser import Window, program
from tests.support import LAUNCH, free_port
from tests.worker import WorkerProcess, contract_environ

KEY = "sesame-open-now"
MARKUP = "<script>window.taken = 1</script><img src=x onerror='window.taken = 1'><b>bold</b> &amp; {{7*7}}"


def script(**what) -> str:
    return f"#script {json.dumps(what)}"


class Held:
    """An engine that loads its weights until it is let go; with `again` only one that is started again."""

    def __init__(self, folder, again=False):
        self.gate, first = folder / "go", folder / "first"
        held = f"[ ! -e {self.gate} ]" + (f" && [ -e {first} ]" if again else "")
        program = folder / "launch"
        program.write_text('echo "server_args=ServerArgs(...)"\necho "Init torch distributed begin."\n'
                           'echo "Init torch distributed ends."\necho "Load weight begin. avail mem=70 GB"\n'
                           f'while {held}; do sleep 0.05; done\ntouch {first}\n'
                           f'echo "Load weight end."\nexec {LAUNCH} "$@"\n')
        self.launch = f"sh {program}"

    def let_go(self) -> None:
        self.gate.touch()


class Seat:
    """A worker, and windows on its page."""

    def __init__(self, worker, chromium):
        self.worker, self._chromium = worker, chromium
        self.base = f"http://127.0.0.1:{worker.environ['PORT']}"
        self.windows = []

    async def look(self, **how) -> Window:
        self.windows.append(await Window.open(self._chromium, self.base, **how))
        return self.windows[-1]

    async def engine(self, path: str, body: dict | None = None):
        def fetch():
            url = f"http://127.0.0.1:{self.worker.environ['SGLANG_PORT']}{path}"
            with urlopen(Request(url, None if body is None else json.dumps(body).encode()), timeout=60) as response:
                return json.load(response)
        return await asyncio.to_thread(fetch)


@pytest.fixture
async def start():
    """start(NAME=value, …): a worker that was started with these and takes requests, or loads; without a key unless one
    is given. What its windows did is judged at the end."""
    path, seats = program(), []
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=path)

        async def run(**extra):
            given = {"WORKER_MODE": "http", "PORT": str(free_port()), "HOST": "127.0.0.1", **extra}
            worker = WorkerProcess(None, contract_environ(**given))
            await worker.__aenter__()
            seats.append(Seat(worker, chromium))
            await worker.line("listening on")
            return seats[-1]

        yield run
        for seat in seats:
            for window in seat.windows:
                await window.behaved()
        await chromium.close()
    for seat in seats:
        await seat.worker.__aexit__()


async def test_while_the_engine_loads_the_page_shows_how_far_it_is(start, tmp_path):
    held = Held(tmp_path)
    seat = await start(SGLANG_LAUNCH_COMMAND=held.launch)
    window = await seat.look()
    await window.is_("starting")
    await expect(window["h1"]).to_have_text("tiny")
    await expect(window["#phases li.runs .name"]).to_have_text("weights")  # the one that runs
    names = await window["#phases .name"].all_text_contents()
    assert names[0] == "python" and names.index("server imports") < names.index("distributed init")
    before = await window["#start-total"].text_content()
    await expect(window["#start-total"]).not_to_have_text(before)  # the time goes on
    await expect(window["#send"]).to_be_disabled()
    await expect(window["#snippet"]).to_contain_text("tiny")
    held.let_go()
    await window.is_("ready")
    await expect(window["#start-total"]).to_contain_text("ready after")
    await expect(window["#phases"]).to_be_hidden()  # folded up
    assert {"weights", "warm-up", "first poll"} <= set(await window["#phases .name"].all_text_contents())
    assert await window["#phases li.runs"].count() == 0
    await expect(window["#send"]).to_be_enabled()
    assert await window.page.title() == "tiny · ready"


async def test_an_answer_streams_with_its_reasoning_apart(start):
    seat = await start(REASONING_PARSER="qwen3")
    window = await seat.look()
    await window.is_("ready")
    await expect(window["#pictures-part"]).to_be_hidden()  # this model reads none
    await window.ask(script(text="It is Paris.", reasoning="Which is it?", hang_at=2))
    await expect(window["#answer"]).to_have_text("It is Pa")  # two tokens, and the stream is open
    await expect(window["#reasoning"]).to_have_text("Which is it?")
    await expect(window["#send"]).to_be_disabled()
    await expect(window["#facts"]).to_contain_text(
        f"131,072 tokens of context · reasoning apart · SGLang 0.5.23 · worker {utils.VERSION}")
    await expect(window["#figures"]).to_contain_text(re.compile("in flight1of at most"))
    await expect(window["#figures"]).to_contain_text(re.compile(r"KV cache in use0?\.[1-9] %of 16,384 tokens"))
    await seat.engine("/_scripted/release", {})
    await expect(window["#spent"]).to_contain_text("3 tokens")
    await expect(window["#answer"]).to_have_text("It is Paris.")
    await expect(window["#reasoning"]).to_be_visible()
    await expect(window["#figures"]).to_contain_text(re.compile(r"first token\d+(\.\d+)? m?smedian; p95 "))
    await expect(window["#figures"]).to_contain_text("Requests so far1none failed")
    await expect(window["#figures"]).to_contain_text(re.compile("Tokens a second[1-9]"))
    await expect(window["#problem"]).to_be_empty()
    await window.ask(script(text="No thought."))
    await expect(window["#answer"]).to_have_text("No thought.")
    await expect(window["#reasoning-part"]).to_be_hidden()


async def test_an_answer_is_text_whatever_stands_in_it(start):
    seat = await start()
    window = await seat.look()
    await window.is_("ready")
    await window.ask(script(text=MARKUP, reasoning=MARKUP))
    await expect(window["#spent"]).to_contain_text("tokens")
    assert await window["#answer"].text_content() == await window["#reasoning"].text_content() == MARKUP
    await window.ask(script(status=422, error_message=MARKUP))
    await expect(window["#problem"]).to_have_text(MARKUP)
    assert await window["#answer *, #reasoning *, #problem *"].count() == 0
    assert await window.page.evaluate("() => window.taken") is None
    # And should it become markup one day, the browser would not run it.
    await window.page.evaluate("(text) => { try { document.body.innerHTML = text; } catch { window.refused = true; } }",
                               MARKUP)
    assert await window.page.evaluate("() => window.refused && window.violations.splice(0).length") == 1
    window.errors.clear()


@pytest.mark.parametrize(("what", "words"), [
    ({"status": 422, "error_message": "no such thing"}, "no such thing"),
    ({"tokens": 9, "error_at": 3, "error": "openai", "error_message": "queue is full", "error_code": 503}, "is full"),
    ({"tokens": 9, "drop_at": 3}, "engine")])
async def test_a_failure_is_shown_and_the_next_prompt_works(start, what, words):
    seat = await start(RETRY_TIMEOUT="0")
    window = await seat.look()
    await window.is_("ready")
    await window.ask(script(**what))
    await expect(window["#problem"]).to_contain_text(words)
    await window.ask(script(text="Paris."))
    await expect(window["#answer"]).to_have_text("Paris.")
    await expect(window["#problem"]).to_be_empty()


async def test_stop_ends_the_generation(start):
    seat = await start()
    window = await seat.look()
    await window.is_("ready")
    await window.ask(script(tokens=9, hang_at=2))
    await expect(window["#answer"]).to_have_text("t0 t1 ")
    await window["#stop"].click()
    await expect(window["#spent"]).to_contain_text("stopped")
    [record] = await seat.engine("/_scripted/wait?state=aborted,disconnected")
    assert record["tokens"] == 2
    await expect(window["#problem"]).to_be_empty()


async def test_nothing_is_told_without_the_key_and_the_key_is_kept_in_memory_alone(start):
    seat = await start(WORKER_API_KEY=f"other-key, {KEY}", HOST="0.0.0.0")
    window = await seat.look()
    await expect(window["#key-form"]).to_be_visible()
    await window.is_("locked")
    assert "tiny" not in await window["body"].text_content()
    await expect(window["#inside"]).to_be_hidden()
    for wrong in ("guessed-key", "pa\u00df w\u00f6rd"):
        await window["#key"].fill(wrong)
        await window["#key"].press("Enter")
        await expect(window["#key"]).to_be_empty()
        await expect(window["#key-error"]).to_contain_text("does not take this key")
    await window["#key"].fill(KEY)
    await window["#key-form button"].click()
    await window.is_("ready")
    await expect(window["h1"]).to_have_text("tiny")
    await window.ask(script(text="Paris."))
    await expect(window["#answer"]).to_have_text("Paris.")
    assert KEY not in await window.page.content()  # not in a snippet either
    kept = await window.page.evaluate(
        "() => [localStorage.length, sessionStorage.length, document.cookie, location.href]")
    assert kept == [0, 0, "", seat.base + "/"] and await window.page.context.cookies() == []
    assert KEY not in "".join(window.asked)
    await window.page.reload()
    await expect(window["#key-form"]).to_be_visible()  # forgotten
    assert KEY not in seat.worker.output and "guessed-key" not in seat.worker.output


async def test_an_engine_that_dies_is_seen_to_come_back(start, tmp_path):
    held = Held(tmp_path, again=True)
    seat = await start(SGLANG_LAUNCH_COMMAND=held.launch, RETRY_TIMEOUT="0")
    window = await seat.look()
    await window.is_("ready")
    await window.ask(script(tokens=9, die_at=2, die_code=7))
    await expect(window["#problem"]).to_contain_text("engine ended")
    await window.is_("restarting")
    await expect(window["#why"]).to_contain_text("exit status 7")
    await expect(window["#phases li.runs .name"]).to_have_text("weights")  # of the new start
    assert "python" not in await window["#phases .name"].all_text_contents()
    held.let_go()
    await window.is_("ready")
    await expect(window["#why"]).to_be_hidden()
    await expect(window["#facts"]).to_contain_text("restarted once")
    await window.ask(script(text="Paris."))
    await expect(window["#answer"]).to_have_text("Paris.")


async def test_an_engine_that_is_given_up_says_why_and_the_page_outlives_the_worker(start):
    seat = await start(SGLANG_MAX_RESTARTS="0", RETRY_TIMEOUT="0")
    window = await seat.look()
    await window.is_("ready")
    await window.ask(script(tokens=9, die_at=2, die_code=7))
    await expect(window["#why"]).to_contain_text("SGLANG_MAX_RESTARTS")
    assert await seat.worker.ended(60) == 1
    await window.is_("silent")
    await expect(window["#why"]).to_contain_text("SGLANG_MAX_RESTARTS")
    await expect(window["#send"]).to_be_disabled()
    await WorkerProcess.__aenter__(seat.worker)  # as a Pod starts its container again
    await window.is_("ready")
    await expect(window["#why"]).to_be_hidden()


async def test_a_start_that_fails_says_what_to_do(start, tmp_path):
    held = Held(tmp_path)
    life = json.dumps({"log": ["torch.OutOfMemoryError: CUDA out of memory."], "exit_after": 0})
    seat = await start(SGLANG_LAUNCH_COMMAND=held.launch, SCRIPTED_ENGINE_LIFE=life)
    window = await seat.look()
    await window.is_("starting")
    held.let_go()
    await expect(window["#why"]).to_contain_text("MEM_FRACTION_STATIC")
    assert "OutOfMemoryError" not in await window["#why"].text_content()  # the log is for the log
    assert await seat.worker.ended(60) == 1


async def test_images_go_with_the_prompt(start, tmp_path):
    seat = await start(ENABLE_MULTIMODAL="true")
    window = await seat.look()
    await window.is_("ready")
    picture = tmp_path / "red.svg"
    picture.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle r="9"/></svg>')
    await window["#pictures"].set_input_files([picture, picture])
    await expect(window["#thumbnails img"]).to_have_count(2)
    await window.page.get_by_role("button", name="Remove red.svg").first.click()
    await window.ask(script(text="Red."))
    await expect(window["#answer"]).to_have_text("Red.")
    *_, record = await seat.engine("/_scripted/requests?path=/v1/chat/completions&state=finished&tokens=1")
    image, text = record["body"]["messages"][0]["content"]
    assert image["image_url"]["url"].startswith("data:image/svg+xml;base64,") and text["text"].startswith("#script")


async def test_a_model_that_embeds_is_tried_so(start):
    seat = await start(IS_EMBEDDING="true")
    window = await seat.look()
    await window.is_("ready")
    await window.ask("Paris")
    await expect(window["#answer"]).to_contain_text("8 dimensions: 0.")
    await expect(window["#snippet"]).to_contain_text("/v1/embeddings")


async def test_the_snippets_run_as_they_are(start, tmp_path):
    seat = await start(WORKER_API_KEY=KEY)
    window = await seat.look()
    await window["#key"].fill(KEY)
    await window["#key"].press("Enter")
    await window.is_("ready")
    await seat.engine("/_scripted/script", {"text": "Hello from the worker."})
    environ = {**os.environ, "WORKER_API_KEY": KEY}
    if shutil.which("node"):  # its packages are another test's (local/clients)
        await window.page.get_by_role("tab", name="JavaScript").click()
        program = tmp_path / "snippet.mjs"
        program.write_text(await window["#snippet"].text_content())
        process = await asyncio.create_subprocess_exec("node", "--check", str(program))
        assert await asyncio.wait_for(process.wait(), 60) == 0
    for name, command in (("curl", ["bash", "-c"]), ("Python", [sys.executable, "-c"]),
                          ("Anthropic", [sys.executable, "-c"]), ("Claude Code", ["bash", "-c"])):
        await window.page.get_by_role("tab", name=name).click()
        text = await window["#snippet"].text_content()
        assert seat.base in text and re.search("[\"']tiny[\"']", text)
        if name == "Claude Code":  # its two variables; what it does with them is not this page's business
            text = re.sub("^claude .*", 'echo "$ANTHROPIC_BASE_URL $ANTHROPIC_AUTH_TOKEN"', text, flags=re.MULTILINE)
        process = await asyncio.create_subprocess_exec(*command, text, env=environ, stdout=asyncio.subprocess.PIPE)
        said = (await asyncio.wait_for(process.communicate(), 60))[0].decode()
        if name == "curl":
            said = "".join(json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
                           for line in said.splitlines() if line.startswith("data: {"))
        wanted = f"{seat.base} {KEY}\n" if name == "Claude Code" else "Hello from the worker."
        assert process.returncode == 0 and said == wanted, (name, said)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [375, 1000])
async def test_everything_can_be_read_and_fits(start, tmp_path, dark, width):
    held = Held(tmp_path)
    seat = await start(SGLANG_LAUNCH_COMMAND=held.launch, WORKER_API_KEY=KEY, REASONING_PARSER="qwen3",
                       ENABLE_MULTIMODAL="true", RETRY_TIMEOUT="0")
    window = await seat.look(dark=dark, width=width)
    await expect(window["#key-form"]).to_be_visible()
    await window["#key"].fill("guessed-key")
    await window["#key"].press("Enter")
    await expect(window["#key-error"]).not_to_be_empty()

    async def fits():
        assert await window.overflow() <= 0
        assert await window.unreadable() == []

    await fits()
    await window["#key"].fill(KEY)
    await window["#key"].press("Enter")
    await window.is_("starting")
    await fits()
    held.let_go()
    await window.is_("ready")
    await window["#start summary"].click()
    await window.ask(script(text="w" * 400, reasoning="r" * 400))
    await expect(window["#spent"]).to_contain_text("tokens")
    await fits()
    for tab in await window.page.get_by_role("tab").all():
        await tab.click()
        assert await window.overflow() <= 0
    await window.ask(script(tokens=9, die_at=2))
    await expect(window["#problem"]).to_contain_text("engine ended")
    await fits()
    seat.worker.process.kill()
    await window.is_("silent")
    await fits()


async def test_the_keyboard_reaches_everything(start):
    seat = await start()
    window = await seat.look()
    await window.is_("ready")
    await window["#prompt"].focus()
    await window.page.keyboard.type(script(text="Paris."))
    await window.page.keyboard.press("Control+Enter")
    await expect(window["#answer"]).to_have_text("Paris.")
    tab = window.page.get_by_role("tab", name="curl")
    await tab.focus()
    await window.page.keyboard.press("ArrowRight")
    await expect(window.page.get_by_role("tab", name="Python")).to_be_focused()
    await expect(window["#snippet"]).to_contain_text("from openai import OpenAI")
    unnamed = await window.page.evaluate("""() => [...document.querySelectorAll("input, textarea, button")]
      .filter((node) => !(node.labels?.length || node.textContent.trim() || node.getAttribute("aria-label")))
      .map((node) => node.outerHTML)""")
    assert unnamed == []
