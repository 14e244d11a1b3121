"""What machines say, for human eyes: SIP messages without what is secret, errors in one line."""

from __future__ import annotations

import re
from typing import Any

from voip.errors import (
    AuthenticationError,
    CallEnded,
    CallFailed,
    EndCause,
    NegotiationError,
    ParseError,
    RegistrationError,
    UnsupportedCodecError,
)

__all__ = ["describe", "ending", "highlight", "printable", "reason_of", "redact", "unanswered"]

_SECRETS = re.compile(
    r'\b(response|cnonce|nonce|password|opaque|rspauth|nextnonce)=("[^"]*"|[^\s,;]+)', re.IGNORECASE
)
_URI_PASSWORD = re.compile(r"(sips?:[^\s:@<>;]+):[^\s@<>]+@", re.IGNORECASE)
_KEYS = re.compile(r"(a=(?:crypto:\d+ \S+ inline|ice-pwd|key-mgmt)[: ]).*", re.IGNORECASE)
_CREDENTIALS = re.compile(
    r"^((?:proxy-)?authorization:\s*(?!digest\b)\S+)\s.*", re.IGNORECASE | re.MULTILINE
)
# What the system and OpenSSL put around their words.
_NUMBERS = re.compile(r"\[(?:Errno -?\d+|(?:SSL|X509)(?:: \w+)?)\] ?|\(_ssl\.c:\d+\)")

_ENDINGS = {
    EndCause.LOCAL_HANGUP: "we hung up",
    EndCause.REMOTE_HANGUP: "they hung up",
    EndCause.CANCELLED: "the caller gave up",
    EndCause.REJECTED: "it was refused",
    EndCause.NO_ANSWER: "nobody answered",
    EndCause.FAILED: "it failed",
    EndCause.ACK_TIMEOUT: "the caller never confirmed our answer",
    EndCause.MEDIA_TIMEOUT: "no sound came any more",
    EndCause.TRANSPORT_LOST: "the connection was lost",
    EndCause.HOOK_FAILED: "our own program failed",
    EndCause.SHUTDOWN: "we were stopped",
}


def redact(text: str) -> str:
    """Return a message with digests, passwords and keys masked.

    >>> redact('Authorization: Digest username="bob", response="6629fae4"')
    'Authorization: Digest username="bob", response=***'
    """
    text = _SECRETS.sub(r"\1=***", text)
    text = _URI_PASSWORD.sub(r"\1:***@", text)
    text = _CREDENTIALS.sub(r"\1 ***", text)
    return _KEYS.sub(r"\1***", text)


def highlight(message: Any, *, outgoing: bool, body: bool) -> list[tuple[str, str]]:
    """Return a message as lines of (text, style), secrets masked.

    Args:
        message: a SIP message.
        outgoing: whether we sent it.
        body: whether its body is shown too.
    """
    head, _, rest = bytes(message).decode("utf-8", "replace").partition("\r\n\r\n")
    first, *headers = redact(head).split("\r\n")
    style = _style(first)
    lines = [(f"{'→' if outgoing else '←'} {first}", style)]
    lines += [(f"    {header}", "dim") for header in headers]
    if body and rest.strip():
        lines += [(f"    {line}", "blue") for line in redact(rest).split("\r\n") if line]
    return [(printable(text), style) for text, style in lines]


def _style(first_line: str) -> str:
    if not first_line.startswith("SIP/2.0 "):
        return "bold cyan"
    return {"1": "yellow", "2": "bold green"}.get(first_line[8:9], "bold red")


def printable(text: str) -> str:
    """Return one line in which nothing drives a terminal: what a peer sent may hold anything."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def describe(error: BaseException) -> str:
    """Return one line that says what went wrong, in the peer's own words where there are any."""
    if isinstance(error, OSError):
        reason = reason_of(error)
        return f"{error.filename}: {reason}" if error.filename else reason
    said = " ".join(str(error).split())
    if isinstance(error, RegistrationError):
        if error.answered:
            return f"the registrar refused: {said}"
        return f"cannot reach the registrar: {unanswered(error.phrase)}"
    if isinstance(error, CallFailed):
        return f"the call failed: {said}"
    if isinstance(error, CallEnded):
        return f"the call ended: {ending(error)}"
    if isinstance(error, AuthenticationError):
        return f"cannot authenticate: {said}"
    if isinstance(error, NegotiationError) and not isinstance(error, UnsupportedCodecError):
        return f"no agreement on the audio: {said}"
    if isinstance(error, ParseError):  # our own side's words are read before: UsageError
        return f"the far end makes no sense: {said}"
    return _plain(said) or type(error).__name__


def ending(reason: CallEnded) -> str:
    """Return why a call is over, for people; with the peer's status and words, if it gave any."""
    words = f"{reason.status or ''} {reason.phrase}".strip()
    return _ENDINGS[reason.cause] + (f" ({words})" if words else "")


def unanswered(phrase: str) -> str:
    """Return why nobody answered, given what a machine of ours calls it."""
    return "no answer" if phrase.lower() in ("", "timeout", "request timeout") else phrase


def reason_of(error: OSError) -> str:
    """Return what the system says went wrong, in words only."""
    return _plain(error.strerror or str(error)).lower() or type(error).__name__


def _plain(text: str) -> str:
    """Return one line without the numbers and the sources that the system's errors carry."""
    words = " ".join(_NUMBERS.sub("", text).split())
    return words.replace("PEM lib", "it is damaged")  # all that OpenSSL says of such a file
