from __future__ import annotations

import asyncio
import errno
import io
import os
import signal

import pytest

from voip.audio import EchoCall
from voip.cli import running
from voip.cli.output import Output
from voip.cli.running import (
    CommandSession,
    SessionOptions,
    UsageError,
    ask_password,
    need_pem,
    open_session,
    parse_aor,
    parse_host,
    parse_proxy,
    parse_target,
    run,
    serving,
    with_codec,
)
from voip.codecs import get
from voip.errors import CallFailed, RegistrationError, TransportError
from voip.testing import SipPeer, run_virtual
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
    assert parse_target("tel:+4930123456", "alice@example.com") == "tel:+4930123456"
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

    def leaves(error):
        def prompt(words):
            raise error

        monkeypatch.setattr(running.getpass, "getpass", prompt)
        return lambda: ask_password("sip:a@b")

    with pytest.raises(UsageError, match="no password given"):
        leaves(EOFError())()
    assert run(leaves(KeyboardInterrupt())) == 130


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
        (CallFailed(486, "Busy Here"), "the call failed: 486 Busy Here", 1),
        (TransportError("UDP 0.0.0.0:5060: in use"), "UDP 0.0.0.0:5060: in use", 1),
        (FileNotFoundError(2, "No such file", "a.wav"), "a.wav: no such file", 1),
        (UsageError("no"), "no", 2),
    ],
)
def test_an_error_is_one_line_and_a_status(error, line, status, capsys):
    async def main():
        raise error

    def early():
        raise error

    for command in (main, early):
        assert run(command) == status
        assert capsys.readouterr().err == f"voip: error: {line}\n"


def test_a_command_returns_its_status():
    async def main():
        return 7

    assert run(main) == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
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

    assert run(polite) == 0
    assert run(impolite) == 130


def test_nohup_outlives_its_terminal():
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(os.kill, os.getpid(), signal.SIGHUP)
        later = loop.create_future()
        loop.call_soon(loop.call_soon, later.set_result, 7)
        return await later

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(main) == 7
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), ""),
        (OSError(errno.ENOSPC, "Full"), "voip: error: cannot write what happens: full\n"),
    ],
)
def test_output_that_nobody_reads_ends_the_command(lost, said, capsys):
    class Gone(io.StringIO):
        def write(self, text):
            raise lost

    output = Output(0, Gone())
    farewell = []

    async def main():
        output.say("hello")
        try:
            await asyncio.Event().wait()
        finally:
            farewell.append("BYE")

    assert run(main, output) == 1
    assert farewell == ["BYE"]
    assert capsys.readouterr().err == said


HERE, REGISTRAR = "192.0.2.10", "192.0.2.1"


def spoken():
    stream = io.StringIO()
    return Output(0, stream), stream


def test_waiting_for_the_registrar_is_said_where_it_takes_long(monkeypatch):
    monkeypatch.setenv("SIP_PASSWORD", "secret")
    output, stream = spoken()
    options = SessionOptions(aor="alice@example.com", host=HERE, proxy=REGISTRAR)

    async def main(delay):
        async with SipPeer.open(REGISTRAR, 5060) as registrar:

            async def answer():
                await asyncio.sleep(delay)
                while True:
                    request = await registrar.receive(timeout=100)
                    registrar.reply(request, 200, headers=[("Contact", request["Contact"])])

            answering = asyncio.create_task(answer())
            session = open_session(CommandSession, options, output)
            async with serving(session, output, options.serve):
                await asyncio.sleep(60)
            answering.cancel()

    run_virtual(main(0.1))
    assert stream.getvalue().splitlines() == ["registered sip:alice@example.com"]
    run_virtual(main(3))
    assert stream.getvalue().splitlines()[1:] == [
        "waiting for the registrar",
        "registered sip:alice@example.com",
    ]


def test_a_registration_that_is_lost_and_found_is_said_once_each():
    output, stream = spoken()
    session = CommandSession(output=output)
    lost = RegistrationError(408, "timeout", answered=False)
    for happens in (
        lambda: session.registration_failed(lost),  # before: it ends the command
        session.registered,
        session.registered,
        lambda: session.registration_failed(lost),
        lambda: session.registration_failed(lost),
        session.registered,
    ):
        happens()
    assert stream.getvalue().splitlines() == [
        "registered None",
        "not registered any more: cannot reach the registrar: no answer",
        "registered None",
    ]
    CommandSession().registered()  # nobody is told


def test_only_who_is_shown_sip_has_the_hooks_for_it():
    quiet = open_session(CommandSession, SessionOptions(), Output(0))
    verbose = open_session(CommandSession, SessionOptions(), Output(1))
    assert type(quiet) is CommandSession
    assert isinstance(verbose, CommandSession)
    assert type(verbose).message_sent is not type(quiet).message_sent


def test_a_proxy_without_an_account_is_refused():
    with pytest.raises(UsageError, match="--proxy needs"):
        open_session(CommandSession, SessionOptions(proxy="192.0.2.1"), Output())


def test_a_host_is_an_address_or_a_name_of_one():
    assert parse_host("192.0.2.1") == "192.0.2.1"
    assert parse_host("[2001:db8::1]") == parse_host("2001:db8::1") == "2001:db8::1"
    assert parse_host("localhost") in ("127.0.0.1", "::1")
    for bad in ("", "no such host", "1.2.3", "ä" * 70):
        with pytest.raises(UsageError, match="bad host"):
            parse_host(bad)


def test_a_pem_file_holds_what_it_should(tmp_path):
    path = tmp_path / "a.pem"
    need_pem("--tls-ca", None, "CERTIFICATE")
    for bad, words in ((path, "no such file"), (tmp_path, "is a directory")):
        with pytest.raises(UsageError, match=f"--tls-ca .*: {words}"):
            need_pem("--tls-ca", bad, "CERTIFICATE")
    path.write_text("-----BEGIN EC PRIVATE KEY-----\n")
    need_pem("--tls-key", path, "PRIVATE KEY")
    with pytest.raises(UsageError, match="there is no certificate in it"):
        need_pem("--tls-cert", path, "CERTIFICATE")
