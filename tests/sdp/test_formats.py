from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import NegotiationError, ParseError
from voip.sdp.formats import (
    PAYLOAD_TYPES,
    RTPPayloadFormat,
    first_common,
    numbered,
    parse_digits,
    telephone_event,
    telephone_events,
)


@pytest.mark.parametrize(
    "text", ["", "+5", "-1", " 1", "1_0", "１２", "²", "0x10", "12345678901", "1.5", "\u0661"]
)
def test_only_ascii_digits_are_a_number(text):
    assert parse_digits(text, 10**12) is None


def test_numbers_are_bounded():
    assert parse_digits("65535", 65535) == 65535
    assert parse_digits("65536", 65535) is None
    assert parse_digits("0" * 10, 5) == 0
    assert parse_digits("1" * 11, 10**12, digits=11) == 11111111111


def test_static_numbers_are_filled_from_rfc_3551():
    assert RTPPayloadFormat(0) == RTPPayloadFormat(0, "PCMU", 8000, 1)
    assert RTPPayloadFormat(10).channels == 2
    assert RTPPayloadFormat.from_pt(9).sample_rate == 8000
    assert RTPPayloadFormat(11).sample_rate == 44100
    assert len(PAYLOAD_TYPES) == 24


def test_a_dynamic_number_means_nothing_by_itself():
    found = RTPPayloadFormat(111)
    assert (found.encoding_name, found.sample_rate, found.rtpmap) == (None, None, None)
    assert not found.is_named("opus")
    assert not found.matches(RTPPayloadFormat(111))


def test_a_rate_is_filled_only_for_the_static_name():
    assert RTPPayloadFormat(8, "pcma").sample_rate == 8000
    assert RTPPayloadFormat(8, "opus").sample_rate is None
    assert RTPPayloadFormat(8, "PCMA", 16000).sample_rate == 16000
    assert RTPPayloadFormat(96, "PCMA").sample_rate is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("96 opus/48000/2", RTPPayloadFormat(96, "opus", 48000, 2)),
        ("0 PCMU/8000", RTPPayloadFormat(0)),
        ("8 PCMA/16000/1 ", RTPPayloadFormat(8, "PCMA", 16000)),
    ],
)
def test_reads_rtpmaps(text, expected):
    assert RTPPayloadFormat.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "96",
        "96 ",
        "128 x/8000",
        "-1 x/8000",
        "96 opus",
        "96 opus/",
        "96 /8000",
        "96 opus/0",
        "96 a b/8000",
        "96 opus/8000/0",
        "96 opus/8000/",
        "96 opus/8000/256",
        "096 x/8000",
        "96 " + "x" * 64 + "/8000",
    ],
)
def test_refuses_what_is_no_rtpmap(text):
    with pytest.raises(ParseError):
        RTPPayloadFormat.parse(text)


def test_writes_channels_only_when_there_are_several():
    assert str(RTPPayloadFormat(96, "opus", 48000, 2)) == "96 opus/48000/2"
    assert str(RTPPayloadFormat(8)) == "8 PCMA/8000"


def test_formats_match_by_name_rate_and_channels():
    opus = RTPPayloadFormat(96, "OPUS", 48000, 2)
    assert opus.matches(RTPPayloadFormat(111, "opus", 48000, 2))
    assert not opus.matches(RTPPayloadFormat(111, "opus", 48000, 1))
    assert not opus.matches(RTPPayloadFormat(111, "opus", 16000, 2))


def test_telephone_event_must_have_the_clock_of_the_codec():
    narrow = RTPPayloadFormat(101, "telephone-event", 8000)
    wide = RTPPayloadFormat(102, "Telephone-Event", 48000, fmtp="0-15")
    opus = RTPPayloadFormat(111, "opus", 48000, 2)
    assert telephone_event([narrow, wide], RTPPayloadFormat(0)).fmtp == "0-16"
    assert telephone_event([narrow, wide], opus).payload_type == 102
    assert telephone_event([narrow, wide], opus).fmtp == "0-15"
    assert telephone_event([narrow], opus) is None


def test_one_telephone_event_is_offered_per_clock():
    opus = RTPPayloadFormat(101, "opus", 48000, 2)
    events = telephone_events([opus, RTPPayloadFormat(0), RTPPayloadFormat(8)])
    assert [(one.payload_type, one.sample_rate) for one in events] == [(102, 48000), (103, 8000)]
    assert telephone_events([RTPPayloadFormat(120)]) == []
    own = RTPPayloadFormat(100, "telephone-event", 8000)
    assert telephone_events([RTPPayloadFormat(0), own]) == []


def test_formats_that_like_the_same_number_get_their_own():
    twice = [RTPPayloadFormat(96, "a", 8000), RTPPayloadFormat(96, "b", 8000, fmtp="x=1")]
    first, second = numbered(twice)
    assert (first.payload_type, second.payload_type, second.fmtp) == (96, 97, "x=1")
    assert twice[1].payload_type == 96
    with pytest.raises(NegotiationError):
        numbered([RTPPayloadFormat(96, f"c{n}", 8000) for n in range(33)])


def test_the_peers_first_audio_format_that_we_offered_wins():
    ours = [RTPPayloadFormat(111, "opus", 48000, 2), RTPPayloadFormat(8)]
    event = RTPPayloadFormat(101, "telephone-event", 8000)
    theirs = [event, RTPPayloadFormat(0), RTPPayloadFormat(8), RTPPayloadFormat(96, "opus", 48000)]
    assert first_common(theirs, ours) is theirs[2]
    assert first_common([event], [*ours, event]) is None
    bare = first_common([RTPPayloadFormat(111, fmtp="stereo=0")], ours)
    assert bare == RTPPayloadFormat(111, "opus", 48000, 2, "stereo=0")


@given(st.text(max_size=40))
def test_any_rtpmap_is_read_or_refused(text):
    try:
        found = RTPPayloadFormat.parse(text)
    except ParseError:
        return
    assert RTPPayloadFormat.parse(str(found)) == found
