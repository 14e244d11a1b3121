"""Requests and responses: bytes to message and back (RFC 3261 §7).

The parser refuses only what it cannot represent: no start line, or a status that is none. Whatever
else is wrong with a message is kept and answered by `voip.sip.validation`: a message that never
parsed can only be dropped, and most wrong ones are owed a response (RFC 4475). Typed values are
read when they are asked for and kept; what is malformed surfaces there as `ParseError` (400).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from voip.errors import ParseError
from voip.sdp.messages import SessionDescription
from voip.sip.copies import Copies, copies
from voip.sip.fields import TypedFields, is_sound
from voip.sip.headers import Headers, response_line
from voip.sip.section import MAX_HEADERS, MAX_LINE_BYTES, read_section
from voip.sip.shape import Shape, shape_of
from voip.sip.status import STATUS_LINES, STATUS_PHRASES, status_line
from voip.sip.syntax import TOKEN, check_value, is_token, text_of
from voip.sip.types import METHODS
from voip.sip.uri import URI, parse_uri

__all__ = ["MAX_HEADERS", "MAX_LINE_BYTES", "Message", "Request", "Response"]

MAX_METHOD_BYTES = 64

_KNOWN_LINES = {line: (code, line[12:].decode("ascii")) for code, line in STATUS_LINES.items()}
_new = object.__new__
_VERSION = re.compile(rb"SIP/[0-9]{1,3}\.[0-9]{1,3}")
_PRINTABLE = bytes(range(0x21, 0x7F))


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
    _start: bytes | None

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
        found = shape_of(data)
        if found is not None:
            shape, begin, end = found
            if (shape.more is None and shape.routes is None) or is_sound(shape):
                return _shaped(data, shape, begin, end)
        start, headers, body, flaw = read_section(data, stream)
        if start[:8] == b"SIP/2.0 ":
            return _response(start, headers, body, flaw)
        return _request(start, headers, body, flaw)

    def __bytes__(self) -> bytes:
        headers, body = self.headers, self.raw_body
        text = headers.text(len(body))
        if text is not None:
            return text + body if body else text
        # RFC 3261 §20.14: what leaves here declares its true length.
        lines, length = headers.lines, b"%d" % len(body)
        if lines and lines[-1] == b"Content-Length: " + length:
            return b"\r\n".join((self.start_line, *lines, b"", body))
        declared = headers.raws("content-length")
        if not declared:
            length = b"Content-Length: " + length
            return b"\r\n".join((self.start_line, *lines, length, b"", body))
        if declared != [length]:
            headers = headers.copy()
            headers.set("Content-Length", length)
        return b"\r\n".join((self.start_line, *headers.lines, b"", body))

    @property
    def start_line(self) -> bytes:
        """The first line, as it stood."""
        assert self._start is not None
        return self._start

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (self.start_line, self.headers, self.raw_body) == (
            other.start_line,
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
    _copied: Copies | None

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

    @property
    def start_line(self) -> bytes:
        """The first line, as it stood."""
        if self._start is None:  # one that had the usual shape
            self._start = check_value(f"{self.method} {self.raw_uri.decode('ascii')} SIP/2.0")
        return self._start

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
        lines, data = "", bytes(body)
        for name, value in headers:
            lines += response_line(name, value)
        if data:
            lines += response_line("Content-Type", content_type or "application/sdp")
        first = STATUS_LINES.get(status) if reason is None else None
        if first is None:
            first = status_line(status, reason)
        head = self._head(first.decode("latin-1"), status, to_tag, lines, len(data))
        return _made(first, Headers.of_text(head, len(data)), data)

    def answer(
        self, status: int, *, to_tag: str | None = None, lines: str = "", body: bytes = b""
    ) -> bytes:
        """Return what `respond` makes as bytes, at half of its cost.

        Args:
            status: a status that has a usual phrase.
            to_tag: as for `respond`.
            lines: sound header lines as Latin-1, each with its line end before it.
            body: the body; its Content-Type is among the lines.

        Raises:
            ValueError: `to_tag` is no tag.
        """
        phrase = STATUS_PHRASES.get(status)
        if phrase is None:
            first = status_line(status).decode("ascii")
        else:
            first = f"SIP/2.0 {status} {phrase}"
        return self._head(first, status, to_tag, lines, len(body)) + body

    def _head(self, first: str, status: int, to_tag: str | None, lines: str, length: int) -> bytes:
        copied = self._copied
        if copied is None or copied.tag != to_tag:
            copied = self._copied = copies(self.headers, self.method, to_tag)
        text = copied.lines
        if copied.routes and 100 < status < 300:
            text += copied.routes
        return f"{first}{text}{lines}\r\nContent-Length: {length}\r\n\r\n".encode("latin-1")

    def slim(self) -> None:
        """Let go of what can be read from the lines again: 2 kB of an INVITE kept for a call."""
        self.headers.forget()
        self._copied = self._body = None


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


def _shaped(data: bytes, shape: Shape, begin: int, end: int) -> Request | Response:
    """Return the message that has this shape and its body there."""
    headers = Headers.of_text(data[:begin], end - begin, shape)
    body = data[begin:end]
    if shape.method is None or shape.uri is None:
        return _made((shape.status_line or "").encode("latin-1"), headers, body)
    request = _new(Request)
    request.method = shape.method
    request.raw_uri = shape.uri.encode("ascii")
    request.version = "SIP/2.0"
    request.headers = headers
    request.raw_body = body
    request.flaw = request._start = request._uri = request._copied = request._body = None
    return request


def _made(start: bytes, headers: Headers, body: bytes, flaw: str | None = None) -> Response:
    """Return a response with this status line, which is one of ours or was checked."""
    response = _new(Response)
    known = _KNOWN_LINES.get(start)
    response.status_code, response.reason = known or (int(start[8:11]), text_of(start[12:]))
    response._start = start
    response.headers = headers
    response.raw_body = body
    response.flaw = flaw
    response._body = None
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
    return _made(start, headers, body, flaw)


def _is_status_line(start: bytes) -> bool:
    # RFC 3261 §7.2: exactly three digits; more of them must not wrap round (RFC 4475 §3.1.2.19).
    code, space = start[8:11], start[11:12]
    return code.isdigit() and len(code) == 3 and b"1" <= code < b"7" and space in (b" ", b"")
