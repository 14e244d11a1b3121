from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.rtp.rtcp import (
    ApplicationPacket,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    UnknownPacket,
    parse_compound,
    serialise,
)

BLOCK = ReportBlock(0x11223344, 64, -3, 70000, 25, 0xAABBCCDD, 65536)
REPORT = SenderReport(1, 0xE000000080000000, 160, 50, 8000, (BLOCK,))
NAME = SourceDescription.of(1, "aGVsbG8gd29ybGQh")


def test_reads_a_compound_packet():
    wire = serialise([REPORT, NAME, Goodbye((1,), b"bye")])
    assert wire[:8] == bytes.fromhex("81c8000c00000001")
    assert len(wire) % 4 == 0
    assert parse_compound(wire) == [REPORT, NAME, Goodbye((1,), b"bye")]


@pytest.mark.parametrize(
    "packet",
    [
        ReceiverReport(5),
        ReceiverReport(5, (BLOCK, BLOCK)),
        SourceDescription(()),
        SourceDescription(((1, ()), (2, ((1, b"a"), (2, b"bcd"))), (3, ((1, b"ab"),)))),
        Goodbye(()),
        Goodbye((1, 2, 3)),
        Goodbye((1,), b"abc"),
        ApplicationPacket(7, 1, b"test", b"data"),
        UnknownPacket(205, 1, bytes(8)),
        UnknownPacket(207, 0, b""),
    ],
)
def test_what_is_written_is_read_as_the_same(packet):
    assert parse_compound(bytes(packet)) == [packet]


@pytest.mark.parametrize(("lost", "expected"), [(1 << 30, 0x7FFFFF), (-(1 << 30), -0x800000)])
def test_losses_beyond_24_bits_saturate(lost, expected):
    [report] = parse_compound(bytes(ReceiverReport(1, (ReportBlock(2, 0, lost),))))
    assert report.reports[0].cumulative_lost == expected


def test_padding_of_the_last_packet_is_cut():
    wire = bytearray(bytes(ReceiverReport(5)))
    wire[0] |= 0x20
    wire[3] += 1
    assert parse_compound(bytes(wire) + b"\0\0\0\4") == [ReceiverReport(5)]


def padded(tail):
    head = bytearray(bytes(ReceiverReport(5)))
    head[0] |= 0x20
    head[3] += len(tail) // 4
    return bytes(head) + tail


@pytest.mark.parametrize(
    "lie",
    [
        b"\x80",
        b"\x80\xc9\x00",
        b"\x80\xc9\x00\x01",  # one word that is not there
        b"\x00\xc9\x00\x00",  # version 0
        b"\x80\xbf\x00\x00",  # packet type 191
        b"\x80\xe0\x00\x00",  # packet type 224
        b"\x80\xc9\x00\x00",  # a receiver report without an SSRC
        b"\x80\xc8\x00\x01" + bytes(4),  # a sender report without its sender
        b"\x81\xc9\x00\x01" + bytes(4),  # one block that is not there
        b"\x81\xca\x00\x01" + bytes(4),  # a chunk without an end
        b"\x81\xca\x00\x02" + bytes(4) + b"\1\xff\0\0",  # an item of 255 bytes
        b"\x81\xca\x00\x02" + bytes(4) + b"\1\2ab",  # items without the zero
        b"\x81\xca\x00\x02" + bytes(4) + b"\1\1a\1",  # an item without a length
        b"\x82\xcb\x00\x01" + bytes(4),  # two sources, one there
        b"\x80\xcc\x00\x01" + bytes(4),  # an application without a name
        b"\xa0\xc9\x00\x00",  # padding of nothing
        padded(b"\0\0\0\3"),
        padded(b"\0\0\0\0"),
        padded(b"\0\0\0\x10"),
    ],
)
def test_the_walk_stops_at_the_first_lie_and_keeps_what_was_read(lie):
    with pytest.raises(ParseError):
        parse_compound(lie)
    good = serialise([REPORT, NAME])
    assert parse_compound(good + lie) == [REPORT, NAME]


def test_nothing_is_read_behind_a_lie():
    good = serialise([REPORT, NAME])
    assert parse_compound(good + b"\x00\xc9\x00\x00" + good) == [REPORT, NAME]


def test_padding_inside_a_compound_is_a_lie():
    good = bytes(ReceiverReport(1))
    assert parse_compound(good + padded(b"\0\0\0\4")) == [ReceiverReport(1), ReceiverReport(5)]
    assert parse_compound(good + padded(b"\0\0\0\4") + good) == [ReceiverReport(1)]


def test_a_reason_that_lies_costs_only_itself():
    assert parse_compound(b"\x81\xcb\x00\x02" + bytes(4) + b"\xffabc") == [Goodbye((0,))]


def test_a_compound_has_at_most_32_packets():
    assert len(parse_compound(bytes(ReceiverReport(1)) * 40)) == 32


def test_a_chunk_has_at_most_32_items():
    body = bytes(4) + b"\1\0" * 33 + b"\0\0"
    with pytest.raises(ParseError):
        parse_compound(b"\x81\xca" + (len(body) // 4).to_bytes(2, "big") + body)


@pytest.mark.parametrize(
    "packet", [ReceiverReport(1, (BLOCK,) * 32), UnknownPacket(205, 0, b"abc")]
)
def test_what_the_header_cannot_say_is_not_written(packet):
    with pytest.raises(ValueError, match="RTCP"):
        bytes(packet)


_WIRES = [
    bytes(REPORT),
    bytes(NAME),
    bytes(Goodbye((1,), b"x")),
    bytes(UnknownPacket(206, 1, b"abcd")),
]


@given(st.lists(st.sampled_from(_WIRES) | st.binary(max_size=12), max_size=6), st.data())
def test_any_bytes_are_read_or_refused_and_go_round(parts, data):
    wire = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(0, 3)) if wire else 0):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    try:
        packets = parse_compound(bytes(wire))
    except ParseError:
        return
    assert 1 <= len(packets) <= 32
    assert parse_compound(serialise(packets)) == packets
