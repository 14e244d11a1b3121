"""Header fields: an ordered, case-insensitive multimap on raw bytes (RFC 3261 §7.3).

The lines are kept as they came (unfolded) and an index maps each canonical name to its line or
lines; values are cut out when somebody asks. So a message costs one pass, is small while it is
kept, and its lines go into a response as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from voip.errors import ParseError
from voip.sip.syntax import check_value, is_token, split_list, text_of
from voip.sip.types import CSeq, NameAddress, Via

__all__ = ["COMMA_LISTS", "Headers", "canonical_name"]

# RFC 3261 §7.3.3, §20; RFC 3265, 3515, 3841, 3892, 4028, 4474: the one-letter names.
_COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_USUAL = """
    Accept Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authorization Call-ID
    Call-Info Contact Content-Disposition Content-Encoding Content-Language Content-Length
    Content-Type CSeq Date Diversion Error-Info Event Expires From History-Info Identity
    In-Reply-To Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info
    P-Asserted-Identity P-Called-Party-ID P-Preferred-Identity Path Priority Privacy
    Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Refer-To
    Referred-By Remote-Party-ID Replaces Reply-To Require Retry-After Route RSeq Server
    Service-Route Session-Expires Session-ID Subject Subscription-State Supported Timestamp To
    Unsupported User-Agent Via Warning WWW-Authenticate
""".split()  # noqa: SIM905

# Spellings that real stacks use, so that the usual name costs one look-up and no folding.
_KEYS: dict[bytes | str, str] = {}
for _name in (*_USUAL, *_COMPACT):
    _key = _COMPACT.get(_name.lower(), _name.lower())
    for _spelling in (_name, _name.lower(), _name.upper()):
        _KEYS[_spelling] = _KEYS[_spelling.encode("ascii")] = _key
key_of = _KEYS.get

# RFC 3261 §20: fields whose value is a comma list. Digest challenges have a grammar of their own.
COMMA_LISTS = frozenset(
    """
    accept accept-contact accept-encoding accept-language alert-info allow allow-events
    call-info contact content-encoding content-language diversion error-info history-info
    in-reply-to p-asserted-identity p-preferred-identity path proxy-require reason record-route
    reject-contact require route service-route supported unsupported via warning
    """.split()  # noqa: SIM905
)


def canonical_name(name: bytes | str) -> str | None:
    """Return the lower-case long form of a header name; None when it is no token.

    RFC 3261 §7.3.1 lets white space stand before the colon, so it goes before names are compared:
    `X-Bypass :` is `x-bypass`.
    """
    key = _KEYS.get(name)
    if key is not None:
        return key
    raw = name.encode("utf-8", "replace") if isinstance(name, str) else name
    raw = raw.rstrip(b" \t")
    if not is_token(raw):
        return None
    folded = raw.decode("ascii").lower()
    return _KEYS.get(folded, folded)


def index_lines(lines: Sequence[bytes]) -> tuple[dict[str, bytes | list[bytes]], bool]:
    """Return what maps names to lines, and whether every line is a header line.

    A line that has no colon or no token before it is in the index under no name.
    """
    index: dict[str, bytes | list[bytes]] = {}
    sound = True
    for line in lines:
        name, colon, _ = line.partition(b":")
        key = key_of(name) or canonical_name(name)
        if key is None or not colon:
            sound = False
            continue
        held = index.get(key)
        if held is None:
            index[key] = line
        elif isinstance(held, list):
            held.append(line)
        else:
            index[key] = [held, line]
    return index, sound


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].strip(b" \t")


class Headers:
    """The header fields of a message.

    Names compare without case and compact forms count as their long ones. Setters refuse a value
    that holds a control character and a name that is no token with `ValueError`; nothing is ever
    stripped silently.
    """

    __slots__ = ("_index", "_lines", "contacts", "core")
    _lines: list[bytes]
    _index: dict[str, bytes | list[bytes]] | None
    # What the message typed of these lines; forgotten when a line changes.
    core: tuple[list[Via], NameAddress, NameAddress, str, CSeq] | None
    contacts: list[NameAddress] | None

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        """Make headers of (name, value) pairs.

        Raises:
            ValueError: as `add`.
        """
        self._lines = [_line(name, value) for name, value in items]
        self._changed()

    @classmethod
    def of_lines(
        cls, lines: list[bytes], index: dict[str, bytes | list[bytes]] | None = None
    ) -> Headers:
        """Return headers made of whole lines that were checked before."""
        self = cls.__new__(cls)
        self._lines = lines
        self._index = index
        self.core = self.contacts = None
        return self

    def _changed(self) -> None:
        self._index = self.core = self.contacts = None

    def forget(self) -> None:
        """Let go of the index and of what was typed; both are made again when somebody asks."""
        self._changed()

    @property
    def lines(self) -> Sequence[bytes]:
        """The header lines, without line ends; not to be changed."""
        return self._lines

    @property
    def index(self) -> dict[str, bytes | list[bytes]]:
        """The lines by canonical name: one line, or the list of them; not to be changed."""
        if self._index is None:
            self._index = index_lines(self._lines)[0]
        return self._index

    def _found(self, name: str) -> bytes | list[bytes] | None:
        key = _KEYS.get(name) or canonical_name(name)
        return None if key is None else self.index.get(key)

    def one(self, key: str) -> bytes:
        """Return the value of a header that must stand exactly once, by its canonical name.

        Raises:
            ParseError: it is missing, empty or repeated.
        """
        line = (self._index or self.index).get(key)
        if type(line) is bytes:
            value = line.partition(b":")[2].strip(b" \t")
            if value:
                return value
            raise ParseError(f"{key} is empty")
        if line is None:
            raise ParseError(f"{key} is missing")
        raise ParseError(f"{key} is repeated", key)

    def raw(self, name: str) -> bytes | None:
        """Return the value of the first line with this name, None when there is none."""
        held = self._found(name)
        if held is None:
            return None
        return _value(held[0] if isinstance(held, list) else held)

    def raws(self, name: str) -> list[bytes]:
        """Return the values of all lines with this name, not split at commas."""
        held = self._found(name)
        if held is None:
            return []
        return [_value(line) for line in held] if isinstance(held, list) else [_value(held)]

    def values(self, name: str) -> list[bytes]:
        """Return the elements of a header that is a comma list, over all its lines, else its lines.

        Raises:
            ParseError: an unclosed quote or bracket, or an empty element.
        """
        raws = self.raws(name)
        if canonical_name(name) not in COMMA_LISTS:
            return raws
        # RFC 3261 §20: some lists may be empty ("Supported:", "Accept:").
        return [element for raw in raws if raw for element in split_list(raw)]

    def __getitem__(self, name: str) -> str:
        value = self.raw(name)
        if value is None:
            raise KeyError(name)
        return text_of(value)

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of the first line with this name, `default` when there is none."""
        value = self.raw(name)
        return default if value is None else text_of(value)

    def get_all(self, name: str) -> list[str]:
        """Return the values of all lines with this name, in order."""
        return [text_of(value) for value in self.raws(name)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._found(name) is not None

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items())

    def items(self) -> list[tuple[str, str]]:
        """Return (name as it stands, value) of every line, in order."""
        return [
            (text_of(line.partition(b":")[0].rstrip(b" \t")), text_of(_value(line)))
            for line in self._lines
        ]

    def _key(self) -> list[tuple[str | None, bytes]]:
        return [(canonical_name(line.partition(b":")[0]), _value(line)) for line in self._lines]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._key() == other._key()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({[canonical_name(line.partition(b':')[0]) for line in self._lines]!r})"

    def copy(self) -> Headers:
        """Return headers that can be changed without touching these."""
        return Headers.of_lines(list(self._lines))

    def add(self, name: str, value: str | bytes) -> None:
        """Append a line.

        Raises:
            ValueError: the name is no token, or the value holds a control character.
        """
        self._lines.append(_line(name, value))
        self._changed()

    def insert(self, position: int, name: str, value: str | bytes) -> None:
        """Put a line before the line at `position` (0: a Via goes on top, RFC 3261 §16.6).

        Raises:
            ValueError: as `add`.
        """
        self._lines.insert(position, _line(name, value))
        self._changed()

    def set(self, name: str, value: str | bytes) -> None:
        """Give a header this one value, in the place of its first line, else at the end.

        Raises:
            ValueError: as `add`.
        """
        line = _line(name, value)
        at = self._positions(name)
        if at:
            self._lines[at[0]] = line
            for position in reversed(at[1:]):
                del self._lines[position]
        else:
            self._lines.append(line)
        self._changed()

    def restate(self, key: str, line: bytes) -> None:
        """Put a whole line in the place of the only one of its name, by its canonical name.

        What was typed of the headers stays: the caller has changed the typed value alike.
        """
        index, lines = self.index, self._lines
        lines[lines.index(index[key])] = line  # type: ignore[arg-type]
        index[key] = line

    def remove(self, name: str) -> None:
        """Take away every line with this name; none is fine."""
        for position in reversed(self._positions(name)):
            del self._lines[position]
        self._changed()

    def _positions(self, name: str) -> list[int]:
        key = canonical_name(name)
        if key is None:
            return []
        names = (canonical_name(line.partition(b":")[0]) for line in self._lines)
        return [position for position, other in enumerate(names) if other == key]


@lru_cache(maxsize=256)
def response_line(name: str, value: str) -> bytes:
    """Return the bytes of a header line that stands in many responses: Contact, Allow, Accept.

    Raises:
        ValueError: as `Headers.add`.
    """
    return _line(name, value)


def _line(name: str, value: str | bytes) -> bytes:
    """Return the bytes of a header line, refusing whatever would not stay one line."""
    if isinstance(value, bytes):
        check_value(value.decode("latin-1"))
        data = value
    else:
        data = check_value(value)
    raw = name.encode("utf-8")
    if not is_token(raw):
        raise ValueError(f"not a header name: {name[:64]!r}")
    return raw + b": " + data
