"""The typed view of a message: what its header lines and its body mean.

Values are read on first use and kept with the headers, which forget them when a line changes.
"""

from __future__ import annotations

from functools import lru_cache

from voip.errors import ParseError
from voip.sdp.messages import SessionDescription
from voip.sip.headers import Headers
from voip.sip.shape import Shape, is_plain
from voip.sip.syntax import is_token, parse_uint, split_list
from voip.sip.types import CSeq, NameAddress, Via, read_address, read_via

__all__ = ["MAX_CONTACTS", "MAX_ROUTES", "MAX_VIAS", "TypedFields", "is_sound", "recorded_routes"]

MAX_VIAS = 70
MAX_CONTACTS = 32
MAX_ROUTES = 64

_PRINTABLE = bytes(range(0x21, 0x7F))
_SHORT_LINE = 128
_new = object.__new__
_tuple = tuple.__new__


class TypedFields:
    """Header fields and a body, as types.

    Each property raises `ParseError` with status 400 when its header is malformed, and those of
    mandatory headers when it is missing or stands more than once.
    """

    __slots__ = ("_body", "headers", "raw_body")
    headers: Headers
    raw_body: bytes
    _body: SessionDescription | None

    def _read_core(self) -> tuple[list[Via], NameAddress, NameAddress, str, CSeq] | None:
        """Type the headers that route a message, all at once: whoever needs one needs them all.

        None when anything about them is unusual or wrong; then each property finds out for itself.
        """
        headers = self.headers
        shape = headers.shape
        if shape is not None:
            headers.core = core = (
                [_shaped_via(shape, headers.top_via)],
                _shaped_address(shape.from_, shape.from_tag),
                _shaped_address(shape.to, shape.to_tag),
                shape.call_id,
                _tuple(CSeq, (int(shape.number), shape.method or shape.verb)),
            )
            return core
        index = headers.index
        try:
            via, from_, to = index["via"], index["from"], index["to"]
            call_id, cseq = index["call-id"], index["cseq"]
            usual = type(via) is bytes and b"," not in via
            vias = [read_via(via)] if usual else self._read_vias()  # type: ignore[arg-type]
            if type(from_) is bytes and type(to) is bytes and type(call_id) is bytes:
                word = call_id.partition(b":")[2].strip(b" \t")
                if type(cseq) is bytes and word and not word.translate(None, _PRINTABLE):
                    headers.core = core = (
                        vias,
                        read_address(from_),
                        read_address(to),
                        word.decode("ascii"),
                        CSeq.parse(cseq.partition(b":")[2].strip(b" \t")),
                    )
                    return core
        except (KeyError, ParseError):
            pass
        return None

    @property
    def has_core(self) -> bool:
        """Whether Via, From, To, Call-ID and CSeq stand as usual and none of them raises."""
        return (self.headers.core or self._read_core()) is not None

    @property
    def routing(self) -> tuple[str, str, str, int]:
        """Call-ID, tag of From, tag of To ("" for none) and number of CSeq, in one go.

        Raises:
            ParseError: as each of them.
        """
        shape = self.headers.shape
        if shape is not None:
            return (shape.call_id, shape.from_tag, shape.to_tag or "", int(shape.number))
        core = self.headers.core or self._read_core()
        if core is None:
            return (self.call_id, self.from_.tag or "", self.to.tag or "", self.cseq.number)
        _, from_, to, call_id, cseq = core
        get = from_.parameters.get
        return (call_id, get("tag") or "", to.parameters.get("tag") or "", cseq[0])

    def _read_vias(self) -> list[Via]:
        values = self.headers.values("via")
        if not values:
            raise ParseError("via is missing")
        if len(values) > MAX_VIAS:
            raise ParseError("too many Via")
        return [Via.parse(value) for value in values]

    @property
    def via(self) -> Via:
        """The top Via.

        Raises:
            ParseError: there is none, or any Via is malformed.
        """
        core = self.headers.core or self._read_core()
        return core[0][0] if core is not None else self._read_vias()[0]

    @property
    def vias(self) -> list[Via]:
        """All Via elements, the top one first.

        Raises:
            ParseError: there is none, there are more than 70, or one is malformed.
        """
        core = self.headers.core or self._read_core()
        if core is None:
            return self._read_vias()
        vias, shape = core[0], self.headers.shape
        if shape is not None and shape.more is not None and len(vias) == 1:
            vias += [
                read_via(b":" + value.encode("latin-1")) for value in shape.more.split("\r\nVia: ")
            ]
        return vias

    @property
    def from_(self) -> NameAddress:
        """The From header.

        Raises:
            ParseError: it is missing, repeated or malformed.
        """
        core = self.headers.core or self._read_core()
        return core[1] if core is not None else NameAddress.parse(self.headers.one("from"))

    @property
    def to(self) -> NameAddress:
        """The To header.

        Raises:
            ParseError: it is missing, repeated or malformed.
        """
        core = self.headers.core or self._read_core()
        return core[2] if core is not None else NameAddress.parse(self.headers.one("to"))

    @property
    def call_id(self) -> str:
        """The Call-ID.

        Raises:
            ParseError: it is missing, repeated, or not one ASCII word.
        """
        shape = self.headers.shape
        if shape is not None:
            return shape.call_id
        core = self.headers.core or self._read_core()
        return core[3] if core is not None else _word(self.headers.one("call-id"))

    @property
    def cseq(self) -> CSeq:
        """The CSeq.

        Raises:
            ParseError: it is missing, repeated or malformed.
        """
        core = self.headers.core or self._read_core()
        return core[4] if core is not None else CSeq.parse(self.headers.one("cseq"))

    def _addresses(self, name: str, most: int) -> list[NameAddress]:
        shape = self.headers.shape
        if shape is not None and name == "contact":
            value = shape.contact
            return [] if value is None else [read_address(b":" + value.encode("latin-1"))]
        line = self.headers.index.get(name)
        if line is None:
            return []
        if type(line) is bytes and b"," not in line:
            return [read_address(line)]
        values = self.headers.values(name)
        if len(values) > most:
            raise ParseError(f"too many addresses in {name}")
        return [NameAddress.parse(value) for value in values]

    @property
    def contacts(self) -> list[NameAddress]:
        """All Contact addresses.

        Raises:
            ParseError: one is malformed.
        """
        headers = self.headers
        if headers.contacts is None:
            headers.contacts = self._addresses("contact", MAX_CONTACTS)
        return headers.contacts

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
        return self._addresses("route", MAX_ROUTES)

    @property
    def record_routes(self) -> list[NameAddress]:
        """The Record-Route addresses, as they stand.

        Raises:
            ParseError: one is malformed.
        """
        return self._addresses("record-route", MAX_ROUTES)

    def _number(self, name: str, maximum: int) -> int | None:
        line = self.headers.index.get(name)
        if type(line) is bytes and len(line) <= _SHORT_LINE:
            return _read_number(line, maximum)
        return None if line is None else parse_uint(self.headers.one(name), maximum=maximum)

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
        shape = self.headers.shape
        if shape is not None:
            return None if shape.kind is None else shape.kind.lower()
        line = self.headers.index.get("content-type")
        if type(line) is bytes and len(line) <= _SHORT_LINE:
            return _read_type(line)
        return None if line is None else _media_type(self.headers.one("content-type"))

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


class _ShapedAddress(NameAddress):
    """The From or To of a shape: what else than the tag is asked for is cut out then."""

    __slots__ = ("_value",)
    _value: str

    @property
    def _display(self) -> bytes:  # type: ignore[override]
        return self._value.rpartition("<")[0].rstrip(" ").encode("latin-1")

    @property
    def _raw_uri(self) -> bytes:  # type: ignore[override]
        return self._value.rpartition("<")[2].partition(">")[0].encode("ascii")


def _shaped_address(value: str, tag: str | None) -> NameAddress:
    address = _new(_ShapedAddress)
    address._value = value
    address._uri = None
    address.parameters = {} if tag is None else {"tag": tag}
    return address


def _shaped_via(shape: Shape, value: str) -> Via:
    """Return the top Via of a shape, which has this value."""
    via = _new(Via)
    via.transport = value[8 : value.index(" ")]
    via.host = shape.host
    via.port = int(shape.port[1:]) if shape.port else None
    via.parameters = parameters = {}
    for piece in value.split(";")[1:]:
        name, equals, said = piece.partition("=")
        parameters[name] = said if equals else None
    return via


def recorded_routes(shape: Shape) -> list[bytes]:
    """Return the values of Record-Route in a shape, in order.

    Raises:
        ParseError: they are no list.
    """
    if shape.routes is None:
        return []
    # Each line by itself: a quote that is not closed must not reach into the next one.
    lines = (line.strip(" \t") for line in shape.routes.split("\r\nRecord-Route: "))
    return [route for line in lines for route in split_list(line.encode("latin-1"))]


def is_sound(shape: Shape) -> bool:
    """Tell whether what a shape has not looked at is well-formed too: lower Via, Record-Route."""
    if is_plain(shape):
        return True
    try:
        for value in [] if shape.more is None else shape.more.split("\r\nVia: "):
            if "," in value:
                return False
            read_via(b":" + value.encode("latin-1"))
        routes = recorded_routes(shape)
        for route in routes:
            NameAddress.parse(route).uri  # noqa: B018 - it may raise
    except ParseError:
        return False
    return len(routes) <= MAX_ROUTES


# A handful of numbers and types stand in nearly all messages; what is remembered is short.
@lru_cache(maxsize=512)
def _read_number(line: bytes, maximum: int) -> int:
    return parse_uint(line.partition(b":")[2].strip(b" \t"), maximum=maximum)


@lru_cache(maxsize=128)
def _read_type(line: bytes) -> str:
    return _media_type(line.partition(b":")[2].strip(b" \t"))


def _media_type(value: bytes) -> str:
    kind, slash, subtype = (part.strip(b" \t") for part in value.partition(b";")[0].partition(b"/"))
    if not slash or not is_token(kind) or not is_token(subtype):
        raise ParseError("bad Content-Type", value)
    return f"{kind.decode('ascii')}/{subtype.decode('ascii')}".lower()


def _word(value: bytes) -> str:
    """Return a Call-ID: one word of printable ASCII."""
    if not value or value.translate(None, _PRINTABLE):
        raise ParseError("bad Call-ID", value)
    return value.decode("ascii")
