"""SIP messages for human eyes: coloured, and without what is secret."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["highlight", "redact"]

_SECRETS = re.compile(
    r'\b(response|cnonce|nonce|password|opaque|rspauth|nextnonce)=("[^"]*"|[^\s,;]+)', re.IGNORECASE
)
_URI_PASSWORD = re.compile(r"(sips?:[^\s:@<>;]+):[^\s@<>]+@", re.IGNORECASE)
_KEYS = re.compile(r"(a=(?:crypto:\d+ \S+ inline|ice-pwd|key-mgmt)[: ]).*", re.IGNORECASE)
_CREDENTIALS = re.compile(
    r"^((?:proxy-)?authorization:\s*(?!digest\b)\S+)\s.*", re.IGNORECASE | re.MULTILINE
)


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
    return [(_printable(text), style) for text, style in lines]


def _style(first_line: str) -> str:
    if not first_line.startswith("SIP/2.0 "):
        return "bold cyan"
    return {"1": "yellow", "2": "bold green"}.get(first_line[8:9], "bold red")


def _printable(text: str) -> str:
    """A peer's bytes must not drive our terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
