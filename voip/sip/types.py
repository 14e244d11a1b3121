"""Typed values of SIP headers: addresses, Via, CSeq, statuses.

Each is parser, printer and value together. What was parsed keeps its text, so that printing gives
back what came; the URI inside an address is read when somebody asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from voip.errors import ParseError
from voip.sip.status import METHODS, DigestAlgorithm, DigestQoP, Status
from voip.sip.syntax import (
    TOKEN,
    format_parameters,
    parse_parameters,
    parse_uint,
    quote,
    text_of,
    unquote,
)
from voip.sip.uri import URI, OtherURI, SipURI, TelURI, parse_uri

__all__ = [
    "METHODS",
    "URI",
    "CSeq",
    "CallerID",
    "DigestAlgorithm",
    "DigestQoP",
    "NameAddress",
    "OtherURI",
    "SipURI",
    "Status",
    "TelURI",
    "Via",
    "parse_uint",
    "parse_uri",
    "read_address",
    "read_via",
]

# These two read a whole header line, whose name was looked at before; a value alone is read as a
# line without a name. So the hot path makes no copy of the value.
_VIA = re.compile(
    rb"[^:]*+:[ \t]*+[Ss][Ii][Pp][ \t]*+/[ \t]*+2\.0[ \t]*+/[ \t]*+([A-Za-z0-9.!%*_+`'~-]++)[ \t]++"
    rb"([A-Za-z0-9._-]++|\[[0-9A-Fa-f:.]++\])"
    rb"(?:[ \t]*+:[ \t]*+([0-9]{1,10}+))?"
    # The usual parameters in their usual order need no second reading.
    rb"(?:;branch=([A-Za-z0-9.!%*_+`'~-]++)(;rport(?:=([0-9]{1,5}+);received=([0-9.]++))?)?"
    rb"|[ \t]*+(;.*)?)",
    re.DOTALL,
)
_NAME_ADDRESS = re.compile(
    rb"[^:]*+:[ \t]*+"
    rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"|[A-Za-z0-9.!%*_+`\'~ \t\x80-\xff-]*+)'
    # Nearly always the tag is all that follows.
    rb"[ \t]*+<([^<>\" \t]++)>(?:;tag=([A-Za-z0-9.!%*_+`'~-]++)|[ \t]*+(;.*)?)",
    re.DOTALL,
)
# RFC 3261 §20.10: without brackets the URI ends at the first semicolon and holds no comma or "?".
_BARE_ADDRESS = re.compile(rb'[^:]*+:[ \t]*+([^<>" \t;,?]++)[ \t]*+(;.*)?', re.DOTALL)
_TRANSPORTS = {name.encode("ascii"): name for name in ("UDP", "TCP", "TLS", "WS", "WSS", "SCTP")}
_new = object.__new__
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f]")


class CSeq(NamedTuple):
    """The sequence number of a request and its method (RFC 3261 §20.16)."""

    number: int
    method: str

    @classmethod
    def parse(cls, value: bytes) -> CSeq:
        """Return the value of a CSeq header.

        Raises:
            ParseError: no number below 2**31 (RFC 3261 §8.1.1.5), or no method.
        """
        digits, _, method = value.partition(b" ")
        name = METHODS.get(method)
        if name is not None and digits.isdigit() and len(digits) < 10:
            # Nine digits are always below 2**31; tuple's own constructor takes half the time.
            return tuple.__new__(cls, (int(digits), name))
        digits, _, method = value.replace(b"\t", b" ").partition(b" ")
        method = method.strip(b" ")
        if not method or method.translate(None, TOKEN):
            raise ParseError("bad CSeq", value)
        return cls(parse_uint(digits, maximum=2**31 - 1), method.decode("ascii"))

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


class NameAddress:
    """An address with an optional display name and header parameters (RFC 3261 §20.10).

    Attributes:
        parameters: the header parameters, names in lower case, values unquoted.
    """

    __slots__ = ("_display", "_raw_uri", "_uri", "parameters")
    _uri: URI | None
    _raw_uri: bytes
    _display: bytes
    parameters: dict[str, str | None]

    def __init__(
        self,
        uri: URI | str,
        display_name: str = "",
        parameters: Mapping[str, str | None] | None = None,
    ) -> None:
        """Make an address.

        Raises:
            ValueError: a control character in the display name; a bad URI (a ParseError).
        """
        self._uri = parse_uri(uri) if isinstance(uri, str) else uri
        self._raw_uri = str(self._uri).encode("ascii")
        self._display = quote(display_name).encode("utf-8") if display_name else b""
        self.parameters = dict(parameters or {})

    @classmethod
    def parse(cls, value: bytes | str) -> NameAddress:
        """Return the address in one header value; its URI is read on first use.

        Raises:
            ParseError: unbalanced quotes or brackets, white space in the brackets, characters
                that a display name must quote, or bad parameters.
        """
        data = value.encode("utf-8", "replace") if isinstance(value, str) else value
        return read_address(b":" + data)

    @property
    def uri(self) -> URI:
        """The address itself.

        Raises:
            ParseError: what stands there is no URI.
        """
        if self._uri is None:
            self._uri = parse_uri(self._raw_uri)
        return self._uri

    @property
    def display_name(self) -> str:
        """The name to show, "" when there is none; control characters are left out."""
        text = self._display.decode("utf-8", "replace").replace("\t", " ")
        if text[:1] == '"':
            text = unquote(text)
        return _UNPRINTABLE.sub("", text).strip(" ")

    @property
    def tag(self) -> str | None:
        """The tag of a From or To."""
        return self.parameters.get("tag")

    def with_tag(self, tag: str | None) -> NameAddress:
        """Return a copy with this tag, or with none."""
        other = NameAddress.__new__(NameAddress)
        other._uri, other._raw_uri, other._display = self._uri, self._raw_uri, self._display
        other.parameters = {**self.parameters, "tag": tag}
        if tag is None:
            del other.parameters["tag"]
        return other

    def __str__(self) -> str:
        name = self.display_name
        uri = self._raw_uri.decode("utf-8", "replace")
        if uri == "*":
            return uri
        shown = f"{quote(name)} " if name else ""
        return f"{shown}<{uri}>{format_parameters(self.parameters)}"

    def __repr__(self) -> str:
        try:
            return f"NameAddress({self.uri!r})"
        except ParseError:  # what cannot be read is shown as such: a repr never raises
            return "NameAddress(<malformed>)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NameAddress) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


class Via:
    """One hop of the way a response goes back (RFC 3261 §20.42).

    Attributes:
        transport: upper case, as it stood ("UDP", "TLS", "UNKNOWN" …).
        host: a name, or an address literal without brackets.
        port: None when there is none.
        parameters: names in lower case; a bare `rport` has the value None.
    """

    __slots__ = ("host", "parameters", "port", "transport")
    transport: str
    host: str
    port: int | None
    parameters: dict[str, str | None]

    def __init__(
        self,
        transport: str,
        host: str,
        port: int | None = None,
        parameters: Mapping[str, str | None] | None = None,
    ) -> None:
        self.transport = transport.upper()
        self.host = host
        self.port = port
        self.parameters = dict(parameters or {})

    @classmethod
    def parse(cls, value: bytes | str) -> Via:
        """Return one Via element.

        Raises:
            ParseError: another protocol than SIP/2.0, a bad host, port or parameter, or an
                empty branch.
        """
        data = value.encode("utf-8", "replace") if isinstance(value, str) else value
        return read_via(b":" + data)

    @property
    def branch(self) -> str | None:
        """The transaction identifier; None from an RFC 2543 peer."""
        return self.parameters.get("branch")

    @property
    def received(self) -> str | None:
        """The address the request came from, without brackets (RFC 5118 §4.5 allows both forms)."""
        value = self.parameters.get("received")
        return None if value is None else value.strip("[]")

    @property
    def rport(self) -> int | None:
        """The port the request came from (RFC 3581); None when there is no number."""
        value = self.parameters.get("rport")
        try:
            return parse_uint(value.encode("utf-8", "replace"), maximum=65535) if value else None
        except ParseError:
            return None

    @property
    def wants_rport(self) -> bool:
        """Whether the sender asked for symmetric responses (RFC 3581 §3)."""
        return "rport" in self.parameters

    @property
    def sent_by(self) -> str:
        """Host and port as they stand in the header, in lower case."""
        host = f"[{self.host}]" if ":" in self.host else self.host.lower()
        return host if self.port is None else f"{host}:{self.port}"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = host if self.port is None else f"{host}:{self.port}"
        return f"SIP/2.0/{self.transport} {where}{format_parameters(self.parameters)}"

    def __repr__(self) -> str:
        return f"Via({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def read_address(line: bytes) -> NameAddress:
    """Return the address in a header line; `NameAddress.parse` reads a value alone.

    Raises:
        ParseError: as `NameAddress.parse`.
    """
    address = _new(NameAddress)
    match = _NAME_ADDRESS.fullmatch(line)
    if match is not None:
        address._display, address._raw_uri, tag, tail = match.groups()
        if tag is not None:
            address._uri = None
            address.parameters = {"tag": tag.decode("ascii")}
            return address
    else:
        match = _BARE_ADDRESS.fullmatch(line)
        if match is None:
            raise ParseError("not an address", line)
        address._raw_uri, tail = match.groups()
        address._display = b""
    address._uri = OtherURI("", "*") if address._raw_uri == b"*" else None
    address.parameters = parse_parameters(tail) if tail else {}
    if not address.parameters.get("tag", True):
        raise ParseError("empty tag", line)
    return address


def read_via(line: bytes) -> Via:
    """Return the Via in a header line that has one element; `Via.parse` reads an element alone.

    Raises:
        ParseError: as `Via.parse`.
    """
    match = _VIA.fullmatch(line)
    if match is None:
        raise ParseError("not a Via", line)
    transport, host, port, branch, symmetric, rport, received, tail = match.groups()
    via = _new(Via)
    via.transport = _TRANSPORTS.get(transport) or transport.decode("ascii").upper()
    via.host = host.decode("ascii").strip("[]")
    if port is None:
        via.port = None
    else:
        via.port = int(port)
        if not 0 < via.port <= 65535:
            raise ParseError("port out of range", line)
    if branch is None:
        via.parameters = parse_parameters(tail) if tail else {}
        if not via.parameters.get("branch", True):
            raise ParseError("empty branch", line)
    elif symmetric is None:
        via.parameters = {"branch": branch.decode("ascii")}
    elif rport is None:
        via.parameters = {"branch": branch.decode("ascii"), "rport": None}
    else:
        via.parameters = {
            "branch": branch.decode("ascii"),
            "rport": rport.decode("ascii"),
            "received": received.decode("ascii"),
        }
    return via


class CallerID(str):
    """A caller, as From names it: a plain str with its parts, and a repr that is safe to log.

    >>> CallerID('"Alice" <sip:+4930123456@example.com>;tag=8f3a')
    *******3456@example.com
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: bytes | str) -> CallerID:
        """Return the caller of a header value; anything is one, a bare number too."""
        return cls(text_of(value) if isinstance(value, bytes) else value)

    def _address(self) -> NameAddress | None:
        try:
            address = NameAddress.parse(self)
            address.uri  # noqa: B018 - read here, so that what is no URI counts as no address
        except ParseError:
            return None
        return address

    @property
    def user(self) -> str:
        """The user part, decoded; the whole text when it is no address."""
        address = self._address()
        if address is None:
            return str(self)
        return getattr(address.uri, "user", None) or ""

    @property
    def host(self) -> str:
        """The host, "" when there is none."""
        address = self._address()
        return "" if address is None else getattr(address.uri, "host", "")

    @property
    def display_name(self) -> str:
        """The name to show, "" when there is none."""
        address = self._address()
        return "" if address is None else address.display_name

    @property
    def tag(self) -> str | None:
        """The tag of the header."""
        address = self._address()
        return None if address is None else address.tag

    @property
    def masked(self) -> str:
        """The user with all but its last four characters starred, and the host."""
        user, host = self.user, self.host
        shown = "*" * (len(user) - 4) + user[-4:]
        shown = _UNPRINTABLE.sub("?", shown)
        return f"{shown}@{host}" if host else shown

    def __repr__(self) -> str:
        return self.masked
