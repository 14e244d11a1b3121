from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.rtp.packet import MAX_BYTES, HeaderExtension, RTPPacket, RTPPayloadType, classify

PLAIN = bytes.fromhex("80e0 0001 0000 00a0 1234 5678".replace(" ", "")) + b"payload"


def test_reads_a_plain_packet():
    packet = RTPPacket.parse(PLAIN)
    assert packet == RTPPacket(96, 1, 160, 0x12345678, b"payload", marker=True)
    assert bytes(packet) == PLAIN


def test_an_empty_payload_is_a_packet():
    assert RTPPacket.parse(PLAIN[:12]).payload == b""


def test_reads_sources_extension_and_padding():
    packet = RTPPacket(0, 7, 8, 9, b"x", False, (1, 2), HeaderExtension(0xBEDE, b"\x10a\0\0"))
    wire = bytes(packet)
    assert RTPPacket.parse(wire) == packet
    padded = bytes((wire[0] | 0x20,)) + wire[1:] + b"\0\0\3"
    assert RTPPacket.parse(padded) == packet


def test_writes_the_marker_beside_sources():
    packet = RTPPacket(8, 1, 2, 3, b"", True, (4,))
    assert RTPPacket.parse(bytes(packet)) == packet


def test_numbers_count_on_and_wrap_on_the_wire():
    packet = RTPPacket.parse(bytes(RTPPacket(0, 65536 + 5, (1 << 32) + 6, 1, b"")))
    assert (packet.sequence_number, packet.timestamp) == (5, 6)
    wide = RTPPacket.parse(bytes(RTPPacket(0, 65536 + 5, (1 << 32) + 6, 1, b"", csrc=(1,))))
    assert (wide.sequence_number, wide.timestamp) == (5, 6)


def test_padding_may_fill_the_packet():
    assert RTPPacket.parse(b"\xa0" + PLAIN[1:12] + b"\0\0\0\4").payload == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        PLAIN[:11],
        b"\x00" + PLAIN[1:],
        b"\x40" + PLAIN[1:],
        b"\xc0" + PLAIN[1:],
        b"\x8f" + PLAIN[1:],  # 15 sources that are not there
        b"\x90" + PLAIN[1:14],  # half an extension header
        b"\x90" + PLAIN[1:12] + b"\xbe\xde\xff\xff",  # an extension of 65535 words
        b"\xa0" + PLAIN[1:12] + b"\0",  # padding of nothing
        b"\xa0" + PLAIN[1:12] + b"\5",  # padding over the header
        b"\xa0" + PLAIN[1:12],  # the last octet is one of the SSRC
        b"\xb1" + PLAIN[1:12] + bytes(7) + b"\1\1",  # padding over the extension
        b"\x80" + bytes(MAX_BYTES),
    ],
)
def test_lengths_that_do_not_add_up_are_refused(data):
    with pytest.raises(ParseError):
        RTPPacket.parse(data)


def test_the_longest_packet_is_read():
    assert RTPPacket.parse(b"\x80" + bytes(MAX_BYTES - 1))


def test_what_the_header_cannot_say_is_not_written():
    with pytest.raises(ValueError, match="15"):
        bytes(RTPPacket(0, 0, 0, 0, b"", csrc=(1,) * 16))
    with pytest.raises(ValueError, match="multiple of four"):
        bytes(RTPPacket(0, 0, 0, 0, b"", extension=HeaderExtension(1, b"abc")))


@pytest.mark.parametrize(
    ("profile", "data", "expected"),
    [
        (0xBEDE, "10aa 0000", [(1, b"\xaa")]),
        (0xBEDE, "00 21 bbcc 10aa 00", [(2, b"\xbb\xcc"), (1, b"\xaa")]),
        (0xBEDE, "10aa f0 10aa", [(1, b"\xaa")]),  # ID 15 ends the block
        (0xBEDE, "10aa 03 10aa", [(1, b"\xaa")]),  # ID 0 with a length too
        (0xBEDE, "10aa 2f 00", [(1, b"\xaa")]),  # a length that lies
        (0x1000, "01 00 02 01 cc 00 00 00", [(1, b""), (2, b"\xcc")]),
        (0x100F, "05 02 0102 00000000", [(5, b"\1\2")]),
        (0x1000, "01 09 aabb", []),
        (0x1000, "00 00 00 01", []),
        (0x2000, "10aa 0000", []),
    ],
)
def test_extension_elements(profile, data, expected):
    extension = HeaderExtension(profile, bytes.fromhex(data.replace(" ", "")))
    assert list(extension.elements()) == expected


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (0, 1, "stun"),
        (3, 0, "stun"),
        (4, 0, "unknown"),
        (20, 0, "dtls"),
        (63, 0, "dtls"),
        (64, 0, "unknown"),
        (127, 0, "unknown"),
        (128, 0, "rtp"),
        (191, 255, "rtp"),
        (128, 191, "rtp"),
        (128, 192, "rtcp"),
        (129, 200, "rtcp"),
        (128, 223, "rtcp"),
        (128, 224, "rtp"),
        (192, 0, "unknown"),
        (13, 10, "unknown"),
    ],
)
def test_the_first_bytes_tell_what_a_datagram_is(first, second, kind):
    assert classify(bytes((first, second))) == kind


def test_a_single_byte_is_nothing():
    assert classify(b"\x80") == classify(b"") == "unknown"


def test_payload_types_are_numbers():
    assert RTPPacket(RTPPayloadType.PCMA, 0, 0, 0, b"").payload_type == 8


packets = st.builds(
    RTPPacket,
    st.integers(0, 127),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=50),
    st.booleans(),
    st.lists(st.integers(0, 0xFFFFFFFF), max_size=15).map(tuple),
    st.none()
    | st.builds(
        HeaderExtension, st.integers(0, 0xFFFF), st.binary(max_size=10).map(lambda b: b * 4)
    ),
)


@given(packets)
def test_what_is_written_is_read_as_the_same(packet):
    assert RTPPacket.parse(bytes(packet)) == packet


@given(st.binary(max_size=64), st.sampled_from([b"", b"\x80", b"\xb1", b"\x9f", b"\xa2"]))
def test_any_bytes_are_read_or_refused(data, head):
    try:
        packet = RTPPacket.parse(head + data)
    except ParseError:
        return
    assert RTPPacket.parse(bytes(packet)) == packet
    if packet.extension is not None:
        assert sum(len(value) for _, value in packet.extension.elements()) <= len(data)
