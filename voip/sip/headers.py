"""Header fields: an ordered, case-insensitive multimap on raw bytes (RFC 3261 §7.3).

The lines are kept as they came (unfolded) and an index maps each canonical name to its line or
lines; values are cut out when somebody asks. So a message costs one pass, is small while it is
kept, and its lines go into a response as they are. Of a message that has a `Shape`, and of what we
answer, not even lines are made before somebody wants more than the shape tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from voip.errors import ParseError
from voip.sip.names import COMMA_LISTS, KEYS, canonical_name, key_of
from voip.sip.shape import Shape
from voip.sip.syntax import check_value, is_token, split_list, text_of
from voip.sip.types import CSeq, NameAddress, Via

__all__ = ["COMMA_LISTS", "Headers", "canonical_name", "indexed"]

# What a shape knows of a header that stands at most once, by its place.
_SHAPED = {
    key: Shape._fields.index(field)
    for key, field in (
        ("from", "from_"),
        ("to", "to"),
        ("call-id", "call_id"),
        ("contact", "contact"),
        ("content-length", "length"),
        ("content-type", "kind"),
    )
}


def indexed(lines: Sequence[bytes]) -> dict[str, bytes | list[bytes]] | None:
    """Return what maps names to lines; None where a name is unusual or stands twice.

    Nearly all messages have usual names that stand once: one look-up for each.
    """
    index: dict[str, bytes | list[bytes]] = {
        key_of(line.partition(b":")[0]): line  # type: ignore[misc]
        for line in lines
    }
    return None if len(index) != len(lines) or None in index else index


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


_new = object.__new__


def _value(line: bytes) -> bytes:
    return line.partition(b":")[2].strip(b" \t")


class Headers:
    """The header fields of a message.

    Names compare without case and compact forms count as their long ones. Setters refuse a value
    that holds a control character and a name that is no token with `ValueError`; nothing is ever
    stripped silently.
    """

    __slots__ = ("_index", "_length", "_lines", "_text", "_via", "contacts", "core", "shape")
    # All from the start line to the blank line as one text, and the length that it declares for the
    # body; None and -1 once a line has changed. Then, and when somebody asked, there are lines.
    _text: bytes | None
    _length: int
    _lines: list[bytes] | None
    _index: dict[str, bytes | list[bytes]] | None
    # What stands in the place of the text's top Via, None while that stands.
    _via: str | None
    # What the message typed of these lines; forgotten when a line changes.
    core: tuple[list[Via], NameAddress, NameAddress, str, CSeq] | None
    contacts: list[NameAddress] | None
    shape: Shape | None

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        """Make headers of (name, value) pairs.

        Raises:
            ValueError: as `add`.
        """
        self._lines = [_line(name, value) for name, value in items]
        self._reset()

    @classmethod
    def of_lines(
        cls, lines: list[bytes], index: dict[str, bytes | list[bytes]] | None = None
    ) -> Headers:
        """Return headers made of whole lines that were checked before."""
        self = cls.__new__(cls)
        self._lines = lines
        self._reset()
        self._index = index
        return self

    @classmethod
    def of_text(cls, text: bytes, length: int, shape: Shape | None = None) -> Headers:
        """Return headers made of a start line, sound lines and the blank line.

        Args:
            text: all of them.
            length: the one Content-Length among them.
            shape: what it says, when that is known.
        """
        self = _new(cls)
        self._text = text
        self._length = length
        self.shape = shape
        self._lines = self._index = self._via = self.core = self.contacts = None
        return self

    def _reset(self) -> None:
        self._length = -1
        self._text = self._index = self._via = self.core = self.contacts = self.shape = None

    def _changed(self) -> None:
        self._lines = self.lines  # from now on they alone count
        self._reset()

    def forget(self) -> None:
        """Let go of the index and of what was typed; both are made again when somebody asks."""
        if self._text is not None:
            self._lines = None
        self._index = self.core = self.contacts = self.shape = None

    def text(self, length: int) -> bytes | None:
        """Return all that is sent before a body of this length, the blank line included.

        None when they must be put together, since something changed.
        """
        return self._text if self._length == length and self._via is None else None

    @property
    def lines(self) -> list[bytes]:
        """The header lines, without line ends; not to be changed."""
        lines = self._lines
        if lines is None:
            assert self._text is not None
            lines = self._text.split(b"\r\n")[1:-2]
            if self._via is not None:
                top = next(at for at, line in enumerate(lines) if line.startswith(b"Via: "))
                lines[top] = f"Via: {self._via}".encode("latin-1")
            self._lines = lines
        return lines

    @property
    def index(self) -> dict[str, bytes | list[bytes]]:
        """The lines by canonical name: one line, or the list of them; not to be changed."""
        if self._index is None:
            self._index = indexed(self.lines) or index_lines(self.lines)[0]
        return self._index

    @property
    def top_via(self) -> str:
        """The value of the top Via of a shape, as it stands now."""
        assert self.shape is not None
        return self.shape.via if self._via is None else self._via

    def stamp(self, via: str) -> None:
        """Put this value in the place of the top Via of a shape, which stays.

        It has the same branch and sent-by; only what tells where the message came from is new.
        """
        self._via = via
        self._lines = self._index = self.core = None

    def _found(self, name: str) -> bytes | list[bytes] | None:
        key = KEYS.get(name) or canonical_name(name)
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
        shape = self.shape
        if shape is not None:
            at = _SHAPED.get(KEYS.get(name, ""))
            if at is not None:
                value: str | None = shape[at]
                return None if value is None else value.encode("latin-1")
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
        return len(self.lines)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items())

    def items(self) -> list[tuple[str, str]]:
        """Return (name as it stands, value) of every line, in order."""
        return [
            (text_of(line.partition(b":")[0].rstrip(b" \t")), text_of(_value(line)))
            for line in self.lines
        ]

    def _key(self) -> list[tuple[str | None, bytes]]:
        return [(canonical_name(line.partition(b":")[0]), _value(line)) for line in self.lines]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._key() == other._key()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({[canonical_name(line.partition(b':')[0]) for line in self.lines]!r})"

    def copy(self) -> Headers:
        """Return headers that can be changed without touching these."""
        return Headers.of_lines(list(self.lines))

    def add(self, name: str, value: str | bytes) -> None:
        """Append a line.

        Raises:
            ValueError: the name is no token, or the value holds a control character.
        """
        self.lines.append(_line(name, value))
        self._changed()

    def insert(self, position: int, name: str, value: str | bytes) -> None:
        """Put a line before the line at `position` (0: a Via goes on top, RFC 3261 §16.6).

        Raises:
            ValueError: as `add`.
        """
        self.lines.insert(position, _line(name, value))
        self._changed()

    def set(self, name: str, value: str | bytes) -> None:
        """Give a header this one value, in the place of its first line, else at the end.

        Raises:
            ValueError: as `add`.
        """
        line = _line(name, value)
        at = self._positions(name)
        if at:
            self.lines[at[0]] = line
            for position in reversed(at[1:]):
                del self.lines[position]
        else:
            self.lines.append(line)
        self._changed()

    def restate(self, key: str, old: bytes, new: bytes) -> None:
        """Put a whole line in the place of one with this canonical name.

        What was typed of the headers stays: the caller has changed the typed value alike.
        """
        index, lines = self.index, self.lines
        held = index[key]
        if isinstance(held, list):
            held[held.index(old)] = new
        else:
            index[key] = new
        lines[lines.index(old)] = new
        self._text = self._via = self.shape = None
        self._length = -1

    def remove(self, name: str) -> None:
        """Take away every line with this name; none is fine."""
        for position in reversed(self._positions(name)):
            del self.lines[position]
        self._changed()

    def _positions(self, name: str) -> list[int]:
        key = canonical_name(name)
        if key is None:
            return []
        names = (canonical_name(line.partition(b":")[0]) for line in self.lines)
        return [position for position, other in enumerate(names) if other == key]


@lru_cache(maxsize=256)
def response_line(name: str, value: str) -> str:
    """Return a header line that stands in many responses (Contact, Allow, Accept), as Latin-1.

    A line end stands before it; Content-Length, which every response tells of itself, is left out.

    Raises:
        ValueError: as `Headers.add`.
    """
    line = _line(name, value)
    return "" if canonical_name(name) == "content-length" else f"\r\n{line.decode('latin-1')}"


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
