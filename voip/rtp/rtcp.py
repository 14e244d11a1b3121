"""RTCP packets (RFC 3550 §6): compound packets in, compound packets out.

A compound packet is walked by the lengths that it declares. The first lie ends the walk, what was
read before it stays; nothing is ever read beyond the words that a packet says it has.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from voip.errors import ParseError

__all__ = [
    "ApplicationPacket",
    "Goodbye",
    "RTCPPacket",
    "ReceiverReport",
    "ReportBlock",
    "SenderReport",
    "SourceDescription",
    "UnknownPacket",
    "parse_compound",
    "serialise",
]

#: RELIABILITY G7: packets of one compound, and chunks or blocks of one packet.
MAX_PARTS = 32

_HEADER = struct.Struct("!BBH")
_BLOCK = struct.Struct("!IIIIII")
_SENDER = struct.Struct("!IQIII")

#: Names of SDES items, RFC 3550 §6.5.
CNAME = 1


class _LieError(Exception):
    """A length that its packet does not have."""


@dataclass(slots=True)
class ReportBlock:
    """What a receiver tells about one source (RFC 3550 §6.4.1).

    Attributes:
        ssrc: the source that is reported on.
        fraction_lost: lost since the last report, in 1/256.
        cumulative_lost: lost since the beginning, signed 24 bits: duplicates make it negative.
        highest_sequence: the extended highest sequence number, 32 bits.
        jitter_ticks: interarrival jitter in ticks of the RTP clock.
        last_sender_report: middle 32 bits of the NTP time of the last report received, or 0.
        delay_since_last: 1/65536 s between receiving that report and sending this, or 0.
    """

    ssrc: int
    fraction_lost: int = 0
    cumulative_lost: int = 0
    highest_sequence: int = 0
    jitter_ticks: int = 0
    last_sender_report: int = 0
    delay_since_last: int = 0

    def __bytes__(self) -> bytes:
        lost = min(max(self.cumulative_lost, -0x800000), 0x7FFFFF) & 0xFFFFFF
        return _BLOCK.pack(
            self.ssrc,
            (self.fraction_lost & 255) << 24 | lost,
            self.highest_sequence & 0xFFFFFFFF,
            min(self.jitter_ticks, 0xFFFFFFFF),
            self.last_sender_report,
            min(self.delay_since_last, 0xFFFFFFFF),
        )


@dataclass(slots=True)
class SenderReport:
    """SR (RFC 3550 §6.4.1): what a sender sent, and what it received.

    Attributes:
        ssrc: the sender.
        ntp: 64-bit NTP timestamp.
        rtp_timestamp: the same moment on the RTP clock.
        packet_count: packets sent.
        octet_count: payload octets sent.
        reports: up to 31 blocks.
    """

    ssrc: int
    ntp: int
    rtp_timestamp: int
    packet_count: int
    octet_count: int
    reports: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        body = _SENDER.pack(
            self.ssrc,
            self.ntp & 0xFFFFFFFFFFFFFFFF,
            self.rtp_timestamp & 0xFFFFFFFF,
            self.packet_count & 0xFFFFFFFF,
            self.octet_count & 0xFFFFFFFF,
        )
        return _packet(200, len(self.reports), body + b"".join(map(bytes, self.reports)))


@dataclass(slots=True)
class ReceiverReport:
    """RR (RFC 3550 §6.4.2): the report of one who did not send lately."""

    ssrc: int
    reports: tuple[ReportBlock, ...] = ()

    def __bytes__(self) -> bytes:
        body = self.ssrc.to_bytes(4, "big") + b"".join(map(bytes, self.reports))
        return _packet(201, len(self.reports), body)


@dataclass(slots=True)
class SourceDescription:
    """SDES (RFC 3550 §6.5).

    Attributes:
        chunks: (ssrc, items) with items of (type, text); type 1 is the CNAME.
    """

    chunks: tuple[tuple[int, tuple[tuple[int, bytes], ...]], ...]

    @classmethod
    def of(cls, ssrc: int, cname: str) -> SourceDescription:
        """Return the one chunk that every compound packet must have (RFC 3550 §6.1)."""
        return cls(((ssrc, ((CNAME, cname.encode()),)),))

    def __bytes__(self) -> bytes:
        body = b""
        for ssrc, items in self.chunks:
            chunk = ssrc.to_bytes(4, "big")
            for kind, text in items:
                chunk += bytes((kind, len(text))) + text
            body += chunk + bytes(4 - len(chunk) % 4)  # at least one zero ends the list of items
        return _packet(202, len(self.chunks), body)


@dataclass(slots=True)
class Goodbye:
    """BYE (RFC 3550 §6.6): sources that stop; it never ends a SIP call."""

    ssrcs: tuple[int, ...]
    reason: bytes = b""

    def __bytes__(self) -> bytes:
        body = struct.pack(f"!{len(self.ssrcs)}I", *self.ssrcs)
        if self.reason:
            text = bytes((len(self.reason),)) + self.reason
            body += text + bytes(-len(text) % 4)
        return _packet(203, len(self.ssrcs), body)


@dataclass(slots=True)
class ApplicationPacket:
    """APP (RFC 3550 §6.7)."""

    subtype: int
    ssrc: int
    name: bytes
    data: bytes = b""

    def __bytes__(self) -> bytes:
        return _packet(204, self.subtype, self.ssrc.to_bytes(4, "big") + self.name + self.data)


@dataclass(slots=True)
class UnknownPacket:
    """A packet of a type that is not read here (feedback, XR …).

    Attributes:
        packet_type: 192 to 223.
        count: the five bits beside the version.
        body: what follows the common header.
    """

    packet_type: int
    count: int
    body: bytes

    def __bytes__(self) -> bytes:
        return _packet(self.packet_type, self.count, self.body)


RTCPPacket = (
    SenderReport | ReceiverReport | SourceDescription | Goodbye | ApplicationPacket | UnknownPacket
)


def serialise(packets: Iterable[RTCPPacket]) -> bytes:
    """Return a compound packet."""
    return b"".join(map(bytes, packets))


def parse_compound(data: bytes) -> list[RTCPPacket]:
    """Read a compound packet up to the first lie.

    Raises:
        ParseError: not even the first packet can be read.
    """
    packets: list[RTCPPacket] = []
    at = 0
    while at < len(data) and len(packets) < MAX_PARTS:
        try:
            packet, at = _next(data, at)
        except _LieError:
            break
        packets.append(packet)
    if not packets:
        raise ParseError("not an RTCP packet", data[:16])
    return packets


def _packet(kind: int, count: int, body: bytes) -> bytes:
    if count > 31 or len(body) % 4:
        raise ValueError("an RTCP packet has at most 31 parts and whole words")
    return _HEADER.pack(0x80 | count, kind, len(body) // 4) + body


def _next(data: bytes, at: int) -> tuple[RTCPPacket, int]:
    """Read the packet at `at`; return it and where the next one starts.

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |V=2|P|  count  |  packet type  |     words that follow         |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    """
    if at + 4 > len(data):
        raise _LieError
    first, kind, words = _HEADER.unpack_from(data, at)
    end = at + 4 + 4 * words
    if first & 0xC0 != 0x80 or not 192 <= kind <= 223 or end > len(data):
        raise _LieError
    body = data[at + 4 : end]
    if first & 0x20:
        # RFC 3550 §6.4.1: only the last packet of a compound is padded, by a multiple of four.
        padding = body[-1] if body else 0
        if not padding or padding % 4 or padding > len(body) or end != len(data):
            raise _LieError
        body = body[:-padding]
    reader = _READERS.get(kind)
    packet = UnknownPacket(kind, first & 31, body) if reader is None else reader(first & 31, body)
    return packet, end


def _blocks(count: int, data: bytes) -> tuple[ReportBlock, ...]:
    if 24 * count > len(data):
        raise _LieError
    blocks = []
    for at in range(0, 24 * count, 24):
        ssrc, loss, highest, jitter, last, delay = _BLOCK.unpack_from(data, at)
        lost = loss & 0xFFFFFF
        lost -= (lost & 0x800000) << 1
        blocks.append(ReportBlock(ssrc, loss >> 24, lost, highest, jitter, last, delay))
    return tuple(blocks)


def _sender_report(count: int, body: bytes) -> SenderReport:
    if len(body) < 24:
        raise _LieError
    ssrc, ntp, rtp_timestamp, packets, octets = _SENDER.unpack_from(body)
    return SenderReport(ssrc, ntp, rtp_timestamp, packets, octets, _blocks(count, body[24:]))


def _receiver_report(count: int, body: bytes) -> ReceiverReport:
    if len(body) < 4:
        raise _LieError
    return ReceiverReport(int.from_bytes(body[:4], "big"), _blocks(count, body[4:]))


def _source_description(count: int, body: bytes) -> SourceDescription:
    chunks = []
    at = 0
    for _ in range(count):
        if at + 8 > len(body):  # an SSRC and at least the zeros that end the items
            raise _LieError
        ssrc = int.from_bytes(body[at : at + 4], "big")
        items, at = _items(body, at + 4)
        chunks.append((ssrc, items))
    return SourceDescription(tuple(chunks))


def _items(body: bytes, at: int) -> tuple[tuple[tuple[int, bytes], ...], int]:
    """Read the items of one chunk; return them and where the next chunk starts."""
    items: list[tuple[int, bytes]] = []
    while at < len(body) and body[at]:
        if at + 2 > len(body) or at + 2 + body[at + 1] > len(body) or len(items) == MAX_PARTS:
            raise _LieError
        end = at + 2 + body[at + 1]
        items.append((body[at], body[at + 2 : end]))
        at = end
    if at >= len(body):
        raise _LieError
    return tuple(items), at + 4 - at % 4


def _goodbye(count: int, body: bytes) -> Goodbye:
    if 4 * count > len(body):
        raise _LieError
    ssrcs = struct.unpack_from(f"!{count}I", body)
    rest = body[4 * count :]
    # The length of the reason lied in CVE-2021-43804; here a lie costs the reason only.
    length = rest[0] if rest else 0
    return Goodbye(ssrcs, rest[1 : 1 + length] if length < len(rest) else b"")


def _application(subtype: int, body: bytes) -> ApplicationPacket:
    if len(body) < 8:
        raise _LieError
    return ApplicationPacket(subtype, int.from_bytes(body[:4], "big"), body[4:8], body[8:])


_READERS: dict[int, Callable[[int, bytes], RTCPPacket]] = {
    200: _sender_report,
    201: _receiver_report,
    202: _source_description,
    203: _goodbye,
    204: _application,
}
