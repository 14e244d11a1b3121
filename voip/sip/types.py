"""Typed values of SIP headers: addresses, Via, CSeq, statuses.

Each is parser, printer and value together. What was parsed keeps its text, so that printing gives
back what came; the URI inside an address is read when somebody asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from voip.errors import ParseError
from voip.sip.status import DigestAlgorithm, DigestQoP, Status
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
]

_VIA = re.compile(
    rb"[Ss][Ii][Pp][ \t]*+/[ \t]*+2\.0[ \t]*+/[ \t]*+([A-Za-z0-9.!%*_+`'~-]++)[ \t]++"
    rb"([A-Za-z0-9._-]++|\[[0-9A-Fa-f:.]++\])(?:[ \t]*+:[ \t]*+([0-9]{1,10}+))?[ \t]*+(;.*)?",
    re.DOTALL,
)
_NAME_ADDRESS = re.compile(
    rb"[ \t]*+"
    rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"|[A-Za-z0-9.!%*_+`\'~ \t\x80-\xff-]*+)'
    rb'[ \t]*+<([^<>" \t]++)>[ \t]*+(;.*)?',
    re.DOTALL,
)
# RFC 3261 §20.10: without brackets the URI ends at the first semicolon and holds no comma or "?".
_BARE_ADDRESS = re.compile(rb'[ \t]*+([^<>" \t;,?]++)[ \t]*+(;.*)?', re.DOTALL)
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
        number, _, method = value.replace(b"\t", b" ").partition(b" ")
        method = method.strip(b" ")
        if not method or method.translate(None, TOKEN):
            raise ParseError("bad CSeq", value)
        return cls(parse_uint(number, maximum=2**31 - 1), method.decode("ascii"))

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
        if isinstance(value, str):
            value = value.encode("utf-8", "replace")
        self = cls.__new__(cls)
        match = _NAME_ADDRESS.fullmatch(value)
        if match is not None:
            self._display, self._raw_uri, tail = match.groups()
        else:
            match = _BARE_ADDRESS.fullmatch(value)
            if match is None:
                raise ParseError("not an address", value)
            self._raw_uri, tail = match.groups()
            self._display = b""
        self._uri = OtherURI("", "*") if self._raw_uri == b"*" else None
        self.parameters = parse_parameters(tail) if tail else {}
        return self

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
        text = text_of(self._display)
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
        return f"NameAddress({str(self)!r})"

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
        if isinstance(value, str):
            value = value.encode("utf-8", "replace")
        match = _VIA.fullmatch(value)
        if match is None:
            raise ParseError("not a Via", value)
        transport, host, port, tail = match.groups()
        self = cls.__new__(cls)
        self.transport = transport.decode("ascii").upper()
        text = host.decode("ascii")
        self.host = text[1:-1] if text[0] == "[" else text
        self.port = None
        if port is not None:
            self.port = parse_uint(port, maximum=65535)
            if self.port == 0:
                raise ParseError("port out of range", value)
        self.parameters = parameters = parse_parameters(tail) if tail else {}
        if parameters.get("branch", "-") in ("", None):
            raise ParseError("empty branch", value)
        return self

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
