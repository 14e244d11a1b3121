from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import voip
from voip.cli.app import app

FULL = Path("/dev/full").exists()
ROOT = Path(__file__).resolve().parents[2]


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def test_says_how_it_is_used():
    assert "echo" in invoke("--help").output
    assert "--loopback" in invoke("echo", "--help").output
    assert "--record" in invoke("call", "-h").output
    assert "SIP_PASSWORD" in invoke("call", "-h").output


def test_help_is_plain_and_names_every_option_in_full():
    for command in ("echo", "call"):
        help_ = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "50"}).output
        assert "--dangerously-skip-certificate-checks" in help_
        assert "[[AOR]]" not in help_
        assert "<str>  " not in help_.partition("Options:")[2]
        assert not set("╭│╰\x1b") & set(help_)


def test_without_a_command_it_says_how_it_is_used_and_fails():
    result = invoke()
    assert result.exit_code == 2
    assert result.output == invoke("--help").output


def test_tells_its_version():
    result = invoke("--version")
    assert (result.exit_code, result.output) == (0, f"voip {voip.__version__}\n")


def test_gives_its_status_to_a_program_that_calls_it():
    assert app(["--version"], standalone_mode=False) == 0
    with pytest.raises(Exception, match="--bogus"):
        app(["--bogus"], standalone_mode=False)


@pytest.mark.parametrize(
    ("words", "line", "status"),
    [
        (["echo", "sip:a b@example.com"], "bad address", 2),
        (["echo", "--codec", "g729", "--loopback"], "g729", 2),
        (["echo", "--host", "203.0.113.77", "--port", "0"], "203.0.113.77", 1),
        (["echo", "--host", "no such host", "--port", "0"], "bad host 'no such host'", 2),
        (["echo", "--proxy", "192.0.2.1:5060"], "--proxy needs", 2),
        (["echo", "--loopback", "alice@example.com"], "--loopback", 2),
        (["echo", "--tls-key", "key.pem"], "--tls-key needs --tls-cert", 2),
        (["echo", "--tls-cert", "no.pem"], "--tls-cert no.pem: no such file or directory", 2),
        (["echo", "--tls-ca", "no.pem"], "--tls-ca no.pem: no such file or directory", 2),
        (["call", "nonsense:", "--host", "127.0.0.1"], "bad address", 2),
        (["call", "bob"], "want sip:USER@HOST", 2),
        (["call", "tel:+4930123456"], "--account", 2),
        (["call", "sip:a@127.0.0.1", "--play", "no.wav"], "no.wav: no such file or directory", 1),
        (["call", "sip:a@127.0.0.1", "--play", "."], ".: is a directory", 1),
        (["call", "sip:a@127.0.0.1", "--record", "no/a.wav"], "no/a.wav: no such file", 1),
        (["call", "sip:a@127.0.0.1", "--record", "."], ".: is a directory", 1),
        (["call", "sip:a@127.0.0.1", "--duration", "0"], "--duration 0", 2),
        (["call", "sip:a@127.0.0.1", "--duration", "-1"], "--duration -1", 2),
        (["call", "sip:a@127.0.0.1", "--duration", "nan"], "--duration nan", 2),
        (["call", "sip:a@127.0.0.1", "--proxy", "192.0.2.1"], "--proxy needs", 2),
    ],
)
def test_an_error_is_one_line(words, line, status):
    result = invoke(*words)
    assert result.exit_code == status, result.output
    assert line in result.output
    assert "rrno" not in result.output
    assert result.output.startswith("voip: error: ")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["call"], "missing argument 'URI' (see voip call --help)"),
        (["--bogus"], "no such option: --bogus"),
        (["echo", "--bogus"], "no such option: --bogus"),
        (["call", "sip:a@127.0.0.1", "another"], "another"),
        (["listen"], "listen"),
        (["echo", "--port", "70000"], "--port"),
        (["call", "sip:a@127.0.0.1", "--port", "-5"], "--port"),
        (["call", "sip:a@127.0.0.1", "--duration", "long"], "--duration"),
        (["call", "sip:a@127.0.0.1", "--play"], "--play"),
    ],
)
def test_a_command_line_that_is_none_is_one_line(words, line):
    result = invoke(*words)
    assert result.exit_code == 2
    assert line in result.output
    assert result.output.startswith("voip: error: ")
    assert len(result.output.splitlines()) == 1


def test_help_that_cannot_be_written_is_one_line():
    with Path("/dev/full").open("w") if FULL else pytest.skip("no /dev/full") as full:
        run = subprocess.run(
            [sys.executable, "-m", "voip", "--help"],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert run.returncode == 1
    assert run.stderr == "voip: error: cannot write what happens: no space left on device\n"


def test_a_port_in_use_is_named():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        result = invoke("echo", "--host", "127.0.0.1", "--port", port)
    assert result.exit_code == 1
    assert port in result.output
    assert "in use" in result.output


def test_nobody_there_is_a_failed_call():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
    result = invoke("call", f"sip:a@127.0.0.1:{port}", "--host", "127.0.0.1")
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        f"call 1: dialling *@127.0.0.1:{port}",
        f"voip: error: cannot reach *@127.0.0.1:{port}: connection refused",
    ]


def run_beside(folder, name, source, *words):
    """Run the command line where a module of our making stands before the real one."""
    (folder / f"{name}.py").write_text(source)
    path = f"{folder}{os.pathsep}{ROOT}"
    return subprocess.run(
        [sys.executable, "-m", "voip", *words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_python_without_the_extra_says_which_is_missing(tmp_path):
    source = "raise ModuleNotFoundError('no typer', name='typer')\n"
    run = run_beside(tmp_path, "typer", source, "echo")
    assert run.returncode == 1
    assert run.stderr == ("voip: error: the command line needs typer: pip install 'voip[cli]'\n")


def test_ctrl_c_while_it_loads_is_no_traceback(tmp_path):
    run = run_beside(tmp_path, "typer", "raise KeyboardInterrupt\n", "echo")
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "")


def test_help_and_mistakes_load_neither_the_stack_nor_numpy(tmp_path):
    for module in ("numpy", "voip.sip", "rich"):
        source = f"import sys\nsys.modules[{module!r}] = None\n"
        for words, status in ((["--help"], 0), (["echo", "--bogus"], 2)):
            run = run_beside(tmp_path, "sitecustomize", source, *words)
            assert (run.returncode, "Traceback" in run.stderr) == (status, False), run.stderr
