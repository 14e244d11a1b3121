from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.errors import NegotiationError, ParseError, UnsupportedCodecError
from voip.sdp.messages import SessionDescription
from voip.sdp.negotiation import LocalMedia, accept_answer, make_answer, make_offer
from voip.sdp.types import Attribute, Direction, MediaDescription, RTPPayloadFormat
from voip.types import HostPort

OPUS = RTPPayloadFormat(111, "opus", 48000, 2, "useinbandfec=1")
PCMA, PCMU = RTPPayloadFormat(8), RTPPayloadFormat(0)
LOCAL = LocalMedia("192.0.2.9", 4000, session_id=77, version=1)


def choosing(*names):
    """A leg's `negotiate_codec` that likes these names, in this order."""

    def choose(media):
        for name in names:
            for fmt in media.fmt:
                if fmt.is_named(name):
                    return MediaDescription(media.media, 0, media.proto, [fmt])
        raise UnsupportedCodecError(f"offered {[str(fmt) for fmt in media.fmt]}")

    return choose


def offer(*rows, address="IN IP4 192.0.2.1", media="m=audio 5000 RTP/AVP 8 0 101"):
    head = ["v=0", "o=- 1 1 IN IP4 192.0.2.1", "s=-", "t=0 0"]
    if address:
        head.append(f"c={address}")
    event = ["a=rtpmap:101 telephone-event/8000", "a=fmtp:101 0-15"]
    return SessionDescription.parse("\r\n".join([*head, media, *event, *rows]))


def answered(description, local=LOCAL, previous=None, names=("PCMA", "PCMU", "opus", "L16")):
    answer, agreement = make_answer(
        description, choose=choosing(*names), local=local, previous=previous
    )
    return SessionDescription.parse(bytes(answer)), agreement


# Answers


def test_answers_with_one_codec_and_telephone_event():
    answer, agreement = answered(offer())
    assert bytes(answer).decode().split("\r\n") == [
        "v=0",
        "o=- 77 1 IN IP4 192.0.2.9",
        "s=-",
        "c=IN IP4 192.0.2.9",
        "t=0 0",
        "m=audio 4000 RTP/AVP 8 101",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:101 telephone-event/8000",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=sendrecv",
        "",
    ]
    assert agreement.codec == PCMA
    assert agreement.telephone_event.payload_type == 101
    assert agreement.remote == HostPort("192.0.2.1", 5000)
    assert agreement.remote_rtcp == HostPort("192.0.2.1", 5001)
    assert (agreement.send, agreement.receive, agreement.held) == (True, True, False)
    assert agreement.payload_types == {8, 101}
    assert (agreement.index, agreement.ptime_ms, agreement.rtcp_mux) == (0, 20, False)


def test_the_legs_order_of_codecs_decides():
    assert answered(offer(), names=("PCMU", "PCMA"))[1].codec == PCMU


def test_a_dynamic_number_of_the_offer_is_kept():
    description = offer("a=rtpmap:99 opus/48000/2", media="m=audio 5000 RTP/AVP 99 101")
    answer, agreement = answered(description)
    assert answer.media[0].fmt == [RTPPayloadFormat(99, "opus", 48000, 2)]
    assert agreement.telephone_event is None, "its clock is not the codec's"


@pytest.mark.parametrize(
    ("rows", "address", "ours", "send", "receive", "held"),
    [
        ([], "IN IP4 192.0.2.1", "sendrecv", True, True, False),
        (["a=sendonly"], "IN IP4 192.0.2.1", "recvonly", False, True, True),
        (["a=inactive"], "IN IP4 192.0.2.1", "inactive", False, False, True),
        (["a=recvonly"], "IN IP4 192.0.2.1", "sendonly", True, False, False),
        ([], "IN IP4 0.0.0.0", "recvonly", False, True, True),
        (["a=sendonly"], "IN IP4 0.0.0.0", "recvonly", False, True, True),
        (["a=inactive"], "IN IP4 0.0.0.0", "inactive", False, False, True),
        ([], "IN IP6 ::", "recvonly", False, True, True),
        ([], "IN IP6 nobody.invalid", "recvonly", False, True, True),
    ],
)
def test_every_form_of_hold(rows, address, ours, send, receive, held):
    answer, agreement = answered(offer(*rows, address=address))
    assert answer.media[0].direction == ours == agreement.direction
    assert (agreement.send, agreement.receive, agreement.held) == (send, receive, held)
    assert (agreement.remote is None) == ("192" not in address)
    assert (agreement.remote_rtcp is None) == ("192" not in address)


@pytest.mark.parametrize("ours", Direction)
@pytest.mark.parametrize("theirs", Direction)
def test_nobody_sends_to_one_who_does_not_listen(ours, theirs):
    local = LocalMedia("192.0.2.9", 4000, direction=ours)
    _, agreement = answered(offer(f"a={theirs}"), local)
    assert agreement.send == (ours.sends and theirs.receives)
    assert agreement.receive == (ours.receives and theirs.sends)
    assert agreement.held == (ours.sends and not theirs.receives)


def test_the_direction_of_the_session_holds_for_the_section():
    description = offer()
    description.attributes = [Attribute("sendonly")]
    assert answered(description)[1].held


def test_the_first_usable_audio_is_chosen_and_the_rest_refused_in_place():
    rows = ["m=audio 6000 RTP/AVP 0", "c=IN IP4 192.0.2.77", "m=audio 7000 RTP/AVP 0"]
    rows += ["m=video 8000 RTP/AVP 96", "a=rtpmap:96 H264/90000", "m=image 9000 udptl t38"]
    description = offer(*rows, media="m=audio 0 RTP/AVP 8")
    answer, agreement = answered(description)
    assert [one.port for one in answer.media] == [0, 4000, 0, 0, 0]
    assert [one.proto for one in answer.media] == [one.proto for one in description.media]
    assert answer.media[4].tokens == ("t38",)
    assert [fmt.payload_type for fmt in answer.media[3].fmt] == [96]
    assert agreement.index == 1
    assert agreement.remote == HostPort("192.0.2.77", 6000)


def test_an_audio_line_without_a_common_codec_gives_way_to_the_next():
    description = offer("m=audio 6000 RTP/AVP 0", media="m=audio 5000 RTP/AVP 18")
    assert answered(description)[1].index == 1


def test_a_secure_line_gives_way_to_a_plain_one():
    description = offer("m=audio 6000 RTP/AVP 0", media="m=audio 5000 RTP/SAVP 0")
    answer, agreement = answered(description)
    assert agreement.index == 1
    assert (answer.media[0].port, answer.media[0].proto) == (0, "RTP/SAVP")


@pytest.mark.parametrize("proto", ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF"])
def test_an_offer_that_needs_srtp_is_refused(proto):
    with pytest.raises(NegotiationError, match="needs SRTP"):
        answered(offer(media=f"m=audio 5000 {proto} 0"))


@pytest.mark.parametrize(
    ("media", "words"),
    [
        ("m=video 5000 RTP/AVP 96", "no audio"),
        ("m=audio 0 RTP/AVP 0", "no audio"),
        ("m=audio 5000 TCP/MSRP *", "is not RTP"),
    ],
)
def test_an_offer_without_audio_is_refused(media, words):
    with pytest.raises(NegotiationError, match=words):
        answered(offer(media=media))


def test_feedback_profile_is_answered_in_kind():
    assert answered(offer(media="m=audio 5000 RTP/AVPF 0"))[0].media[0].proto == "RTP/AVPF"


def test_no_common_codec_says_what_was_offered():
    with pytest.raises(UnsupportedCodecError, match="G729"):
        answered(offer(media="m=audio 5000 RTP/AVP 18"))


def test_a_leg_may_raise_a_plain_not_implemented_error():
    def choose(media):
        raise NotImplementedError("MyCall speaks nothing")

    with pytest.raises(UnsupportedCodecError, match="MyCall"):
        make_answer(offer(), choose=choose, local=LOCAL)


def test_a_leg_that_returns_no_format_is_told():
    with pytest.raises(NegotiationError, match="returned no format"):
        make_answer(offer(), choose=lambda m: MediaDescription("audio", 0, m.proto), local=LOCAL)


def test_an_m_line_without_formats_is_refused_before_the_leg_looks_at_the_first():
    def choose(media):
        return MediaDescription("audio", 0, media.proto, [media.fmt[0]])

    empty = "m=audio 5000 RTP/AVP"
    with pytest.raises(UnsupportedCodecError, match="no format"):
        make_answer(offer(media=empty), choose=choose, local=LOCAL)
    second = offer("m=audio 6000 RTP/AVP 0", media=empty)
    assert make_answer(second, choose=choose, local=LOCAL)[1].index == 1
    with pytest.raises(NegotiationError, match="no format of the offer"):
        accept_answer(make_offer([PCMU], local=LOCAL), offer(media=empty))


def test_an_agreement_whose_format_was_taken_out_has_no_codec():
    _, agreed = answered(offer())
    agreed.media.fmt.clear()
    with pytest.raises(NegotiationError, match="no format"):
        _ = agreed.codec
    assert answered(offer(), previous=agreed)[1].codec == PCMA


def test_descriptions_without_any_stream_agree_on_nothing():
    empty = SessionDescription.parse(bytes(offer()).partition(b"m=")[0])
    with pytest.raises(NegotiationError, match="no audio"):
        accept_answer(empty, empty)


def test_what_a_leg_raises_otherwise_comes_through():
    with pytest.raises(ZeroDivisionError):
        make_answer(offer(), choose=lambda media: 1 / 0, local=LOCAL)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (["a=ptime:30"], 30),
        (["a=ptime:100"], 60),
        (["a=ptime:25"], 20),
        (["a=ptime:5"], 10),
        (["a=maxptime:10"], 10),
        (["a=ptime:40", "a=maxptime:30"], 30),
        (["a=ptime:x"], 20),
        (["a=ptime:99999999999"], 20),
        (["a=ptime"], 20),
        (["a=ptime:0"], 20),
    ],
)
def test_packet_time(rows, expected):
    answer, agreement = answered(offer(*rows))
    assert agreement.ptime_ms == expected
    assert answer.media[0].value("ptime") == str(expected)


def test_a_codec_may_ask_for_its_own_packet_time():
    def choose(media):
        attributes = [Attribute("ptime", "10")]
        return MediaDescription("audio", 0, media.proto, [media.fmt[0]], attributes)

    answer, agreement = make_answer(offer("a=ptime:20"), choose=choose, local=LOCAL)
    assert agreement.ptime_ms == 10
    assert answer.media[0].value("ptime") == "10"


@pytest.mark.parametrize(
    ("rows", "mux", "expected"),
    [
        (["a=rtcp:53020"], False, HostPort("192.0.2.1", 53020)),
        (["a=rtcp:53020 IN IP6 2001:db8::1"], False, HostPort("2001:db8::1", 53020)),
        (["a=rtcp:53020 IN IP4 0.0.0.0"], False, HostPort("192.0.2.1", 53020)),
        (["a=rtcp:x"], False, HostPort("192.0.2.1", 5001)),
        (["a=rtcp:0"], False, HostPort("192.0.2.1", 5001)),
        (["a=rtcp-mux"], False, HostPort("192.0.2.1", 5001)),
        (["a=rtcp-mux"], True, HostPort("192.0.2.1", 5000)),
        ([], True, HostPort("192.0.2.1", 5001)),
    ],
)
def test_where_rtcp_goes(rows, mux, expected):
    local = LocalMedia("192.0.2.9", 4000, rtcp_mux=mux)
    answer, agreement = answered(offer(*rows), local)
    assert agreement.remote_rtcp == expected
    assert agreement.rtcp_mux == (mux and "a=rtcp-mux" in rows)
    assert (answer.media[0].attribute("rtcp-mux") is not None) == agreement.rtcp_mux


def test_the_last_port_has_no_rtcp_beside_it():
    assert answered(offer(media="m=audio 65535 RTP/AVP 0"))[1].remote_rtcp is None


def test_our_rtcp_port_is_told_when_it_is_not_the_next_one():
    answer, _ = answered(offer(), LocalMedia("192.0.2.9", 4000, rtcp_port=4100))
    assert answer.media[0].value("rtcp") == "4100"
    answer, _ = answered(offer(), LocalMedia("192.0.2.9", 4000, rtcp_port=4001))
    assert answer.media[0].attribute("rtcp") is None


def test_ipv6_on_both_sides():
    answer, agreement = answered(offer(address="IN IP6 2001:DB8:0::1"), LocalMedia("::1", 4000))
    assert agreement.remote == HostPort("2001:db8::1", 5000)
    assert str(answer.connection) == "IN IP6 ::1"
    assert answer.origin.addrtype == "IP6"


def test_a_mapped_address_is_unmapped():
    _, agreement = answered(offer(address="IN IP6 ::ffff:192.0.2.1"))
    assert agreement.remote == HostPort("192.0.2.1", 5000)


def test_a_host_name_is_no_media_address():
    for name in ("victim.example", "a" * 300 + ".invalid"):
        with pytest.raises(NegotiationError, match="no IP address"):
            answered(offer(address=f"IN IP4 {name}"))


def test_an_offer_needs_a_connection_somewhere():
    with pytest.raises(NegotiationError, match="c= line"):
        answered(offer(address=""))
    assert answered(offer("c=IN IP4 192.0.2.3", address=""))[1].remote.host == "192.0.2.3"


def test_the_answer_repeats_the_timing_of_the_offer():
    description = SessionDescription.parse(bytes(offer()).replace(b"t=0 0", b"t=5 6"))
    assert b"\r\nt=5 6\r\n" in bytes(answered(description)[0])


# Re-offers


def test_a_reoffer_keeps_the_codec_and_the_line():
    first = offer("m=audio 6000 RTP/AVP 0", media="m=audio 5000 RTP/AVP 18")
    _, agreed = answered(first)
    assert agreed.index == 1
    again = offer("m=audio 6000 RTP/AVP 8 0", "a=sendonly", media="m=audio 5000 RTP/AVP 8 0")
    answer, agreement = answered(again, previous=agreed)
    assert (agreement.index, agreement.codec, agreement.held) == (1, PCMU, True)
    assert [one.port for one in answer.media] == [0, 4000]


def test_a_reoffer_without_the_codec_lets_the_leg_choose_again():
    _, agreed = answered(offer())
    _, agreement = answered(offer(media="m=audio 5000 RTP/AVP 0"), previous=agreed)
    assert agreement.codec == PCMU


def test_a_leg_that_gave_up_its_codec_chooses_from_the_whole_offer():
    _, agreed = answered(offer())
    _, agreement = answered(offer(), previous=agreed, names=("PCMU",))
    assert agreement.codec == PCMU


def test_a_reoffer_with_fewer_lines_still_finds_the_audio():
    _, agreed = answered(offer("m=audio 6000 RTP/AVP 0", media="m=audio 5000 RTP/AVP 18"))
    assert answered(offer(), previous=agreed)[1].index == 0


# Offers


def test_offers_in_order_with_telephone_event_per_clock():
    made = make_offer([OPUS, PCMA, PCMU], local=LOCAL)
    stream = made.media[0]
    assert [str(fmt) for fmt in stream.fmt] == [
        "111 opus/48000/2",
        "8 PCMA/8000",
        "0 PCMU/8000",
        "101 telephone-event/48000",
        "102 telephone-event/8000",
    ]
    assert (stream.port, stream.proto, stream.direction) == (4000, "RTP/AVP", "sendrecv")
    assert SessionDescription.parse(bytes(made)) == made


def test_offers_what_sections_hold_with_their_packet_time():
    section = MediaDescription("audio", 0, "RTP/AVP", [PCMU], [Attribute("ptime", "10")])
    made = make_offer([section], local=LOCAL)
    assert made.media[0].value("ptime") == "10"
    answer = SessionDescription.parse(bytes(offer(media="m=audio 5000 RTP/AVP 0")))
    assert accept_answer(made, answer).ptime_ms == 10


def test_nothing_to_offer():
    with pytest.raises(NegotiationError):
        make_offer([], local=LOCAL)


def test_offers_hold_and_rtcp_mux():
    local = LocalMedia("192.0.2.9", 4000, direction="sendonly", rtcp_mux=True)
    stream = make_offer([PCMU], local=local).media[0]
    assert stream.direction == "sendonly"
    assert stream.attribute("rtcp-mux") is not None


def test_a_new_offer_keeps_the_number_and_place_of_the_lines():
    answer, _ = answered(offer("m=audio 6000 RTP/AVP 0", media="m=video 5000 RTP/AVP 96"))
    local = LocalMedia("192.0.2.9", 4000, session_id=77, version=2, direction="sendonly")
    made = make_offer([PCMU], local=local, previous=answer)
    assert [(one.media, one.port) for one in made.media] == [("video", 0), ("audio", 4000)]
    assert (made.origin.sess_id, made.origin.sess_version) == ("77", "2")


def test_a_new_offer_after_a_description_without_a_stream_begins_anew():
    empty = SessionDescription.parse(bytes(offer()).partition(b"m=")[0])
    assert [one.port for one in make_offer([PCMU], local=LOCAL, previous=empty).media] == [4000]


def test_both_sides_agree():
    made = SessionDescription.parse(bytes(make_offer([OPUS, PCMA], local=LOCAL)))
    other = LocalMedia("192.0.2.1", 5000, rtcp_port=6000)
    answer, theirs = answered(made, other, names=("PCMA", "opus"))
    ours = accept_answer(made, answer)
    assert ours.codec == theirs.codec == PCMA
    assert ours.telephone_event == theirs.telephone_event
    assert ours.telephone_event.payload_type == 102
    assert (ours.remote, theirs.remote) == (
        HostPort("192.0.2.1", 5000),
        HostPort("192.0.2.9", 4000),
    )
    assert ours.remote_rtcp == HostPort("192.0.2.1", 6000)
    assert (ours.send, ours.receive, theirs.send, theirs.receive) == (True,) * 4


def test_rtcp_mux_needs_both():
    made = make_offer([PCMU], local=LocalMedia("192.0.2.9", 4000, rtcp_mux=True))
    assert not accept_answer(made, answered(made, LOCAL)[0]).rtcp_mux
    muxed = LocalMedia("192.0.2.1", 5000, rtcp_mux=True)
    assert accept_answer(made, answered(made, muxed)[0]).rtcp_mux


@pytest.mark.parametrize("direction", Direction)
def test_an_answer_to_our_hold(direction):
    local = LocalMedia("192.0.2.9", 4000, direction="sendonly")
    made = make_offer([PCMU], local=local)
    answer = offer(f"a={direction}", media="m=audio 5000 RTP/AVP 0 101")
    agreement = accept_answer(made, answer)
    assert agreement.send == direction.receives
    assert not agreement.receive


def test_an_answer_with_other_numbers_is_sent_under_its_numbers():
    made = make_offer([OPUS], local=LOCAL)
    rows = ["a=rtpmap:98 OPUS/48000/2", "a=rtpmap:99 telephone-event/48000"]
    agreement = accept_answer(made, offer(*rows, media="m=audio 5000 RTP/AVP 98 99"))
    assert agreement.codec.payload_type == 98
    assert agreement.telephone_event.payload_type == 99
    assert agreement.payload_types == {98, 99, 101, 111}


def test_telephone_event_that_we_did_not_offer_is_not_agreed():
    made = make_offer([PCMU], local=LOCAL)
    made.media[0].fmt = [PCMU]
    assert accept_answer(made, offer(media="m=audio 5000 RTP/AVP 0 101")).telephone_event is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (offer(media="m=audio 0 RTP/AVP 0"), "refused"),
        (offer("m=video 0 RTP/AVP 96"), "as many"),
        (offer(media="m=audio 5000 RTP/SAVP 0"), "RTP/SAVP"),
        (offer(media="m=video 5000 RTP/AVP 0"), "video"),
        (offer(media="m=audio 5000 RTP/AVP 18"), "G729"),
    ],
)
def test_answers_that_do_not_fit(answer, words):
    with pytest.raises(NegotiationError, match=words):
        accept_answer(make_offer([PCMU], local=LOCAL), answer)


_ROWS = [
    "a=sendonly",
    "a=inactive",
    "a=ptime:30",
    "a=maxptime:1",
    "a=rtcp:1",
    "a=rtcp-mux",
    "a=rtcp:9 IN IP4 x",
]
_ROWS += [
    "c=IN IP4 0.0.0.0",
    "c=IN IP6 ::1",
    "c=IN IP4 name",
    "m=audio 1 RTP/AVP 8",
    "m=audio 0 RTP/AVP 0",
]
_ROWS += [
    "m=audio 9 RTP/SAVP 0",
    "m=image 1 udptl t38",
    "m=audio 1 RTP/AVP",
    "a=rtpmap:96 opus/48000/2",
]
_ROWS += ["m=audio 7 RTP/AVP 96 0", "m=audio 65535 RTP/AVPF 0 96"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(_ROWS), max_size=8), st.sampled_from(Direction))
def test_any_offer_ends_in_an_answer_that_fits_or_a_refusal(rows, direction):
    try:
        description = offer(*rows)
        local = LocalMedia("192.0.2.9", 4000, direction=direction, rtcp_mux=True)
        answer, agreement = answered(description, local)
    except (ParseError, NegotiationError):
        return
    assert len(answer.media) == len(description.media)
    assert [index for index, one in enumerate(answer.media) if one.port] == [agreement.index]
    assert 10 <= agreement.ptime_ms <= 60
    # The other side, had it the same formats, reads the mirror image of it.
    assert (
        not agreement.send or description.direction_of(description.media[agreement.index]).receives
    )
