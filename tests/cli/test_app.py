from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from voip.cli.app import app

ROOT = Path(__file__).resolve().parents[2]


def invoke(*words):
    return CliRunner().invoke(app, list(words))


def test_says_how_it_is_used():
    assert "echo" in invoke("--help").output
    assert "--loopback" in invoke("echo", "--help").output
    assert "--record" in invoke("call", "--help").output


@pytest.mark.parametrize(
    ("words", "line", "status"),
    [
        (["echo", "sip:a b@example.com"], "bad address", 2),
        (["echo", "--codec", "g729", "--loopback"], "g729", 2),
        (["call", "nonsense:", "--host", "127.0.0.1"], "bad address", 2),
        (["call", "sip:a@127.0.0.1", "--play", "missing.wav"], "missing.wav", 1),
        (["echo", "--host", "203.0.113.77", "--port", "0"], "203.0.113.77", 1),
    ],
)
def test_an_error_is_one_line(words, line, status):
    result = invoke(*words)
    assert result.exit_code == status, result.output
    assert line in result.output
    assert len(result.output.splitlines()) == 1


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
    assert result.output.splitlines()[-1].startswith("voip: error:")


def test_python_without_the_extra_says_which_is_missing(tmp_path):
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no typer', name='typer')\n")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    run = subprocess.run(
        [sys.executable, "-m", "voip", "echo"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr == ("voip: error: the command line needs typer: pip install 'voip[cli]'\n")
