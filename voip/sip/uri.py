"""URIs in SIP: `sip:` and `sips:` (RFC 3261 §19.1), `tel:` (RFC 3966), and any other, kept opaque.

A URI keeps the text it came as: escapes are decoded once, at use, and never written back, so that
`%0d%0a` in a user part never becomes CR LF in any output.
"""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias

from voip.errors import ParseError
from voip.logs import mask
from voip.sip.syntax import MAX_PARAMETERS, MAX_URI_BYTES

__all__ = ["URI", "OtherURI", "SipURI", "TelURI", "parse_uri"]

_SIP = re.compile(
    r"([Ss][Ii][Pp][Ss]?):"
    # An atomic group: when no "@" follows, what looked like a user is read again as the host.
    r"(?>((?:[A-Za-z0-9\-_.!~*'()&=+$,;?/#]++|%[0-9A-Fa-f]{2})++)"
    r"(?::((?:[A-Za-z0-9\-_.!~*'()&=+$,]++|%[0-9A-Fa-f]{2})*+))?@)?"
    r"([A-Za-z0-9._\-]++|\[[0-9A-Fa-f:.]++\])"
    r"(?::([0-9]{1,10}+))?"
    r"((?:;[A-Za-z0-9\-_.!~*'()\[\]/:&+$%=]++)*+)"
    r"(?:\?([A-Za-z0-9\-_.!~*'()\[\]/?:+$%=&;,@]++))?"
)
_TEL = re.compile(
    r"[Tt][Ee][Ll]:(\+?[0-9A-Fa-f*#\-.()]++)((?:;[A-Za-z0-9\-_.!~*'()\[\]/:&+$%=]++)*+)"
)
_OTHER = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):([!#-;=?-~]*+)")
_NO_PARAMETERS: Mapping[str, str | None] = MappingProxyType({})
_MEMORABLE_BYTES = 128
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_RESERVED = ";/?:@&=+$,"
_VISUAL_SEPARATORS = str.maketrans("", "", "-.()")

# RFC 3261 §19.1.4: these are equal or absent on both sides; others count where both have them.
_DECISIVE = ("transport", "user", "ttl", "method", "maddr")
_USER_SAFE = "-_.!~*'()&=+$,;?/"
_PARAMETER_SAFE = "-_.!~*'()[]/:&+$"
_HEADER_SAFE = "-_.!~*'()[]/?:+$"


def _ascii(data: bytes | str) -> str:
    """Return the text of a URI, which is short and ASCII."""
    if len(data) > MAX_URI_BYTES:
        raise ParseError("URI too long", data)
    if isinstance(data, str):
        if not data.isascii():
            raise ParseError("URI is not ASCII", data)
        return data
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise ParseError("URI is not ASCII", data) from None


def _parameters(text: str) -> dict[str, str | None]:
    """Return URI parameters, unescaped once (RFC 3261 §19.1.1).

    Deviation: "any given parameter-name MUST NOT appear more than once", but baresip puts the
    transport of its account behind the same one in what was dialled. Saying the same twice cannot
    be misread; saying two things is refused.
    """
    parameters: dict[str, str | None] = {}
    if text.count(";") > MAX_PARAMETERS:
        raise ParseError("too many URI parameters", text)
    for piece in text.split(";")[1:]:
        name, equals, value = piece.partition("=")
        name = urllib.parse.unquote(name).lower() if "%" in name else name.lower()
        if "%" in value:
            value = urllib.parse.unquote(value)
        said = value if equals else None
        if not name or parameters.setdefault(name, said) != said:
            raise ParseError("empty or contradictory URI parameter", text)
    return parameters


def _join(parameters: Mapping[str, str | None]) -> str:
    return "".join(
        f";{urllib.parse.quote(name, _PARAMETER_SAFE)}"
        + ("" if value is None else f"={urllib.parse.quote(value, _PARAMETER_SAFE)}")
        for name, value in parameters.items()
    )


class _Text:
    """What every URI is: a piece of text that compares as such."""

    __slots__ = ("_text", "scheme")
    _text: str
    scheme: str

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        # Numbers and passwords end up in logs by reprs; `str` has the whole of it.
        return f"{type(self).__name__}({f'{self.scheme}:{mask(self._text)}'!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Text) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class SipURI(_Text):
    """A `sip:` or `sips:` URI.

    Equality is that of the text; `matches` compares by the rules of RFC 3261 §19.1.4.

    Attributes:
        scheme: "sip" or "sips".
        host: a name, or an address literal without brackets.
        port: None when the URI names none.
        raw_user: the user part as it came, escapes included; None when there is none.
        parameters: the URI parameters, names in lower case, values decoded once.
    """

    __slots__ = (
        "_raw_headers",
        "_raw_parameters",
        "_raw_password",
        "host",
        "parameters",
        "port",
        "raw_user",
    )
    host: str
    port: int | None
    raw_user: str | None
    parameters: Mapping[str, str | None]

    def __init__(self, text: bytes | str) -> None:
        """Read a URI.

        Raises:
            ParseError: it is none, is longer than 2 KiB, or holds something that is not ASCII.
        """
        text = _ascii(text)
        match = _SIP.fullmatch(text)
        if match is None:
            raise ParseError("not a SIP URI", text)
        scheme, self.raw_user, self._raw_password, host, port, tail, self._raw_headers = (
            match.groups()
        )
        self._text = text
        self.scheme = "sip" if scheme == "sip" else scheme.lower()
        if host[0] == "[":
            host = host[1:-1]
            try:
                ipaddress.IPv6Address(host)
            except ValueError:
                raise ParseError("bad IPv6 address", text) from None
        self.host = host
        self.port = None
        if port is not None:
            self.port = int(port)
            if not 0 < self.port <= 65535:
                raise ParseError("port out of range", text)
        self._raw_parameters = tail
        self.parameters = MappingProxyType(_parameters(tail)) if tail else _NO_PARAMETERS

    @classmethod
    def parse(cls, text: bytes | str) -> SipURI:
        """Return the URI that `text` is.

        Raises:
            ParseError: as the constructor.
        """
        return cls(text)

    @classmethod
    def build(
        cls,
        user: str | None,
        host: str,
        port: int | None = None,
        *,
        scheme: str = "sip",
        parameters: Mapping[str, str | None] | None = None,
    ) -> SipURI:
        """Return a URI from plain, unescaped parts; `parse(build(user)).user == user` for any text.

        Raises:
            ValueError: (a ParseError) a host or port that cannot be.
        """
        # "#" and ":" and "@" and "%" are escaped, so that a form field can add no second part.
        # A lone surrogate has no UTF-8: UnicodeEncodeError is a ValueError too.
        name = urllib.parse.quote(user, _USER_SAFE) + "@" if user else ""
        literal = f"[{host}]" if ":" in host and not host.startswith("[") else host
        where = literal if port is None else f"{literal}:{port}"
        uri = cls(f"{scheme}:{name}{where}{_join(parameters or {})}")
        if uri.host != literal.strip("[]") or uri.port != port:
            raise ParseError("not a host", host)
        return uri

    def with_parameters(self, **parameters: str | None) -> SipURI:
        """Return a copy with these parameters added or replaced."""
        headers = "" if self._raw_headers is None else f"?{self._raw_headers}"
        bare = self._text.removesuffix(headers)
        bare = bare.removesuffix(self._raw_parameters)
        merged = {**self.parameters, **parameters}
        return SipURI(bare + _join(merged) + headers)

    def with_headers(self, headers: Iterable[tuple[str, str]]) -> SipURI:
        """Return a copy with these header fields and no others; none at all removes them."""
        pairs = "&".join(
            f"{urllib.parse.quote(name, _HEADER_SAFE)}={urllib.parse.quote(value, _HEADER_SAFE)}"
            for name, value in headers
        )
        bare = self._text
        if self._raw_headers is not None:
            bare = bare.removesuffix("?" + self._raw_headers)
        return SipURI(f"{bare}?{pairs}" if pairs else bare)

    @property
    def user(self) -> str | None:
        """The user part, decoded once; None when there is none."""
        user = self.raw_user
        return urllib.parse.unquote(user) if user is not None and "%" in user else user

    @property
    def password(self) -> str | None:
        """The password, decoded once; None when there is none (there should be none)."""
        password = self._raw_password
        return None if password is None else urllib.parse.unquote(password)

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The header fields of the URI, decoded once; they are data, nobody applies them."""
        if self._raw_headers is None:
            return ()
        pairs = (piece.partition("=") for piece in self._raw_headers.split("&"))
        unquote = urllib.parse.unquote
        return tuple((unquote(name), unquote(value)) for name, _, value in pairs if name)

    @property
    def secure(self) -> bool:
        """Whether this is a `sips:` URI."""
        return self.scheme == "sips"

    @property
    def transport(self) -> str | None:
        """The `transport` parameter in lower case."""
        value = self.parameters.get("transport")
        return None if value is None else value.lower()

    @property
    def aor(self) -> str:
        """The address of record: scheme, user and host alone (RFC 3261 §10.3)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = "" if self.raw_user is None else f"{self.raw_user}@"
        return f"{self.scheme}:{user}{host.lower()}"

    def matches(self, other: object) -> bool:
        """Tell whether both name the same resource (RFC 3261 §19.1.4)."""
        if not isinstance(other, SipURI) or self.scheme != other.scheme:
            return False
        if self.port != other.port or _same(self.raw_user) != _same(other.raw_user):
            return False
        if _same(self._raw_password) != _same(other._raw_password):
            return False
        if _host_key(self.host) != _host_key(other.host):
            return False
        ours, theirs = _fold(self.parameters), _fold(other.parameters)
        if any(ours.get(name) != theirs.get(name) for name in _DECISIVE):
            return False
        if any(ours[name] != theirs[name] for name in ours.keys() & theirs.keys()):
            return False
        return sorted(_folded(self.headers)) == sorted(_folded(other.headers))


def _same(raw: str | None) -> str | None:
    """Return a user part or password in the one spelling under which it is compared.

    RFC 3261 §19.1.4: a character equals its escape unless it is reserved.
    """
    if raw is None or "%" not in raw:
        return raw
    pieces = _ESCAPE.split(raw)
    for position in range(1, len(pieces), 2):
        character = chr(int(pieces[position], 16))
        unreserved = character not in _RESERVED and character != "%" and character.isascii()
        pieces[position] = character if unreserved else f"%{pieces[position].upper()}"
    return "".join(pieces)


def _host_key(host: str) -> str:
    return str(ipaddress.IPv6Address(host)) if ":" in host else host.lower()


def _fold(parameters: Mapping[str, str | None]) -> dict[str, str | None]:
    return {name: value.lower() if value else value for name, value in parameters.items()}


def _folded(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers]


class TelURI(_Text):
    """A `tel:` URI (RFC 3966).

    Attributes:
        number: digits without visual separators, with the leading + of a global number.
        parameters: `phone-context`, `ext` and the like, names in lower case.
    """

    __slots__ = ("number", "parameters")
    number: str
    parameters: Mapping[str, str | None]

    def __init__(self, text: bytes | str) -> None:
        """Read a URI.

        Raises:
            ParseError: it is none.
        """
        text = _ascii(text)
        match = _TEL.fullmatch(text)
        if match is None:
            raise ParseError("not a tel URI", text)
        self._text = text
        self.scheme = "tel"
        self.number = match[1].translate(_VISUAL_SEPARATORS)
        if not self.number.strip("+"):
            raise ParseError("no number in a tel URI", text)
        self.parameters = MappingProxyType(_parameters(match[2]))

    @property
    def user(self) -> str:
        """The number: what a SIP URI would carry as its user."""
        return self.number

    @property
    def host(self) -> str:
        """Nothing: a number lives nowhere."""
        return ""


class OtherURI(_Text):
    """A URI of a scheme that we do not serve, or the `*` of a Contact; kept, never followed.

    Attributes:
        opaque: all that follows the scheme.
    """

    __slots__ = ("opaque",)
    opaque: str

    def __init__(self, scheme: str, opaque: str) -> None:
        self.scheme = scheme.lower()
        self.opaque = opaque
        self._text = f"{scheme}:{opaque}" if scheme else opaque


URI: TypeAlias = SipURI | TelURI | OtherURI


def parse_uri(data: bytes | str) -> URI:
    """Return the URI that `data` is, by its scheme.

    The same few URIs come again and again, and reading one costs as much as all the rest of an
    address, so short ones are remembered: URIs are never changed, and may be shared.

    Raises:
        ParseError: it is none.
    """
    return _remembered(data) if len(data) <= _MEMORABLE_BYTES else _parse_uri(data)


def _parse_uri(data: bytes | str) -> URI:
    text = _ascii(data)
    if text[:4] == "sip:":
        return SipURI(text)
    scheme = text.partition(":")[0].lower()
    if scheme in ("sip", "sips"):
        return SipURI(text)
    if scheme == "tel":
        return TelURI(text)
    match = _OTHER.fullmatch(text)
    if match is None:
        raise ParseError("not a URI", text)
    return OtherURI(match[1], match[2])


_remembered = lru_cache(maxsize=1024)(_parse_uri)
