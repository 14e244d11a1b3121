"""Structured call events: one INFO line of JSON each, with nobody's number in it."""

from __future__ import annotations

import json
import logging
from typing import Any

__all__ = ["call_event", "mask"]

_KEPT = 4


def mask(party: object) -> str:
    """Return whom a log may name: all but the last four characters of the user part hidden.

    >>> mask("sip:+4930123456@example.com")
    '*******3456@example.com'
    >>> mask("4930123456")
    '******3456'
    """
    text = str(party)
    if "<" in text:
        text = text.partition("<")[2].partition(">")[0]
    text = text.partition(";")[0].partition("?")[0]
    scheme, colon, rest = text.partition(":")
    if colon and scheme.isascii() and scheme.lower() in ("sip", "sips", "tel"):
        text = rest
    user, at, host = text.rpartition("@")
    if not at:
        user, host = text, ""
    user = user.partition(":")[0]  # never a password
    # A short extension shows half of itself at most.
    kept = min(_KEPT, len(user) // 2)
    return "*" * (len(user) - kept) + user[len(user) - kept :] + at + host


def call_event(logger: logging.Logger, event: str, *, caller: object = None, **facts: Any) -> None:
    """Log one event of a call: a JSON line, and the same facts as `extra` fields.

    Args:
        logger: where it goes.
        event: `call_started`, `call_ended` …
        caller: the remote party; masked here, so that no caller of this function can forget it.
        **facts: what else applies (call_id, codec, sample_rate …); None and "" are left out.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    said: dict[str, Any] = {"event": event}
    if caller is not None:
        said["caller"] = mask(caller)
    said.update((name, fact) for name, fact in facts.items() if fact is not None and fact != "")
    logger.info("%s", json.dumps(said, default=str), extra=said)
