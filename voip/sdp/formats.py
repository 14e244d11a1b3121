"""RTP payload formats: what a payload type means, and how two lists of formats meet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from voip.errors import NegotiationError, ParseError

__all__ = [
    "NUMBERS",
    "PAYLOAD_TYPES",
    "RTPPayloadFormat",
    "StaticFormat",
    "first_common",
    "numbered",
    "parse_digits",
    "take_line",
    "telephone_event",
    "telephone_events",
]

TELEPHONE_EVENT = "telephone-event"
DYNAMIC = range(96, 128)


def parse_digits(text: str, maximum: int, digits: int = 10) -> int | None:
    """Return a decimal number, or None: ASCII digits only, at most `digits` of them.

    `int()` alone takes signs, underscores, blanks and the digits of every script.
    """
    if len(text) <= digits and text.isascii() and text.isdigit():
        value = int(text)
        if value <= maximum:
            return value
    return None


class StaticFormat(NamedTuple):
    """What RFC 3551 §6 assigns to a payload type for good."""

    encoding_name: str
    sample_rate: int
    channels: int = 1


#: RFC 3551 tables 4 and 5.
PAYLOAD_TYPES: dict[int, StaticFormat] = {
    0: StaticFormat("PCMU", 8000),
    3: StaticFormat("GSM", 8000),
    4: StaticFormat("G723", 8000),
    5: StaticFormat("DVI4", 8000),
    6: StaticFormat("DVI4", 16000),
    7: StaticFormat("LPC", 8000),
    8: StaticFormat("PCMA", 8000),
    # RFC 3551 §4.5.2: an error of the past that must stay; G.722 samples at 16000.
    9: StaticFormat("G722", 8000),
    10: StaticFormat("L16", 44100, 2),
    11: StaticFormat("L16", 44100),
    12: StaticFormat("QCELP", 8000),
    13: StaticFormat("CN", 8000),
    14: StaticFormat("MPA", 90000),
    15: StaticFormat("G728", 8000),
    16: StaticFormat("DVI4", 11025),
    17: StaticFormat("DVI4", 22050),
    18: StaticFormat("G729", 8000),
    25: StaticFormat("CelB", 90000),
    26: StaticFormat("JPEG", 90000),
    28: StaticFormat("nv", 90000),
    31: StaticFormat("H261", 90000),
    32: StaticFormat("MPV", 90000),
    33: StaticFormat("MP2T", 90000),
    34: StaticFormat("H263", 90000),
}

_UNKNOWN = (None, None, 1)
NUMBERS = {str(number): number for number in range(128)}


def _mapping(text: str) -> StaticFormat | None:
    """Read `name/rate[/channels]`, at most 64 characters, or return None."""
    if len(text) > 64:
        return None
    name, _, rest = text.strip(" \t").partition("/")
    rate, slash, count = rest.partition("/")
    rate_hz = parse_digits(rate, 0xFFFFFFFF)
    channels = parse_digits(count, 255) if slash else 1
    if not name or " " in name or not rate_hz or not channels:
        return None
    return StaticFormat(name, rate_hz, channels)


@dataclass(slots=True)
class RTPPayloadFormat:
    """One format of an m= line with its rtpmap and fmtp.

    Attributes:
        payload_type: 0 to 127; from 96 on the number means nothing without an rtpmap.
        encoding_name: as the rtpmap spells it, compared without regard to case; None when unknown.
        sample_rate: the RTP clock rate of the rtpmap, in Hz; None when unknown.
        channels: the channel count of the rtpmap.
        fmtp: the format's parameters as text, or None.
    """

    payload_type: int
    encoding_name: str | None = None
    sample_rate: int | None = None
    channels: int = 1
    fmtp: str | None = None

    def __post_init__(self) -> None:
        if self.encoding_name is None:
            static = PAYLOAD_TYPES.get(self.payload_type)
            if static is not None:
                self.encoding_name = static.encoding_name
                self.sample_rate = self.sample_rate or static.sample_rate
                self.channels = static.channels if self.channels == 1 else self.channels
        elif self.sample_rate is None:
            static = PAYLOAD_TYPES.get(self.payload_type)
            if static is not None and static.encoding_name.lower() == self.encoding_name.lower():
                self.sample_rate = static.sample_rate

    @classmethod
    def of_number(cls, payload_type: int) -> RTPPayloadFormat:
        """Return what a number means by itself; three times in every offer, so without detours."""
        made = cls.__new__(cls)
        static = PAYLOAD_TYPES.get(payload_type, _UNKNOWN)
        made.payload_type = payload_type
        made.encoding_name, made.sample_rate, made.channels = static
        made.fmtp = None
        return made

    @classmethod
    def from_pt(cls, payload_type: int) -> RTPPayloadFormat:
        """Return the format that a payload type has without an rtpmap."""
        return cls(payload_type)

    @classmethod
    def parse(cls, value: str) -> RTPPayloadFormat:
        """Read the value of an rtpmap attribute, `96 opus/48000/2`.

        Raises:
            ParseError: not a payload type, a name and a clock rate.
        """
        number, _, mapping = value.partition(" ")
        found = cls(-1)
        if number not in NUMBERS or not found.map(mapping):
            raise ParseError("malformed rtpmap", value)
        found.payload_type = NUMBERS[number]
        return found

    def map(self, mapping: str) -> bool:
        """Take `name/rate[/channels]`; False, and nothing changed, when it is none."""
        found = _mapping(mapping)
        if found is None:
            return False
        self.encoding_name, self.sample_rate, self.channels = found
        return True

    @property
    def rtpmap(self) -> str | None:
        """`name/rate[/channels]`, or None when the name or the rate is unknown."""
        if self.encoding_name is None or self.sample_rate is None:
            return None
        base = f"{self.encoding_name}/{self.sample_rate}"
        return base if self.channels == 1 else f"{base}/{self.channels}"

    def is_named(self, encoding_name: str) -> bool:
        """Compare the encoding name, without regard to case (RFC 4855 §3)."""
        name = self.encoding_name
        return name == encoding_name or (name is not None and name.lower() == encoding_name.lower())

    def matches(self, other: RTPPayloadFormat) -> bool:
        """Tell whether two formats mean the same encoding, whatever their numbers."""
        if self.sample_rate != other.sample_rate or self.channels != other.channels:
            return False
        return other.encoding_name is not None and self.is_named(other.encoding_name)

    def __str__(self) -> str:
        return f"{self.payload_type} {self.rtpmap}"


def take_line(row: str, formats: dict[str, RTPPayloadFormat], mapped: set[str]) -> bool:
    """Let an `a=rtpmap:` or `a=fmtp:` line tell about its format.

    Args:
        row: the line.
        formats: the formats of the section, by their numbers.
        mapped: the numbers that had their rtpmap; the first of two lines counts.

    Returns:
        Whether the line made sense; one that did not stays an attribute.
    """
    number, mapping, parameters = _remembered(row) if len(row) <= 80 else _read(row)
    known = formats.get(number)
    if known is None:
        return False
    if parameters is not None:
        if known.fmtp is not None:
            return False
        known.fmtp = parameters
    else:
        if mapping is None or number in mapped:
            return False
        known.encoding_name, known.sample_rate, known.channels = mapping
        mapped.add(number)
    return True


def _read(row: str) -> tuple[str, StaticFormat | None, str | None]:
    """Return the number of the format, and its mapping or its parameters."""
    number, _, text = row.partition(":")[2].partition(" ")
    return (number, None, text) if row.startswith("a=fmtp") else (number, _mapping(text), None)


# The same few dozen lines come in every offer; bounded, and no result depends on it.
_remembered = lru_cache(maxsize=512)(_read)


def telephone_event(
    formats: list[RTPPayloadFormat], codec: RTPPayloadFormat
) -> RTPPayloadFormat | None:
    """Return the telephone-event format whose clock is the codec's (RFC 4733 §2.1)."""
    for fmt in formats:
        if fmt.sample_rate == codec.sample_rate and fmt.is_named(TELEPHONE_EVENT):
            events = "0-16" if fmt.fmtp is None else fmt.fmtp
            return RTPPayloadFormat(fmt.payload_type, TELEPHONE_EVENT, fmt.sample_rate, fmtp=events)
    return None


def telephone_events(formats: list[RTPPayloadFormat]) -> list[RTPPayloadFormat]:
    """Return a telephone-event format for each clock rate, 101 and on."""
    taken = {fmt.payload_type for fmt in formats}
    free = [number for number in (*range(101, 128), *range(96, 101)) if number not in taken]
    rates = dict.fromkeys(fmt.sample_rate for fmt in formats)
    done = {fmt.sample_rate for fmt in formats if fmt.is_named(TELEPHONE_EVENT)}
    wanted = [rate for rate in rates if rate is not None and rate not in done]
    return [
        RTPPayloadFormat(number, TELEPHONE_EVENT, rate, fmtp="0-16")
        for number, rate in zip(free, wanted, strict=False)
    ]


def numbered(formats: list[RTPPayloadFormat]) -> list[RTPPayloadFormat]:
    """Give each format a number of its own: two classes may like the same dynamic one."""
    taken = {fmt.payload_type for fmt in formats}
    seen: set[int] = set()
    numbered = []
    for fmt in formats:
        number = fmt.payload_type
        if number in seen:
            number = next((one for one in DYNAMIC if one not in taken), -1)
            if number < 0:
                raise NegotiationError("more formats than dynamic payload types")
            taken.add(number)
        seen.add(number)
        numbered.append(
            RTPPayloadFormat(number, fmt.encoding_name, fmt.sample_rate, fmt.channels, fmt.fmtp)
        )
    return numbered


def first_common(
    theirs: list[RTPPayloadFormat], ours: list[RTPPayloadFormat]
) -> RTPPayloadFormat | None:
    """Return the peer's first audio format that we offered."""
    for fmt in theirs:
        if fmt.is_named(TELEPHONE_EVENT):
            continue
        for one in ours:
            same_number = fmt.encoding_name is None and fmt.payload_type == one.payload_type
            if same_number:  # a peer that leaves the rtpmap out of its answer means ours
                return RTPPayloadFormat(
                    one.payload_type, one.encoding_name, one.sample_rate, one.channels, fmt.fmtp
                )
            if fmt.matches(one):
                return fmt
    return None
