"""What a response copies from its request (RFC 3261 §8.2.6.2, §12.1.1), as it stands there."""

from __future__ import annotations

from typing import NamedTuple

from voip.errors import ParseError
from voip.sip.fields import MAX_VIAS
from voip.sip.headers import Headers
from voip.sip.shape import Shape
from voip.sip.syntax import is_token
from voip.sip.types import NameAddress

__all__ = ["Copies", "copies"]

_COPIED = ("via", "from", "to", "call-id", "cseq")
# RFC 3261 §12.1.1, RFC 6665 §4.4.1: responses to these may make a dialog: they repeat Record-Route.
_DIALOG_FORMING = ("INVITE", "SUBSCRIBE", "REFER")
_new = tuple.__new__


class Copies(NamedTuple):
    """Lines of a request, as Latin-1, each with its line end before it.

    Attributes:
        tag: what is added to To where that has none.
        lines: what every response repeats.
        routes: Record-Route, where a 101 to 299 repeats it too.
    """

    tag: str | None
    lines: str
    routes: str

    def __repr__(self) -> str:
        return "<Copies>"  # numbers must not get into a log


def copies(headers: Headers, method: str, tag: str | None) -> Copies:
    """Return what the responses with this To tag copy from a request with these headers.

    Raises:
        ValueError: `tag` is no tag, and is needed.
    """
    shape = headers.shape
    if shape is not None:
        return _of_shape(headers, shape, tag)
    index, core = headers.index, headers.core
    copied: list[bytes] = []
    for name in _COPIED:
        held = index.get(name, [])
        # RFC 3261 §8.2.6.2: all Via in order; of what may stand once, the first.
        many = MAX_VIAS if name == "via" else 1
        lines = [held] if isinstance(held, bytes) else held[:many]
        if core is None:
            lines = [line for line in lines if b":" in line]
        if name == "to" and lines and tag is not None:
            tagged = _has_tag(lines[0]) if core is None else "tag" in core[2].parameters
            lines = lines if tagged else [lines[0] + _parameter(tag).encode("ascii")]
        copied += lines
    held = index.get("record-route", []) if method in _DIALOG_FORMING else []
    return Copies(tag, _joined(copied), _joined([held] if isinstance(held, bytes) else held))


def _of_shape(headers: Headers, shape: Shape, tag: str | None) -> Copies:
    added = "" if tag is None or shape.to_tag is not None else _parameter(tag)
    more = "" if shape.more is None else f"\r\nVia: {shape.more}"
    lines = (
        f"\r\nVia: {headers.top_via}{more}\r\nFrom: {shape.from_}\r\nTo: {shape.to}{added}"
        f"\r\nCall-ID: {shape.call_id}\r\nCSeq: {shape.number} {shape.method}"
    )
    routes = ""
    if shape.routes is not None and shape.method in _DIALOG_FORMING:
        routes = f"\r\nRecord-Route: {shape.routes}"
    return _new(Copies, (tag, lines, routes))


def _joined(lines: list[bytes]) -> str:
    return b"\r\n".join((b"", *lines)).decode("latin-1")


def _parameter(tag: str) -> str:
    """Return a tag as the parameter that it is."""
    if not (tag.isalnum() and tag.isascii()) and not is_token(tag.encode("utf-8")):
        raise ValueError(f"not a tag: {tag[:64]!r}")
    return f";tag={tag}"


def _has_tag(line: bytes) -> bool:
    """Tell whether a To line has a tag, as well as that can be told of a malformed one."""
    try:
        return NameAddress.parse(line.partition(b":")[2].strip(b" \t")).tag is not None
    except ParseError:
        return b"tag" in line.lower()
