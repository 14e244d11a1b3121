from __future__ import annotations

import pytest

from voip.cli.messages import describe, ending, highlight, redact, unanswered
from voip.errors import (
    AuthenticationError,
    CallEnded,
    CallFailed,
    EndCause,
    NegotiationError,
    ParseError,
    RegistrationError,
    TransportError,
    UnsupportedCodecError,
)
from voip.sip.messages import Message

REGISTER = (
    b"REGISTER sip:example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n"
    b"From: <sip:bob:hush@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: 1\r\nCSeq: 1 REGISTER\r\n"
    b'Authorization: Digest username="bob", realm="r", nonce="n0nce", response="6629fae4", cnonce=c0\r\n'
    b"Content-Type: application/sdp\r\nContent-Length: 60\r\n\r\n"
)
BODY = b"v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0a2V5\r\n"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ('Authorization: Digest response="6629fae4"', "6629fae4"),
        ("Proxy-Authorization: Digest response=6629fae4, qop=auth", "6629fae4"),
        ("Authorization: Basic Ym9iOmh1c2g=", "Ym9iOmh1c2g="),
        ("Contact: <sips:bob:hush@192.0.2.1>", "hush"),
        ("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0|2^20", "c2VjcmV0"),
        ("a=ice-pwd:asd88fgpdd777uzjYhagZg", "asd88"),
        ('Authentication-Info: nextnonce="47364c23", rspauth="663"', "47364c23"),
    ],
)
def test_secrets_are_masked(text, secret):
    masked = redact(text)
    assert secret not in masked
    assert "***" in masked
    assert masked[:6] == text[:6]


def test_a_message_is_shown_in_lines_with_a_style():
    lines = highlight(Message.parse(REGISTER + BODY), outgoing=True, body=True)
    text = "\n".join(line for line, _ in lines)
    assert lines[0] == ("→ REGISTER sip:example.com SIP/2.0", "bold cyan")
    for secret in ("hush", "6629fae4", "c2VjcmV0a2V5", "n0nce"):
        assert secret not in text
    assert 'username="bob"' in text
    assert ("    v=0", "blue") in lines
    assert not any(
        "v=0" in line for line, _ in highlight(REGISTER + BODY, outgoing=True, body=False)
    )


@pytest.mark.parametrize(
    ("status", "style"),
    [("180 Ringing", "yellow"), ("200 OK", "bold green"), ("486 Busy Here", "bold red")],
)
def test_a_response_is_coloured_by_its_class(status, style):
    (line,) = highlight(f"SIP/2.0 {status}\r\n\r\n".encode(), outgoing=False, body=True)
    assert line == (f"← SIP/2.0 {status}", style)


def test_a_peer_cannot_drive_the_terminal():
    (line, *_) = highlight(b"SIP/2.0 200 \x1b]0;owned\x07\xff\r\n\r\n", outgoing=False, body=True)
    assert "\x1b" not in line[0]
    assert "\x07" not in line[0]


NUMBERED = OSError(2, "No such file or directory")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RegistrationError(403, "Go away"), "the registrar refused: 403 Go away"),
        (RegistrationError(403, "[SSL] so"), "the registrar refused: 403 [SSL] so"),
        (
            RegistrationError(408, "timeout", answered=False),
            "cannot reach the registrar: no answer",
        ),
        (
            RegistrationError(408, "connection refused", answered=False),
            "cannot reach the registrar: connection refused",
        ),
        (CallFailed(486, "Busy Here"), "the call failed: 486 Busy Here"),
        (CallEnded(EndCause.REMOTE_HANGUP), "the call ended: they hung up"),
        (AuthenticationError("realm changed"), "cannot authenticate: realm changed"),
        (NegotiationError("only video"), "no agreement on the audio: only video"),
        (UnsupportedCodecError("No codec in common"), "No codec in common"),
        (ParseError("no v=0", "x"), "the far end makes no sense: no v=0: 'x'"),
        (TransportError("UDP 0.0.0.0:5060: in use"), "UDP 0.0.0.0:5060: in use"),
        (
            TransportError(f"cannot load a.pem: {NUMBERED}"),
            "cannot load a.pem: No such file or directory",
        ),
        (TransportError("[X509: KEY_VALUES_MISMATCH] key mismatch (_ssl.c:4150)"), "key mismatch"),
        (TransportError("a.pem: [SSL] PEM lib (_ssl.c:3932)"), "a.pem: it is damaged"),
        (NUMBERED, "no such file or directory"),
        (FileNotFoundError(2, "No such file", "a.wav"), "a.wav: no such file"),
        (OSError("two\nlines"), "two lines"),
        (OSError(), "OSError"),
        (TransportError(), "TransportError"),
    ],
)
def test_an_error_is_one_line_without_numbers(error, line):
    assert describe(error) == line


@pytest.mark.parametrize("cause", EndCause)
def test_the_end_of_a_call_is_told_in_words(cause):
    words = ending(CallEnded(cause))
    assert words != cause.value
    assert "_" not in words
    assert ending(CallEnded(cause, 503, "Full up")) == f"{words} (503 Full up)"
    assert ending(CallEnded(cause, phrase="later")) == f"{words} (later)"


def test_silence_is_called_no_answer():
    assert {unanswered(words) for words in ("", "timeout", "Request Timeout")} == {"no answer"}
    assert unanswered("connection refused") == "connection refused"
