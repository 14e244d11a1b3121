"""The header section of a message as lines: limits, control characters, folding.

This reads whatever has no usual shape (`voip.sip.shape`), and refuses nothing: what is wrong is
noted, and answered by `voip.sip.validation`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from voip.sip.headers import Headers, index_lines, indexed

__all__ = [
    "MAX_HEADERS",
    "MAX_LINE_BYTES",
    "TEXT",
    "Section",
    "bounded",
    "declared",
    "read_section",
    "unfolded",
    "within",
    "without_controls",
]

MAX_HEADERS = 256
MAX_LINE_BYTES = 8192

# All that a header section holds but line ends: printable ASCII, tab, and UTF-8 (RFC 3261 §25.1).
TEXT = bytes(code for code in range(256) if code >= 0x20 and code != 0x7F) + b"\t"
_QUESTION_MARKS = bytes(code if code in TEXT else ord("?") for code in range(256))
# A line whose control characters all stand in quoted pairs of closed strings (RFC 3261 §25.1). The
# last branch takes an unclosed string to its end: no quote inside it is tried as a start again.
_CLEAN = re.compile(
    rb'(?:[^"\x00-\x08\x0a-\x1f\x7f]++'
    rb'|"[^"\\\x00-\x08\x0a-\x1f\x7f]*+(?:\\[^\r\n][^"\\\x00-\x08\x0a-\x1f\x7f]*+)*+"'
    rb'|"[^\x00-\x08\x0a-\x1f\x7f]*+\Z)*+',
    re.DOTALL,
)


class Section(NamedTuple):
    """A message before its start line is read.

    Attributes:
        start: the start line.
        headers: the headers.
        body: as much of the body as Content-Length says.
        flaw: what is wrong with the section as a whole, None for a sound one.
    """

    start: bytes
    headers: Headers
    body: bytes
    flaw: str | None

    def __repr__(self) -> str:
        return "<Section>"  # numbers must not get into a log


def read_section(data: bytes, stream: bool) -> Section:
    """Return what a datagram or a frame holds.

    Args:
        data: the bytes.
        stream: whether a message without Content-Length has no body at all.
    """
    # RFC 3261 §7.5: line ends before the start line are ignored.
    if data[:1] == b"\r":
        data = data.lstrip(b"\r\n")
    head, blank, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    ends = b"\r\n" * (len(lines) - 1)
    flaw = None
    if len(head) > MAX_LINE_BYTES or len(lines) > MAX_HEADERS or not blank:
        lines, flaw = bounded(lines, blank)
    # One pass in C: what is left of the head after all text is taken out must be its line ends.
    if head.translate(None, TEXT) != ends:
        lines, flaw = without_controls(lines, flaw)
    start = lines.pop(0)
    index = indexed(lines)
    if index is None:
        if b"\r\n " in head or b"\r\n\t" in head:
            (_, *lines), flaw = within([b"", *unfolded(lines)], flaw)
        index, sound = index_lines(lines)
        if not sound:
            flaw = flaw or "a line is no header"
    held = index.get("content-length")
    if held is None:
        body = b"" if stream else body
    elif body:
        body = declared(held, body)
    return Section(start, Headers.of_lines(lines, index), body, flaw)


def bounded(lines: list[bytes], blank: bytes) -> tuple[list[bytes], str | None]:
    """Hold the limits on the header section, and note what broke them.

    What is too much is left out: no answer of ours may break the limits by repeating it.
    """
    flaw = None
    if not blank:
        flaw = "the headers do not end"
        while len(lines) > 1 and not lines[-1]:
            lines.pop()
    if len(lines) > MAX_HEADERS + 1:
        lines, flaw = lines[: MAX_HEADERS + 1], "too many headers"
    return within(lines, flaw)


def within(lines: list[bytes], flaw: str | None) -> tuple[list[bytes], str | None]:
    """Leave out the lines that are too long, all but the first."""
    if max(map(len, lines), default=0) <= MAX_LINE_BYTES:
        return lines, flaw
    kept = [line for line in lines[1:] if len(line) <= MAX_LINE_BYTES]
    return [lines[0], *kept], "a line is too long"


def without_controls(lines: list[bytes], flaw: str | None) -> tuple[list[bytes], str | None]:
    """Replace control characters, which nothing that leaves here may repeat.

    A quoted pair may hold one (RFC 3261 §25.1; RFC 4475 §3.1.1.2), and stays; not in the start
    line, the first of `lines`, which has no quoted strings.
    """
    clean = []
    for line in lines:
        if line.translate(None, TEXT) and (line is lines[0] or not _CLEAN.fullmatch(line)):
            flaw = "a control character"
            line = line.translate(_QUESTION_MARKS)
        clean.append(line)
    return clean, flaw


def unfolded(lines: list[bytes]) -> list[bytes]:
    """Join continuation lines with one space (RFC 3261 §7.3.1)."""
    groups: list[list[bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and groups:
            groups[-1].append(line.strip(b" \t"))
        else:
            groups.append([line])
    return [group[0] if len(group) == 1 else b" ".join(group) for group in groups]


def declared(held: bytes | list[bytes], body: bytes) -> bytes:
    """Return as much of the body as Content-Length says; all of it where that makes no sense."""
    if isinstance(held, list):
        return body
    digits = held.partition(b":")[2].strip(b" \t")
    if not digits.isdigit() or len(digits) > 10:
        return body
    return body[: int(digits)]
