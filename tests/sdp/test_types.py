from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
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

OFFER = """m=audio 49170/2 RTP/AVP 111 0 101
i=speech
c=IN IP4 224.2.1.1/127/3
c=IN IP4 224.2.1.4/127/3
b=AS:64
b=TIAS:garbage
k=prompt
a=rtpmap:111 opus/48000/2
a=fmtp:111 useinbandfec=1
a=rtpmap:101 telephone-event/8000
a=sendonly
a=x
a=y:
a=recvonly
"""


def test_reads_a_section():
    media = MediaDescription.parse(OFFER)
    assert (media.media, media.port, media.port_count, media.proto) == (
        "audio",
        49170,
        2,
        "RTP/AVP",
    )
    assert media.title == "speech"
    assert media.connection == ConnectionData("IN", "IP4", "224.2.1.1/127/3")
    assert media.connection.host == "224.2.1.1"
    assert media.bandwidths == [Bandwidth("AS", 64)]
    assert media.key == "prompt"
    assert media.fmt == [
        RTPPayloadFormat(111, "opus", 48000, 2, "useinbandfec=1"),
        RTPPayloadFormat(0),
        RTPPayloadFormat(101, "telephone-event", 8000),
    ]
    assert [str(one) for one in media.attributes] == ["sendonly", "x", "y:", "recvonly"]
    assert media.direction is Direction.RECVONLY
    assert media.attribute("y") == Attribute("y", "")
    assert media.value("x") is None
    assert media.value("nothing") is None
    assert media.get_format(0).encoding_name == "PCMU"
    assert media.get_format(8) is None


def test_what_is_written_is_read_as_the_same():
    media = MediaDescription.parse(OFFER)
    assert MediaDescription.parse(str(media)) == media
    assert MediaDescription.parse(list(media.lines())) == media


def test_lazy_sections_copy_pickle_and_replace_like_any_dataclass():
    for change in (copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        assert change(MediaDescription.parse(OFFER)) == MediaDescription.parse(OFFER)
    moved = dataclasses.replace(MediaDescription.parse(OFFER), port=0)
    assert moved.port == 0
    assert moved.fmt == MediaDescription.parse(OFFER).fmt
    with pytest.raises(AttributeError):
        _ = moved.nonsense


def test_sections_made_by_hand_share_nothing():
    one, two = MediaDescription("audio", 0, "RTP/AVP"), MediaDescription("audio", 0, "RTP/AVP")
    one.fmt.append(RTPPayloadFormat(0))
    assert two.fmt == []
    assert one.direction is None
    assert list(one.lines()) == ["m=audio 0 RTP/AVP 0", "a=rtpmap:0 PCMU/8000"]


def test_the_first_of_two_rtpmaps_counts_and_the_second_stays_visible():
    rows = ["m=audio 9 RTP/AVP 96 96", "a=rtpmap:96 a/8000", "a=rtpmap:96 b/8000"]
    media = MediaDescription.parse([*rows, "a=fmtp:96 x", "a=fmtp:96 y", "a=rtpmap:97 c/8000"])
    assert media.fmt == [RTPPayloadFormat(96, "a", 8000, fmtp="x")]
    assert [one.value for one in media.attributes] == ["96 b/8000", "96 y", "97 c/8000"]
    assert MediaDescription.parse(str(media)) == media


def test_an_rtpmap_that_makes_no_sense_leaves_the_format_without_a_name():
    media = MediaDescription.parse(
        "m=audio 9 RTP/AVP 96 0\na=rtpmap:96 nothing\na=rtpmap:0 PCMU/1_0"
    )
    assert media.fmt == [RTPPayloadFormat(96), RTPPayloadFormat(0)]
    assert len(media.attributes) == 2


def test_a_line_about_a_format_tells_no_value_from_an_empty_one():
    media = MediaDescription.parse("m=audio 9 RTP/AVP 0\na=fmtp\na=fmtp:\na=rtpmap\na=rtpmap:")
    named = [(one.name, one.value) for one in media.attributes]
    assert named == [("fmtp", None), ("fmtp", ""), ("rtpmap", None), ("rtpmap", "")]


def test_long_lines_about_a_format_are_read_like_short_ones():
    long = "x" * 90
    media = MediaDescription.parse(
        f"m=audio 9 RTP/AVP 96 97\na=fmtp:96 {long}\na=fmtp:96 {long}\na=rtpmap:97 {long}/8000"
    )
    assert [fmt.fmtp for fmt in media.fmt] == [long, None]
    assert [one.value for one in media.attributes] == [f"96 {long}", f"97 {long}/8000"]


def test_two_sections_with_the_same_lines_share_nothing():
    text = "m=audio 9 RTP/AVP 96\na=rtpmap:96 opus/48000/2\na=fmtp:96 x\na=sendonly"
    first, second = MediaDescription.parse(text), MediaDescription.parse(text)
    first.fmt[0].encoding_name = first.fmt[0].fmtp = first.attributes[0].name = "spoilt"
    assert second == MediaDescription.parse(text)
    assert str(second) == text.replace("\n", "\r\n") + "\r\n"


def test_formats_of_other_transports_are_kept_as_words():
    media = MediaDescription.parse("m=image 5000 udptl t38")
    assert (media.fmt, media.tokens) == ([], ("t38",))
    assert list(media.lines()) == ["m=image 5000 udptl t38"]


@pytest.mark.parametrize(
    "text",
    [
        "a=x",
        "m=audio",
        "m=audio 1",
        "m=audio x RTP/AVP 0",
        "m=audio 65536 RTP/AVP 0",
        "m=audio -1 RTP/AVP 0",
        "m=audio 1/0 RTP/AVP 0",
        "m=audio 1/x RTP/AVP 0",
        "m=audio 1 RTP/AVP x",
        "m=audio 1 RTP/AVP 128",
        "m=audio 1 RTP/SAVP -1",
        "m=audio 1 RTP/AVP 00",
        "m=audio 1 RTP/AVP " + " ".join(["0"] * 65),
        "m=audio 1 RTP/AVP 0\nq=1",
        "m=audio 1 RTP/AVP 0\nc=IN",
    ],
)
def test_refuses_sections_that_cannot_be_represented(text):
    with pytest.raises(ParseError):
        MediaDescription.parse(text)


def test_no_lines_are_no_section():
    with pytest.raises(ParseError):
        MediaDescription.parse([])


def test_blanks_between_words_do_not_matter():
    assert MediaDescription.parse("m=audio  1  RTP/AVP  0 ").fmt == [RTPPayloadFormat(0)]
    assert MediaDescription.parse("m=audio 1 RTP/AVP").fmt == []


def test_an_origin_may_have_blanks_in_its_name():
    origin = Origin.parse("Alice from Sales 1 2 IN IP4 192.0.2.1")
    assert origin == Origin("Alice from Sales", "1", "2", "IN", "IP4", "192.0.2.1")
    assert str(origin) == "Alice from Sales 1 2 IN IP4 192.0.2.1"
    with pytest.raises(ParseError):
        Origin.parse("1 2 IN IP4 192.0.2.1")


def test_connection_data_know_their_family():
    assert str(ConnectionData.to("::1")) == "IN IP6 ::1"
    assert str(ConnectionData.to("192.0.2.1")) == "IN IP4 192.0.2.1"


def test_timings():
    assert Timing.parse("0 0") == Timing()
    assert str(Timing.parse("3338481189 3370017201")) == "3338481189 3370017201"
    for text in ("", "0", "0 0 0", "-1 0", "0 x"):
        with pytest.raises(ParseError):
            Timing.parse(text)


def test_attributes_tell_no_value_from_an_empty_one():
    assert Attribute.parse("x") == Attribute("x", None)
    assert Attribute.parse("x:") == Attribute("x", "")
    assert Attribute.parse("x:a:b") == Attribute("x", "a:b")


def test_a_repr_shows_no_key():
    assert "secret" not in repr(Attribute("crypto", "1 x inline:secret"))
    assert repr(Attribute("ptime", "20")) == "Attribute('ptime', '20')"


@pytest.mark.parametrize("direction", Direction)
def test_directions(direction):
    assert Direction.of(send=direction.sends, receive=direction.receives) is direction


def test_a_direction_with_a_value_is_none():
    assert MediaDescription.parse("m=audio 1 RTP/AVP 0\na=inactive:1").direction is None


@given(
    st.lists(
        st.sampled_from(
            [
                "a=rtpmap:96 opus/48000/2",
                "a=rtpmap:0 PCMA/8000",
                "a=fmtp:96 ",
                "a=fmtp:0",
                "a=rtpmap:96 ",
                "a=ptime:20",
                "a=sendonly",
                "a=",
                "b=AS:1",
                "b=",
                "c=IN IP4 h",
                "i=x",
                "k=",
                "a=rtpmap",
            ]
        ),
        max_size=10,
    )
)
def test_any_mixture_of_lines_survives_a_round_trip(rows):
    media = MediaDescription.parse(["m=audio 9 RTP/AVP 96 0 96", *rows])
    again = MediaDescription.parse(str(media))
    assert again == media
    assert str(again) == str(media)
