"""Every code block in README, CONTRIBUTING and docs is executed, and every example runs."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

from voip.testing import SipPeer

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(language):
    for page in PAGES:
        for number, match in enumerate(BLOCK.finditer(page.read_text())):
            if match[1] == language:
                yield pytest.param(match[2], id=f"{page.name}-{number}")


def commands():
    """Yield each command of the shell blocks; what pip installs is installed already."""
    for param in blocks("console"):
        (block,) = param.values
        for line in block.splitlines():
            for part in line.split("&&"):
                if "pip install" not in part:
                    yield pytest.param(part.strip(), id=f"{param.id}: {part.strip()[:40]}")


def test_no_block_is_in_a_language_that_nobody_executes():
    languages = {m[1] for page in PAGES for m in BLOCK.finditer(page.read_text())}
    assert languages <= {"python", "console"}


def execute(*sources):
    """Run the blocks of a page, one after the other, in a module; dataclasses look theirs up."""
    module = sys.modules["docs_block"] = types.ModuleType("docs_block")
    for source in sources:
        exec(compile(source, "block", "exec"), vars(module))
    return vars(module)


def python_blocks(page):
    return [match[2] for match in BLOCK.finditer(page.read_text()) if match[1] == "python"]


@pytest.mark.parametrize("page", [p for p in PAGES if python_blocks(p)], ids=lambda p: p.name)
def test_the_python_of_a_page_runs(page):
    main = execute(*python_blocks(page)).get("main")
    if inspect.iscoroutinefunction(main):
        asyncio.run(main())


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST"))}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)} | more


def arguments(command):
    words = shlex.split(command)
    assert words[0] == "python", command
    return [sys.executable, *words[1:]]


async def run_to_first_words(command, wanted, **env):
    """Run a command until it says `wanted`, stop it as Ctrl-C does, return all it said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=environment(**env),
    )
    said = ""
    try:
        async with asyncio.timeout(20):
            while wanted not in said:
                line = (await process.stdout.readline()).decode()
                assert line, said
                said += line
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(20):
            said += (await process.stdout.read()).decode()
            assert await process.wait() == 0, said
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return said


async def registrar(peer):
    """Say yes to everything, as a registrar that asks no questions."""
    while True:
        request = await peer.receive(timeout=60)
        peer.reply(request, 200, "OK", headers=[("Contact", request["Contact"])])


@pytest.mark.parametrize("command", list(commands()))
async def test_a_shell_block_runs(command):
    words = arguments(command)
    if "pytest" in words:
        words += ["--collect-only", "-q", "-p", "no:cacheprovider", "tests/test_docs.py"]
    elif words[1:4] == ["-m", "voip", "echo"] and not {"--loopback", "--help"} & set(words):
        words += ["--host", "127.0.0.1", "--port", "0"]
        if len(words) == 9:
            async with SipPeer.open() as peer:
                words += ["--proxy", str(peer.local)]
                answering = asyncio.create_task(registrar(peer))
                said = await run_to_first_words(words, "registered", SIP_PASSWORD="secret")
                answering.cancel()
            assert "registered sip:alice@sip.example.com" in said
            assert "secret" not in said
        else:
            assert "sip:echo@127.0.0.1" in await run_to_first_words(words, "dial")
        return
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=environment(),
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads(path):
    runpy.run_path(str(path), run_name="example")


async def test_the_examples_talk_to_each_other(monkeypatch):
    """`dial.py` calls `echo.py`."""
    echo = runpy.run_path(str(ROOT / "examples" / "echo.py"), run_name="example")
    dial = runpy.run_path(str(ROOT / "examples" / "dial.py"), run_name="example")
    sip = dial["SessionInitiationProtocol"]
    serve = sip.serve
    monkeypatch.setattr(sip, "serve", lambda self, **more: serve(self, host="127.0.0.1", port=0))
    async with echo["Phone"]().serve() as phone:
        port = phone.listeners["UDP"].port
        await asyncio.wait_for(dial["main"](f"sip:echo@127.0.0.1:{port}"), 20)


async def test_the_phone_of_the_readme_answers():
    (block,) = python_blocks(ROOT / "README.md")
    names = execute(block)
    assert len(block.strip().splitlines()) <= 15
    async with names["Phone"]().serve(host="127.0.0.1", port=0) as phone:
        remote = phone.listeners["UDP"]
        async with SipPeer.open(remote=remote) as peer:
            peer.request("INVITE", f"sip:meter@{remote}", body=peer.sdp())
            answer = await peer.expect(200)
            assert b"m=audio" in answer.body
            peer.ack(answer)
            peer.bye(answer)
            await peer.expect(200)


def generate(script, *arguments):
    """Run a generator; returns its status and its complaints."""
    run = subprocess.run(
        [sys.executable, str(script), *arguments],
        capture_output=True,
        text=True,
        env=environment(PYTHONDONTWRITEBYTECODE="1"),
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


@pytest.mark.parametrize("name", ["generate_compatibility.py", "generate_diagrams.py"])
def test_generated_pages_are_up_to_date(name):
    assert generate(ROOT / "docs" / name, "--check") == (0, "")


def test_a_page_that_is_stale_is_named_and_made_anew(tmp_path):
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("generate_files.py", "generate_diagrams.py"):
        shutil.copy(ROOT / "docs" / name, docs)
    script = docs / "generate_diagrams.py"
    status, said = generate(script, "--check")
    assert status == 1
    assert "docs/state-machines.md is stale: run docs/generate_diagrams.py\n" in said
    assert not (docs / "images").exists()
    assert generate(script) == (0, "")
    assert generate(script, "--check") == (0, "")
    (docs / "images" / "floors.svg").write_text("old")
    stale = "docs/images/floors.svg is stale: run docs/generate_diagrams.py\n"
    assert generate(script, "--check") == (1, stale)


def test_the_readme_names_every_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = (ROOT / "README.md").read_text().partition("## Installing parts")[2]
    rows = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|"))
    named = set(re.findall(r"`([\w-]+)`", rows))
    assert named == set(extras["optional-dependencies"])


def test_an_example_without_its_argument_says_how_it_is_used():
    run = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "dial.py")],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert run.returncode == 1
    assert "python examples/dial.py sip:" in run.stderr
    assert "Traceback" not in run.stderr
