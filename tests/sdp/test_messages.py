from __future__ import annotations

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sdp.messages import SessionDescription
from voip.sdp.types import (
    Attribute,
    Bandwidth,
    ConnectionData,
    Direction,
    MediaDescription,
    Origin,
    RTPPayloadFormat,
    Timing,
)

DATA = pathlib.Path(__file__).parents[1] / "data"

# RFC 8866 §5, its own example, with every other kind of line added.
FULL = b"""v=0\r
o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r
s=Call to John Smith\r
i=SDP Offer #1\r
u=http://www.jdoe.example.com/home.html\r
e=Jane Doe <jane@jdoe.example.com>\r
p=+1 617 555-6011\r
c=IN IP4 198.51.100.1\r
b=CT:128\r
t=2873397496 2873404696\r
r=604800 3600 0 90000\r
t=0 0\r
z=2882844526 -1h 2898848070 0\r
k=prompt\r
a=recvonly\r
m=audio 49170 RTP/AVP 0\r
m=audio 49180 RTP/AVP 0\r
m=video 51372 RTP/AVP 99\r
c=IN IP6 2001:db8::2\r
a=rtpmap:99 h263-1998/90000\r
a=sendrecv\r
"""
SMALL = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


def test_reads_every_line():
    found = SessionDescription.parse(FULL)
    assert found.origin == Origin("jdoe", "3724394400", "3724394405", "IN", "IP4", "198.51.100.1")
    assert (found.name, found.title) == ("Call to John Smith", "SDP Offer #1")
    assert found.uri == "http://www.jdoe.example.com/home.html"
    assert found.emails == ["Jane Doe <jane@jdoe.example.com>"]
    assert found.phones == ["+1 617 555-6011"]
    assert found.bandwidths == [Bandwidth("CT", 128)]
    assert found.timings[0] == Timing(2873397496, 2873404696, ("604800 3600 0 90000",))
    assert found.time_zones == "2882844526 -1h 2898848070 0"
    assert found.key == "prompt"
    assert found.attribute("recvonly") == Attribute("recvonly")
    assert found.attribute("nothing") is None
    assert [one.port for one in found.media] == [49170, 49180, 51372]
    assert bytes(found) == FULL.replace(b"RTP/AVP 0\r\n", b"RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n")


def test_tells_its_lines_without_their_ends():
    assert "\r\n".join([*SessionDescription.parse(FULL).lines(), ""]).encode() == bytes(
        SessionDescription.parse(FULL)
    )


def test_a_section_inherits_address_and_direction():
    found = SessionDescription.parse(FULL)
    audio, _, video = found.media
    assert found.connection_of(audio).host == "198.51.100.1"
    assert found.connection_of(video).host == "2001:db8::2"
    assert found.direction_of(audio) is Direction.RECVONLY
    assert found.direction_of(video) is Direction.SENDRECV
    plain = SessionDescription.parse(SMALL + b"m=audio 1 RTP/AVP 0")
    assert plain.direction_of(plain.media[0]) is Direction.SENDRECV


def test_reads_text_and_bare_line_feeds_alike():
    assert SessionDescription.parse(FULL.decode()) == SessionDescription.parse(FULL)
    assert SessionDescription.parse(FULL.replace(b"\r\n", b"\n")) == SessionDescription.parse(FULL)
    assert SessionDescription.parse(FULL + b"\r\n\r\n") == SessionDescription.parse(FULL)


def test_name_and_timing_may_be_missing():
    found = SessionDescription.parse(b"v=0 \r\no=- 1 1 IN IP4 192.0.2.1\r\n")
    assert (found.name, found.timings) == ("-", [Timing()])


def test_text_in_any_encoding_survives():
    data = SMALL.replace(b"s=-", "s=Grüße".encode("latin-1"))
    assert bytes(SessionDescription.parse(data)) == data
    assert "Gr" in str(SessionDescription.parse(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"v=1",
        b"o=- 1 1 IN IP4 h",
        b"v=0",
        b"\r\n" + SMALL,
        SMALL[:10],
        SMALL + b"x=1",
        SMALL + b"garbage",
        SMALL + b"a=x\rb",
        SMALL + b"a=\x00",
        SMALL.replace(b"t=", b"t=x"),
        SMALL.replace(b"c=IN", b"c="),
        b"v=0\r\no=- 1 1 IN IP4 h\r\nr=1",
        SMALL.replace(b"s=-\r\n", b"s=-\r\n\r\n"),
    ],
)
def test_refuses_what_cannot_be_represented(data):
    with pytest.raises(ParseError) as refused:
        SessionDescription.parse(data)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("row", "limit"),
    [(b"m=audio 1 RTP/AVP 0\r\n", 16), (b"a=x\r\n", 512), (b"a=candidate:1\r\n", 64)],
)
def test_limits_hold_at_their_edge(row, limit):
    assert SessionDescription.parse(SMALL + row * limit)
    with pytest.raises(ParseError):
        SessionDescription.parse(SMALL + row * (limit + 1))


def test_a_description_over_16_kib_is_too_long():
    assert SessionDescription.parse(SMALL + b"i=" + b"x" * (16 * 1024 - len(SMALL) - 2))
    with pytest.raises(ParseError) as refused:
        SessionDescription.parse(SMALL + b"i=" + b"x" * 16 * 1024)
    assert refused.value.status == 413


@pytest.mark.parametrize("poison", ["a\r\nm=audio 1 RTP/AVP 0", "a\nb", "a\rb", "a\0b"])
def test_a_value_cannot_forge_lines(poison):
    made = SessionDescription(Origin("-", "1", "1", "IN", "IP4", "192.0.2.1"), name=poison)
    with pytest.raises(ValueError, match="holds CR"):
        bytes(made)


def test_one_made_by_hand_goes_round():
    made = SessionDescription(
        Origin("-", "1", "1", "IN", "IP6", "::1"),
        connection=ConnectionData.to("::1"),
        media=[MediaDescription("audio", 4000, "RTP/AVP", [RTPPayloadFormat(0)])],
        attributes=[Attribute("inactive")],
    )
    assert SessionDescription.parse(bytes(made)) == made
    with pytest.raises(AttributeError):
        _ = made.nonsense


@pytest.mark.parametrize("name", ["ipv6-in-sdp", "mult-ip-in-sdp"])
def test_reads_the_descriptions_of_rfc_5118(name):
    body = (DATA / "sdp" / f"{name}.dat").read_bytes()
    found = SessionDescription.parse(body)
    assert found.media
    assert SessionDescription.parse(bytes(found)) == found


def test_one_session_may_speak_both_families():
    found = SessionDescription.parse((DATA / "sdp" / "mult-ip-in-sdp.dat").read_bytes())
    families = {found.connection_of(media).addrtype for media in found.media}
    assert families == {"IP4", "IP6"}


_LINES = [
    b"v=0",
    b"o=- 1 1 IN IP4 h",
    b"s=",
    b"t=0 0",
    b"c=IN IP6 ::",
    b"m=audio 1 RTP/AVP 0 96",
    b"a=sendonly",
]
_LINES += [
    b"a=rtpmap:96 opus/48000/2",
    b"a=fmtp:96 x",
    b"m=image 1 udptl t38",
    b"r=1",
    b"z=",
    b"k=",
    b"e=",
    b"p=",
]
_LINES += [b"i=\xff", b"b=AS:1", b"a=rtpmap:0 x/1", b"", b"m=video 0 RTP/SAVP", b"a=\xc3\xa9"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(_LINES) | st.binary(max_size=20), max_size=14), st.booleans())
def test_any_lines_are_read_or_refused_and_go_round(rows, sane):
    data = b"\r\n".join(_LINES[:2] + rows if sane else rows)
    try:
        found = SessionDescription.parse(data)
    except ParseError:
        return
    wire = bytes(found)
    again = SessionDescription.parse(wire)
    assert again == found
    assert bytes(again) == wire


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutations_raise_nothing_but_parse_errors(data):
    wire = bytearray(FULL)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
    try:
        found = SessionDescription.parse(bytes(wire))
    except ParseError:
        return
    assert SessionDescription.parse(bytes(found)) == found


def test_text_that_is_no_unicode_is_refused_when_written_not_read():
    made = SessionDescription.parse(SMALL.decode() + "a=\ud800")
    with pytest.raises(ValueError, match="surrogates"):
        bytes(made)
