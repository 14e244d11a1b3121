"""The RTP packet (RFC 3550 §5.1), and what a datagram on a media port may be (RFC 7983)."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from voip.errors import ParseError

__all__ = ["HeaderExtension", "RTPPacket", "RTPPayloadType", "classify"]

#: A peer's 20 ms of L16 at 44100 Hz is 1 776 bytes; nothing sane is longer than this.
MAX_BYTES = 8 * 1024

_HEADER = struct.Struct("!BBHII")
_unpack = _HEADER.unpack_from
_pack = _HEADER.pack
_PLAIN = 0x80


class RTPPayloadType(enum.IntEnum):
    """Payload types that we speak: static numbers of RFC 3551, usual ones of dynamic formats."""

    PCMU = 0
    PCMA = 8
    G722 = 9
    L16_STEREO = 10
    L16 = 11
    CN = 13
    TELEPHONE_EVENT = 101
    OPUS = 111


class HeaderExtension(NamedTuple):
    """The header extension of a packet (RFC 3550 §5.3.1).

    Attributes:
        profile: the 16 bits "defined by profile".
        data: what follows the length, a multiple of four bytes.
    """

    profile: int
    data: bytes

    def elements(self) -> Iterator[tuple[int, bytes]]:
        """Yield (id, data) of RFC 8285 elements; stops at the first that lies about its length.

        one byte (0xBEDE)            two bytes (0x1000)
         0 1 2 3 4 5 6 7              0 1 2 3 4 5 6 7 8 9 a b c d e f
        +-+-+-+-+-+-+-+-+            +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |  ID   |  len-1|            |       ID      |      len      |
        +-+-+-+-+-+-+-+-+            +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        """
        data, at = self.data, 0
        short = self.profile == 0xBEDE
        if not short and self.profile & 0xFFF0 != 0x1000:
            return
        while at < len(data):
            if data[at] == 0:  # padding, RFC 8285 §4.1.2
                at += 1
                continue
            if short:
                number, length, start = data[at] >> 4, (data[at] & 15) + 1, at + 1
                # RFC 8285 §4.2: ID 15 ends the block; ID 0 with a length ends it as well.
                if number in (0, 15):
                    return
            else:
                if at + 2 > len(data):
                    return
                number, length, start = data[at], data[at + 1], at + 2
            at = start + length
            if at > len(data):
                return
            yield number, data[start:at]


@dataclass(slots=True)
class RTPPacket:
    """One RTP packet.

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |V=2|P|X|  CC   |M|     PT      |       sequence number         |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                           timestamp                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |           synchronization source (SSRC) identifier            |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        payload_type: 0 to 127.
        sequence_number: taken modulo 2^16 on the wire.
        timestamp: taken modulo 2^32 on the wire.
        ssrc: the source.
        payload: without padding.
        marker: the first packet of a talk spurt.
        csrc: up to 15 contributing sources.
        extension: the header extension, or None.
    """

    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False
    csrc: tuple[int, ...] = ()
    extension: HeaderExtension | None = None

    header_size: ClassVar[int] = 12

    @classmethod
    def parse(cls, data: bytes) -> RTPPacket:
        """Read one datagram.

        Raises:
            ParseError: too short, too long, not version 2, or lengths that do not add up.
        """
        size = len(data)
        if size < 12 or size > MAX_BYTES:
            raise ParseError("not an RTP packet: length", data[:16])
        first, second, sequence_number, timestamp, ssrc = _unpack(data)
        if first == _PLAIN:
            return cls(second & 127, sequence_number, timestamp, ssrc, data[12:], second > 127)
        if first & 0xC0 != _PLAIN:
            raise ParseError("not an RTP packet: version", data[:16])
        csrc, extension, payload = _beyond(data, first)
        return cls(
            second & 127, sequence_number, timestamp, ssrc, payload, second > 127, csrc, extension
        )

    def __bytes__(self) -> bytes:
        """Return the packet as it goes on the wire.

        Raises:
            ValueError: more than 15 contributing sources, or an extension of broken words.
        """
        if self.csrc or self.extension is not None:
            return self._extended()
        second = self.payload_type & 127 | 128 if self.marker else self.payload_type & 127
        return (
            _pack(
                _PLAIN,
                second,
                self.sequence_number & 0xFFFF,
                self.timestamp & 0xFFFFFFFF,
                self.ssrc,
            )
            + self.payload
        )

    def _extended(self) -> bytes:
        count = len(self.csrc)
        if count > 15:
            raise ValueError("at most 15 contributing sources")
        tail = struct.pack(f"!{count}I", *self.csrc)
        first = _PLAIN | count
        if self.extension is not None:
            profile, data = self.extension
            if len(data) % 4:
                raise ValueError("a header extension is a multiple of four bytes")
            tail += struct.pack("!HH", profile, len(data) // 4) + data
            first |= 0x10
        header = _pack(
            first,
            self.payload_type & 127 | (128 if self.marker else 0),
            self.sequence_number & 0xFFFF,
            self.timestamp & 0xFFFFFFFF,
            self.ssrc,
        )
        return header + tail + self.payload


def _beyond(data: bytes, first: int) -> tuple[tuple[int, ...], HeaderExtension | None, bytes]:
    """Read what may follow the fixed header: sources, extension, payload without padding."""
    size = end = len(data)
    count = first & 15
    start = 12 + 4 * count
    if start > size:
        raise ParseError("not an RTP packet: CSRC count", data[:16])
    csrc: tuple[int, ...] = struct.unpack_from(f"!{count}I", data, 12) if count else ()
    extension = None
    if first & 0x10:
        if start + 4 > size:
            raise ParseError("not an RTP packet: extension", data[:16])
        profile, words = struct.unpack_from("!HH", data, start)
        start += 4
        if start + 4 * words > size:
            raise ParseError("not an RTP packet: extension length", data[:16])
        extension = HeaderExtension(profile, data[start : start + 4 * words])
        start += 4 * words
    if first & 0x20:
        # RFC 3550 §5.1: the last octet counts the padding, itself included, so 0 is a lie as well.
        padding = data[-1]
        if not padding or start + padding > size:
            raise ParseError("not an RTP packet: padding", data[:16])
        end = size - padding
    return csrc, extension, data[start:end]


Kind = Literal["stun", "dtls", "rtp", "rtcp", "unknown"]


def classify(data: bytes) -> Kind:
    """Tell what a datagram is by its first bytes (RFC 7983 §7, RFC 5761 §4)."""
    if len(data) < 2:
        return "unknown"
    first = data[0]
    if 128 <= first < 192:
        # RTCP packet types 192–223 take the place of payload types 64–95 with the marker set.
        return "rtcp" if 192 <= data[1] < 224 else "rtp"
    if first < 4:
        return "stun"
    if 20 <= first < 64:
        return "dtls"
    return "unknown"
