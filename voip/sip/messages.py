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
from voip.sip.headers import Headers, canonical_name, index_lines, usual_index
from voip.sip.status import Status
from voip.sip.syntax import TOKEN, check_value, is_token, parse_uint, text_of
from voip.sip.types import CSeq, NameAddress, Via
from voip.sip.uri import URI, parse_uri

__all__ = ["MAX_HEADERS", "MAX_LINE_BYTES", "Message", "Request", "Response"]

MAX_HEADERS = 256
MAX_LINE_BYTES = 8192
MAX_METHOD_BYTES = 64

# All that a header section holds but line ends: printable ASCII, tab, and UTF-8 (RFC 3261 §25.1).
_TEXT = bytes(code for code in range(256) if code >= 0x20 and code != 0x7F) + b"\t"
_CONTROLS = bytes(code for code in range(256) if code not in _TEXT and code not in b"\r\n")
_EMPTY_BODY = b"Content-Length: 0"
_STATUS_LINES = {
    int(status): f"SIP/2.0 {int(status)} {status.phrase}".encode("ascii") for status in Status
}
_CLASSES = {
    1: "Progress",
    2: "Success",
    3: "Redirection",
    4: "Client Error",
    5: "Server Error",
    6: "Global Failure",
}
_QUOTED_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_PAIR = re.compile(rb"\\[^\r\n]")
_QUESTION_MARKS = bytes(ord("?") if code in _CONTROLS + b"\r\n" else code for code in range(256))
_VERSION = re.compile(rb"SIP/[0-9]{1,3}\.[0-9]{1,3}")
_COPIED = ("via", "from", "to", "call-id", "cseq")
_PRINTABLE = bytes(range(0x21, 0x7F))
# RFC 3261 §12.1.1, RFC 6665 §4.4.1: responses to these may make a dialog: they repeat Record-Route.
_DIALOG_FORMING = ("INVITE", "SUBSCRIBE", "REFER")


class Message:
    """What requests and responses have in common.

    Attributes:
        headers: the header fields.
        raw_body: the body as bytes; set it through `body`, which keeps the headers in step.
        flaw: what is wrong with the message as a whole (control characters, a line that is no
            header, an end that is missing …), None for a sound one; the validator answers it 400.
    """

    __slots__ = (
        "_body",
        "_call_id",
        "_contacts",
        "_cseq",
        "_from",
        "_start",
        "_to",
        "_vias",
        "flaw",
        "headers",
        "raw_body",
    )
    headers: Headers
    raw_body: bytes
    flaw: str | None
    _start: bytes
    _vias: list[Via] | None
    _from: NameAddress | None
    _to: NameAddress | None
    _call_id: str | None
    _cseq: CSeq | None
    _contacts: list[NameAddress] | None
    _body: SessionDescription | None

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
        if data[:2] == b"\r\n":
            data = data.lstrip(b"\r\n")
        head, blank, body = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        flaw = None
        if len(head) > MAX_LINE_BYTES or len(lines) > MAX_HEADERS or not blank:
            lines, flaw = _bounded(lines, blank)
        # One pass in C: what is left of the head after all text is taken out must be its line ends.
        if head.translate(None, _TEXT) != b"\r\n" * head.count(b"\r\n"):
            lines, flaw = _without_controls(lines, flaw)
        start = lines.pop(0)
        index = usual_index(lines)
        if index is None:
            if b"\r\n " in head or b"\r\n\t" in head:
                lines = _unfolded(lines)
            index, sound = index_lines(lines)
            if not sound:
                flaw = flaw or "a line is no header"
        held = index.get("content-length")
        if held is None:
            body = b"" if stream else body
        elif body:
            body = _declared(held, body)
        headers = Headers.of_lines(lines, index)
        if start[:8] == b"SIP/2.0 ":
            return _response(start, headers, body, flaw)
        return _request(start, headers, body, flaw)

    def __bytes__(self) -> bytes:
        lines = self.headers.lines
        body = self.raw_body
        # RFC 3261 §20.14: what leaves here declares its true length.
        length = b"%d" % len(body)
        # What `respond` made says so in its last line, and needs no index.
        if lines and lines[-1] == b"Content-Length: " + length:
            return b"\r\n".join((self._start, *lines, b"", body))
        declared = self.headers.raws("content-length")
        if not declared:
            return b"\r\n".join((self._start, *lines, b"Content-Length: " + length, b"", body))
        if declared != [length]:
            headers = self.headers.copy()
            headers.set("Content-Length", length)
            lines = headers.lines
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
        self._vias = self._from = self._to = self._call_id = None
        self._cseq = self._contacts = self._body = None

    def _one(self, name: str) -> bytes:
        """Return the value of a header that must stand exactly once.

        Raises:
            ParseError: it is missing, empty or repeated.
        """
        line = self.headers.index.get(name)
        if line is None:
            raise ParseError(f"{name} is missing")
        if isinstance(line, list):
            raise ParseError(f"{name} is repeated", line[1])
        value = line.partition(b":")[2].strip(b" \t")
        if not value:
            raise ParseError(f"{name} is empty")
        return value

    @property
    def via(self) -> Via:
        """The top Via.

        Raises:
            ParseError: there is none, or any Via is malformed.
        """
        return self.vias[0]

    @property
    def vias(self) -> list[Via]:
        """All Via elements, the top one first.

        Raises:
            ParseError: there is none, or one is malformed.
        """
        if self._vias is None:
            line = self.headers.index.get("via")
            if type(line) is bytes and b"," not in line:
                self._vias = [Via.parse(line.partition(b":")[2].strip(b" \t"))]
            elif line is None:
                raise ParseError("via is missing")
            else:
                self._vias = [Via.parse(value) for value in self.headers.values("via")]
                if not self._vias:
                    raise ParseError("via is empty")
        return self._vias

    @property
    def from_(self) -> NameAddress:
        """The From header.

        Raises:
            ParseError: it is missing, repeated or malformed.
        """
        if self._from is None:
            self._from = _party(self._one("from"))
        return self._from

    @property
    def to(self) -> NameAddress:
        """The To header.

        Raises:
            ParseError: it is missing, repeated or malformed.
        """
        if self._to is None:
            self._to = _party(self._one("to"))
        return self._to

    @property
    def call_id(self) -> str:
        """The Call-ID.

        Raises:
            ParseError: it is missing, repeated, or not one ASCII word.
        """
        if self._call_id is None:
            value = self._one("call-id")
            if b" " in value or b"\t" in value or not value.isascii():
                raise ParseError("bad Call-ID", value)
            self._call_id = value.decode("ascii")
        return self._call_id

    @property
    def cseq(self) -> CSeq:
        """The CSeq.

        Raises:
            ParseError: it is missing, repeated or malformed.
        """
        if self._cseq is None:
            self._cseq = CSeq.parse(self._one("cseq"))
        return self._cseq

    def _addresses(self, name: str) -> list[NameAddress]:
        if name not in self.headers.index:
            return []
        return [NameAddress.parse(value) for value in self.headers.values(name)]

    @property
    def contacts(self) -> list[NameAddress]:
        """All Contact addresses.

        Raises:
            ParseError: one is malformed.
        """
        if self._contacts is None:
            self._contacts = self._addresses("contact")
        return self._contacts

    @property
    def contact(self) -> NameAddress | None:
        """The first Contact address, None when there is none.

        Raises:
            ParseError: one is malformed.
        """
        contacts = self.contacts
        return contacts[0] if contacts else None

    @property
    def routes(self) -> list[NameAddress]:
        """The Route addresses, the next hop first.

        Raises:
            ParseError: one is malformed.
        """
        return self._addresses("route")

    @property
    def record_routes(self) -> list[NameAddress]:
        """The Record-Route addresses, as they stand.

        Raises:
            ParseError: one is malformed.
        """
        return self._addresses("record-route")

    def _number(self, name: str, maximum: int) -> int | None:
        if name not in self.headers.index:
            return None
        return parse_uint(self._one(name), maximum=maximum)

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards, 0 to 255; None when there is none (RFC 2543 knew none).

        Raises:
            ParseError: it is repeated or no such number.
        """
        return self._number("max-forwards", 255)

    @property
    def expires(self) -> int | None:
        """Expires in seconds; None when there is none.

        Raises:
            ParseError: it is repeated or no number below 2**32 (RFC 3261 §20.19).
        """
        return self._number("expires", 2**32 - 1)

    @property
    def content_length(self) -> int | None:
        """Content-Length; None when there is none.

        Raises:
            ParseError: it is repeated or no number.
        """
        return self._number("content-length", 2**32 - 1)

    @property
    def content_type(self) -> str | None:
        """The type of the body: "type/subtype" in lower case, no parameters; None without one.

        Raises:
            ParseError: it is repeated or malformed.
        """
        if "content-type" not in self.headers.index:
            return None
        value = self._one("content-type").partition(b";")[0]
        kind, slash, subtype = (part.strip(b" \t") for part in value.partition(b"/"))
        if not slash or not is_token(kind) or not is_token(subtype):
            raise ParseError("bad Content-Type", value)
        return f"{kind.decode('ascii')}/{subtype.decode('ascii')}".lower()

    @property
    def body(self) -> SessionDescription | bytes | None:
        """The body: a session description when the type says so, else bytes; None when empty.

        Raises:
            ParseError: the session description or the type is malformed.
        """
        if not self.raw_body:
            return None
        if self._body is None:
            if self.content_type != "application/sdp":
                return self.raw_body
            self._body = SessionDescription.parse(self.raw_body)
        return self._body

    @body.setter
    def body(self, value: SessionDescription | bytes | None) -> None:
        data = b"" if value is None else bytes(value)
        self.raw_body = data
        self._body = value if isinstance(value, SessionDescription) else None
        if isinstance(value, SessionDescription):
            self.headers.set("Content-Type", "application/sdp")
        elif not data:
            self.headers.remove("Content-Type")
        self.headers.set("Content-Length", str(len(data)))


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
        start = _STATUS_LINES.get(status) if reason is None else None
        if start is None:
            start = _status_line(status, reason)
        copied = self._copied
        if copied is None:
            copied = self._copied = self._copies()
        lines = copied[0].copy()
        if to_tag is not None and copied[1] >= 0:
            if not is_token(to_tag.encode("utf-8")):
                raise ValueError(f"not a tag: {to_tag[:64]!r}")
            lines[copied[1]] += b";tag=" + to_tag.encode("ascii")
        if 100 < status < 300:
            lines += copied[2]
        if not headers and not body:
            lines.append(_EMPTY_BODY)
            return _made(start, status, Headers.of_lines(lines), b"")
        fields = Headers.of_lines(lines)
        for name, value in headers:
            if canonical_name(name) != "content-length":
                fields.add(name, value)
        data = bytes(body)
        if data:
            fields.add("Content-Type", content_type or "application/sdp")
        fields.add("Content-Length", b"%d" % len(data))
        return _made(start, status, fields, data)

    def _copies(self) -> tuple[list[bytes], int, list[bytes]]:
        """Return the lines every response repeats, where a tag is missing, and Record-Route."""
        index = self.headers.index
        copied: list[bytes] = []
        untagged = -1
        for name in _COPIED:
            held = index.get(name)
            if held is None:
                continue
            if name == "to" and not _has_tag(held[0] if isinstance(held, list) else held):
                untagged = len(copied)
            if isinstance(held, list):
                # RFC 3261 §8.2.6.2: all Via in order; of what may stand once, the first.
                copied += held if name == "via" else held[:1]
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
        start = _status_line(status_code, reason)
        self.status_code = int(status_code)
        self.reason = text_of(start[12:])
        self._fill(start, _headers(headers), raw_body, None)

    def __repr__(self) -> str:
        return f"<Response {self.status_code}>"


def _headers(headers: Headers | Iterable[tuple[str, str]]) -> Headers:
    return headers if isinstance(headers, Headers) else Headers(headers)


def _party(value: bytes) -> NameAddress:
    """Return a From or To, whose tag must not be empty."""
    address = NameAddress.parse(value)
    if address.parameters.get("tag", "-") in ("", None):
        raise ParseError("empty tag", value)
    return address


def _has_tag(line: bytes) -> bool:
    """Tell whether a To line has a tag, as well as that can be told of a malformed one."""
    try:
        return NameAddress.parse(line.partition(b":")[2].strip(b" \t")).tag is not None
    except ParseError:
        return b"tag" in line.lower()


def _status_line(status: int, reason: str | None) -> bytes:
    if not 100 <= status <= 699:
        raise ValueError(f"not a status: {status}")
    if reason is None:
        known = _STATUS_LINES.get(status)
        return known or f"SIP/2.0 {status} {_CLASSES[status // 100]}".encode("ascii")
    return b"SIP/2.0 %d " % status + check_value(reason)


def _made(start: bytes, status: int, headers: Headers, body: bytes) -> Response:
    response = Response.__new__(Response)
    response.status_code = int(status)
    response.reason = text_of(start[12:])
    response._fill(start, headers, body, None)
    return response


def _bounded(lines: list[bytes], blank: bytes) -> tuple[list[bytes], str | None]:
    """Hold the limits on the header section, and note what broke them."""
    flaw = None
    if not blank:
        flaw = "the headers do not end"
        while len(lines) > 1 and not lines[-1]:
            lines.pop()
    if len(lines) > MAX_HEADERS + 1:
        return lines[: MAX_HEADERS + 1], "too many headers"
    if max(map(len, lines)) > MAX_LINE_BYTES:
        flaw = "a line is too long"
    return lines, flaw


def _without_controls(lines: list[bytes], flaw: str | None) -> tuple[list[bytes], str | None]:
    """Replace control characters, which nothing that leaves here may repeat.

    A quoted pair may hold one (RFC 3261 §25.1; RFC 4475 §3.1.1.2), and stays.
    """
    clean = []
    for line in lines:
        if _controls_in(_QUOTED_STRING.sub(_pairs_out, line)):
            flaw = "a control character"
            line = line.translate(_QUESTION_MARKS)
        clean.append(line)
    return clean, flaw


def _controls_in(line: bytes) -> bool:
    return bool(line.translate(None, _TEXT))


def _pairs_out(match: re.Match[bytes]) -> bytes:
    return _PAIR.sub(b"", match[0])


def _unfolded(lines: list[bytes]) -> list[bytes]:
    """Join continuation lines with one space (RFC 3261 §7.3.1)."""
    groups: list[list[bytes]] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and groups:
            groups[-1].append(line.strip(b" \t"))
        else:
            groups.append([line])
    return [group[0] if len(group) == 1 else b" ".join(group) for group in groups]


def _declared(held: bytes | list[bytes], body: bytes) -> bytes:
    """Return as much of the body as Content-Length says; all of it where that makes no sense."""
    if isinstance(held, list):
        return body
    digits = held.partition(b":")[2].strip(b" \t")
    if not digits.isdigit() or len(digits) > 10:
        return body
    return body[: int(digits)]


def _request(start: bytes, headers: Headers, body: bytes, flaw: str | None) -> Request:
    parts = start.split(b" ")
    if len(parts) == 3:
        method, uri, version = parts
    else:
        method, _, rest = start.partition(b" ")
        at = rest.rfind(b"SIP/")
        uri, version = rest[: max(at, 0)].strip(b" "), rest[max(at, 0) :]
        flaw = flaw or "white space in the request line"
    if not method or method.translate(None, TOKEN) or len(method) > MAX_METHOD_BYTES:
        raise ParseError("not a SIP message", start, status=None)
    request = Request.__new__(Request)
    if version == b"SIP/2.0":
        request.version = "SIP/2.0"
    else:
        version = version.strip(b" ").upper()
        if not _VERSION.fullmatch(version):
            raise ParseError("not a SIP message", start, status=None)
        request.version = version.decode("ascii")
    request.method = method.decode("ascii")
    request.raw_uri = uri
    request._uri = None
    request._copied = None
    request._fill(start, headers, body, flaw)
    return request


def _response(start: bytes, headers: Headers, body: bytes, flaw: str | None) -> Response:
    # RFC 3261 §7.2: exactly three digits; more of them must not wrap round (RFC 4475 §3.1.2.19).
    code, space, reason = start[8:11], start[11:12], start[12:]
    if not code.isdigit() or len(code) != 3 or space not in (b" ", b"") or not b"1" <= code < b"7":
        raise ParseError("not a status line", start, status=None)
    response = Response.__new__(Response)
    response.status_code = int(code)
    response.reason = text_of(reason)
    response._fill(start, headers, body, flaw)
    return response
