"""Requests and responses: bytes to message and back (RFC 3261 §7).

The parser refuses only what it cannot represent: no start line, or a status that is none. Whatever
else is wrong with a message is kept and answered by `voip.sip.validation`: a message that never
parsed can only be dropped, and most wrong ones are owed a response (RFC 4475). Typed values are
read when they are asked for and kept; what is malformed surfaces there as `ParseError` (400).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from voip.errors import ParseError
from voip.sdp.messages import SessionDescription
from voip.sip.fields import MAX_VIAS, TypedFields
from voip.sip.headers import Headers, canonical_name, index_lines, key_of, response_line
from voip.sip.section import (
    MAX_HEADERS,
    MAX_LINE_BYTES,
    TEXT,
    bounded,
    declared,
    unfolded,
    within,
    without_controls,
)
from voip.sip.status import STATUS_LINES, status_line
from voip.sip.syntax import TOKEN, is_token, text_of
from voip.sip.types import METHODS, NameAddress
from voip.sip.uri import URI, parse_uri

__all__ = ["MAX_HEADERS", "MAX_LINE_BYTES", "Message", "Request", "Response"]

MAX_METHOD_BYTES = 64

_EMPTY_BODY = b"Content-Length: 0"
_END = b"\r\n"
_KNOWN_LINES = {line: (code, line[12:].decode("ascii")) for code, line in STATUS_LINES.items()}
_new = object.__new__
_VERSION = re.compile(rb"SIP/[0-9]{1,3}\.[0-9]{1,3}")
_COPIED = ("via", "from", "to", "call-id", "cseq")
_PRINTABLE = bytes(range(0x21, 0x7F))
# RFC 3261 §12.1.1, RFC 6665 §4.4.1: responses to these may make a dialog: they repeat Record-Route.
_DIALOG_FORMING = ("INVITE", "SUBSCRIBE", "REFER")


class Message(TypedFields):
    """What requests and responses have in common.

    Attributes:
        headers: the header fields.
        raw_body: the body as bytes; set it through `body`, which keeps the headers in step.
        flaw: what is wrong with the message as a whole (control characters, a line that is no
            header, an end that is missing …), None for a sound one; the validator answers it 400.
    """

    __slots__ = ("_start", "flaw")
    flaw: str | None
    _start: bytes

    @staticmethod
    def parse(data: bytes, *, stream: bool = False) -> Request | Response:
        """Return the message in `data`: one datagram, or one frame of a stream.

        Bytes past Content-Length are ignored (RFC 3261 §18.3). A body that is shorter than
        Content-Length is kept and is a matter for the validator.

        Args:
            data: the bytes.
            stream: whether the transport is a byte stream, where a message without Content-Length
                has no body at all.

        Raises:
            ParseError: it cannot be represented; `status` is None: drop it.
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
        # Nearly all messages have usual names that stand once: one look-up for each.
        index: dict[str, bytes | list[bytes]] = {
            key_of(line.partition(b":")[0]): line  # type: ignore[misc]
            for line in lines
        }
        if len(index) != len(lines) or None in index:
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
        headers = _new(Headers)
        headers._lines = lines
        headers._index = index
        headers.core = headers.contacts = None
        if start[:8] == b"SIP/2.0 ":
            return _response(start, headers, body, flaw)
        return _request(start, headers, body, flaw)

    def __bytes__(self) -> bytes:
        lines = self.headers._lines
        body = self.raw_body
        if not body and lines and lines[-1] is _EMPTY_BODY:
            # What `respond` made needs no index.
            return b"\r\n".join((self._start, *lines, _END))
        # RFC 3261 §20.14: what leaves here declares its true length.
        length = b"%d" % len(body)
        if lines and lines[-1] == b"Content-Length: " + length:
            return b"\r\n".join((self._start, *lines, b"", body))
        declared = self.headers.raws("content-length")
        if not declared:
            return b"\r\n".join((self._start, *lines, b"Content-Length: " + length, b"", body))
        if declared != [length]:
            headers = self.headers.copy()
            headers.set("Content-Length", length)
            lines = headers._lines
        return b"\r\n".join((self._start, *lines, b"", body))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (self._start, self.headers, self.raw_body) == (
            other._start,
            other.headers,
            other.raw_body,
        )

    __hash__ = object.__hash__

    def _fill(self, start: bytes, headers: Headers, body: bytes, flaw: str | None) -> None:
        self._start = start
        self.headers = headers
        self.raw_body = body
        self.flaw = flaw
        self._body = None


class Request(Message):
    """A request.

    Attributes:
        method: as it stood; methods are case-sensitive.
        raw_uri: the Request-URI as it stood.
        version: "SIP/2.0", or what the peer believes in.
    """

    __slots__ = ("_copied", "_uri", "method", "raw_uri", "version")
    method: str
    raw_uri: bytes
    version: str
    _uri: URI | None
    _copied: tuple[list[bytes], int, list[bytes]] | None

    def __init__(
        self,
        method: str,
        uri: URI | str,
        headers: Headers | Iterable[tuple[str, str]] = (),
        raw_body: bytes = b"",
    ) -> None:
        """Make a request.

        Raises:
            ValueError: the method is no token, the URI cannot go on a request line, or a header
                value holds a control character.
        """
        if not is_token(method.encode("utf-8")):
            raise ValueError(f"not a method: {method[:64]!r}")
        self.raw_uri = str(uri).encode("ascii")
        if not self.raw_uri or self.raw_uri.translate(None, _PRINTABLE):
            raise ValueError(f"not a Request-URI: {str(uri)[:64]!r}")
        self.method = method
        self.version = "SIP/2.0"
        self._uri = None if isinstance(uri, str) else uri
        self._copied = None
        start = b" ".join((method.encode("ascii"), self.raw_uri, b"SIP/2.0"))
        self._fill(start, _headers(headers), raw_body, None)

    def __repr__(self) -> str:
        return f"<Request {self.method}>"

    @property
    def uri(self) -> URI:
        """The Request-URI.

        Raises:
            ParseError: it is no URI.
        """
        if self._uri is None:
            self._uri = parse_uri(self.raw_uri)
        return self._uri

    @property
    def branch(self) -> str | None:
        """The branch of the top Via; None from an RFC 2543 peer.

        Raises:
            ParseError: a Via is missing or malformed.
        """
        return self.via.branch

    def respond(
        self,
        status: int,
        *,
        reason: str | None = None,
        to_tag: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        body: SessionDescription | bytes = b"",
        content_type: str | None = None,
    ) -> Response:
        """Return a response to this request (RFC 3261 §8.2.6), of whatever it has.

        Via, From, To, Call-ID and CSeq are the request's own lines; Record-Route too where a dialog
        is formed (RFC 3261 §12.1.1). A `to_tag` is added when To has none.

        Raises:
            ValueError: a control character in the reason or a header, or a status outside 100..699.
        """
        start = STATUS_LINES.get(status) if reason is None else None
        if start is None:
            start = status_line(status, reason)
        copied = self._copied
        if copied is None:
            copied = self._copied = self._copies()
        lines = copied[0].copy()
        if to_tag is not None and copied[1] >= 0:
            tag = to_tag.encode("utf-8")
            if not tag or tag.translate(None, TOKEN):
                raise ValueError(f"not a tag: {to_tag[:64]!r}")
            lines[copied[1]] += b";tag=" + tag
        if 100 < status < 300:
            lines += copied[2]
        if not headers and not body:
            lines.append(_EMPTY_BODY)
            return _made(start, Headers.of_lines(lines), b"")
        for name, value in headers:
            if canonical_name(name) != "content-length":
                lines.append(response_line(name, value))
        data = bytes(body)
        if data:
            lines.append(response_line("Content-Type", content_type or "application/sdp"))
        lines.append(b"Content-Length: %d" % len(data))
        return _made(start, Headers.of_lines(lines), data)

    def slim(self) -> None:
        """Let go of what can be read from the lines again: 2 kB of an INVITE kept for a call."""
        self.headers.forget()
        self._copied = self._body = None

    def _copies(self) -> tuple[list[bytes], int, list[bytes]]:
        """Return the lines every response repeats, where a tag is missing, and Record-Route."""
        headers = self.headers
        index = headers.index
        core = headers.core
        if core is not None and len(index) == len(headers.lines):
            # Sound, and nothing stands twice: five look-ups.
            usual: list[Any] = [index[name] for name in _COPIED]
            routes: Any = index.get("record-route") if self.method in _DIALOG_FORMING else None
            tagged = "tag" in core[2].parameters
            return usual, -1 if tagged else 2, [] if routes is None else [routes]
        copied: list[bytes] = []
        untagged = -1
        for name in _COPIED:
            held = index.get(name)
            if held is None or (isinstance(held, bytes) and b":" not in held):
                continue
            if name == "to":
                tagged = _has_tag(held) if core is None else core[2].tag is not None
                untagged = -1 if tagged else len(copied)
            if isinstance(held, list):
                # RFC 3261 §8.2.6.2: all Via in order; of what may stand once, the first.
                copied += held[:MAX_VIAS] if name == "via" else held[:1]
            else:
                copied.append(held)
        routes = index.get("record-route", []) if self.method in _DIALOG_FORMING else []
        return copied, untagged, routes if isinstance(routes, list) else [routes]


class Response(Message):
    """A response.

    Attributes:
        status_code: 100 to 699.
        reason: the reason phrase, to show.
    """

    __slots__ = ("reason", "status_code")
    status_code: int
    reason: str

    def __init__(
        self,
        status_code: int,
        reason: str | None = None,
        headers: Headers | Iterable[tuple[str, str]] = (),
        raw_body: bytes = b"",
    ) -> None:
        """Make a response; without a reason it has the usual one.

        Raises:
            ValueError: a status outside 100..699, or a control character.
        """
        start = status_line(status_code, reason)
        self.status_code = int(status_code)
        self.reason = text_of(start[12:])
        self._fill(start, _headers(headers), raw_body, None)

    def __repr__(self) -> str:
        return f"<Response {self.status_code}>"


def _headers(headers: Headers | Iterable[tuple[str, str]]) -> Headers:
    return headers if isinstance(headers, Headers) else Headers(headers)


def _has_tag(held: bytes | list[bytes]) -> bool:
    """Tell whether a To line has a tag, as well as that can be told of a malformed one."""
    line = held[0] if isinstance(held, list) else held
    try:
        return NameAddress.parse(line.partition(b":")[2].strip(b" \t")).tag is not None
    except ParseError:
        return b"tag" in line.lower()


def _made(start: bytes, headers: Headers, body: bytes) -> Response:
    """Return a response with this status line, which is one of ours or was checked."""
    response = _new(Response)
    known = _KNOWN_LINES.get(start)
    response.status_code, response.reason = known or (int(start[8:11]), text_of(start[12:]))
    response._start = start
    response.headers = headers
    response.raw_body = body
    response.flaw = response._body = None
    return response


def _request(start: bytes, headers: Headers, body: bytes, flaw: str | None) -> Request:
    try:
        method, uri, version = start.split(b" ")
    except ValueError:
        method, _, rest = start.partition(b" ")
        at = rest.rfind(b"SIP/")
        uri, version = rest[: max(at, 0)].strip(b" "), rest[max(at, 0) :]
        flaw = flaw or "white space in the request line"
    name = METHODS.get(method)
    if name is None:
        if not method or method.translate(None, TOKEN) or len(method) > MAX_METHOD_BYTES:
            raise ParseError("not a SIP message", start, status=None)
        name = method.decode("ascii")
    request = _new(Request)
    if version == b"SIP/2.0":
        request.version = "SIP/2.0"
    else:
        version = version.strip(b" ").upper()
        if not _VERSION.fullmatch(version):
            raise ParseError("not a SIP message", start, status=None)
        request.version = version.decode("ascii")
    request.method = name
    request.raw_uri = uri
    request._uri = None
    request._start = start
    request.headers = headers
    request.raw_body = body
    request.flaw = flaw
    request._copied = request._body = None
    return request


def _response(start: bytes, headers: Headers, body: bytes, flaw: str | None) -> Response:
    if start not in _KNOWN_LINES and not _is_status_line(start):
        raise ParseError("not a status line", start, status=None)
    response = _made(start, headers, body)
    response.flaw = flaw
    return response


def _is_status_line(start: bytes) -> bool:
    # RFC 3261 §7.2: exactly three digits; more of them must not wrap round (RFC 4475 §3.1.2.19).
    code, space = start[8:11], start[11:12]
    return code.isdigit() and len(code) == 3 and b"1" <= code < b"7" and space in (b" ", b"")
