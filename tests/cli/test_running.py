from __future__ import annotations

import asyncio
import io
import os
import signal

import pytest

from voip.audio import EchoCall
from voip.cli import running
from voip.cli.running import (
    UsageError,
    ask_password,
    parse_aor,
    parse_proxy,
    parse_target,
    run,
    with_codec,
)
from voip.codecs import get
from voip.errors import (
    AuthenticationError,
    CallEnded,
    CallFailed,
    EndCause,
    NegotiationError,
    ParseError,
    RegistrationError,
    TransportError,
)
from voip.types import HostPort


@pytest.mark.parametrize(
    ("text", "aor"),
    [
        ("sip:alice@example.com", "sip:alice@example.com"),
        ("sips:alice@example.com", "sips:alice@example.com"),
        ("alice@example.com", "sip:alice@example.com"),
        ("alice@example.com:5070", "sip:alice@example.com:5070"),
    ],
)
def test_an_aor_may_leave_its_scheme_out(text, aor):
    assert parse_aor(text) == aor


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sip:alice:secret@example.com", "SIP_PASSWORD"),
        ("sip:example.com", "no user"),
        ("sip:a b@example.com", "bad address"),
        ("sip:", "bad address"),
    ],
)
def test_a_bad_aor_is_one_line(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        parse_aor(text)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_whom_to_dial_may_leave_its_scheme_out():
    assert parse_target("bob@192.0.2.1:5070", None) == "sip:bob@192.0.2.1:5070"
    assert parse_target("sips:bob@example.com", None) == "sips:bob@example.com"
    assert parse_target("tel:+4930123456", "192.0.2.1") == "tel:+4930123456"
    for bad in ("tel:+4930123456", "mailto:bob@example.com", "nonsense:", "sip:", "bob"):
        with pytest.raises(UsageError, match="bad address"):
            parse_target(bad, None)


def test_a_proxy_is_host_and_port():
    assert parse_proxy(None) is None
    assert parse_proxy("192.0.2.1:5070") == HostPort("192.0.2.1", 5070)
    assert parse_proxy("[2001:db8::1]:5070") == HostPort("2001:db8::1", 5070)
    assert parse_proxy("[2001:db8::1]") == HostPort("2001:db8::1", 5060)
    assert parse_proxy("proxy.example.com") == HostPort("proxy.example.com", 5060)
    for bad in ("proxy:", "proxy:0", "proxy:65536", "proxy:x", ":5060"):
        with pytest.raises(UsageError, match="bad proxy"):
            parse_proxy(bad)


def test_the_password_comes_from_the_environment_or_the_terminal(monkeypatch):
    monkeypatch.setenv("SIP_PASSWORD", "from the environment")
    assert ask_password("sip:a@b") == "from the environment"
    monkeypatch.delenv("SIP_PASSWORD")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError, match="SIP_PASSWORD"):
        ask_password("sip:a@b")


def test_the_terminal_is_asked_without_an_echo(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("SIP_PASSWORD", raising=False)
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr(running.getpass, "getpass", lambda prompt: prompt)
    assert "sip:a@b" in ask_password("sip:a@b")


def test_a_codec_is_fixed_whatever_is_preferred():
    assert with_codec(EchoCall, None) is EchoCall
    assert [get("pcmu")] == with_codec(EchoCall, "PCMU").PREFERRED_CODECS
    assert [get("pcmu")] != EchoCall.PREFERRED_CODECS
    with pytest.raises(UsageError, match="g729"):
        with_codec(EchoCall, "g729")


def test_a_codec_whose_extra_is_missing_says_which(monkeypatch):
    def unsupported(name):
        raise NotImplementedError("Unsupported codec")

    monkeypatch.setattr(running.codecs, "get", unsupported)
    with pytest.raises(UsageError, match=r"voip\[hd-audio\]"):
        with_codec(EchoCall, "opus")


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (RegistrationError(403, "Go away"), "the registrar refused: 403 Go away", 1),
        (CallFailed(486, "Busy Here"), "the call failed: 486 Busy Here", 1),
        (CallEnded(EndCause.REMOTE_HANGUP), "the call ended: remote_hangup", 1),
        (AuthenticationError("realm changed"), "cannot authenticate: realm changed", 1),
        (NegotiationError("only video"), "no common codec: only video", 1),
        (ParseError("bad URI", "x"), "bad address: bad URI: 'x'", 1),
        (TransportError("UDP 0.0.0.0:5060: in use"), "UDP 0.0.0.0:5060: in use", 1),
        (OSError("two\nlines"), "two lines", 1),
        (OSError(), "OSError", 1),
        (UsageError("no"), "no", 2),
    ],
)
def test_an_error_is_one_line_and_a_status(error, line, status, capsys):
    async def main():
        raise error

    assert run(main()) == status
    assert capsys.readouterr().err == f"voip: error: {line}\n"


def test_a_command_returns_its_status():
    async def main():
        return 7

    assert run(main()) == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_command_which_may_say_goodbye(number):
    async def polite():
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 0

    async def impolite():
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await asyncio.Event().wait()

    assert run(polite()) == 0
    assert run(impolite()) == 130
