from __future__ import annotations

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.errors import NegotiationError, ParseError, UnsupportedCodecError
from voip.sdp.answering import MAX_ADDRESSES, MAX_REMEMBERED_BYTES, AnswerBook
from voip.sdp.messages import SessionDescription
from voip.sdp.negotiation import LocalMedia, make_answer
from voip.sdp.types import Attribute, Direction, MediaDescription, RTPPayloadFormat
from voip.types import HostPort

DATA = pathlib.Path(__file__).parents[1] / "data"
NAMES = ("PCMA", "PCMU", "opus", "G722", "L16")

SIPP = """v=0
o=user1 53655765 2353687637 IN IP4 127.0.0.1
s=-
c=IN IP4 127.0.0.1
t=0 0
m=audio 6000 RTP/AVP 8 0 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-16
"""
BARESIP = """v=0
o=- 2477352914 3241863047 IN IP4 192.0.2.20
s=-
c=IN IP4 192.0.2.20
t=0 0
a=tool:baresip 1.0.0
m=audio 17184 RTP/AVP 96 0 8 101
b=AS:128
a=rtpmap:96 opus/48000/2
a=fmtp:96 stereo=1;sprop-stereo=1;maxaveragebitrate=100%
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=rtcp:17185
a=sendrecv
a=label:1
a=rtcp-rsize
a=ssrc:1357294562 cname:sip:bob@192.0.2.20
a=ptime:20
"""
LINPHONE = """v=0
o=alice 3127 1741 IN IP4 192.0.2.30
s=Talk
c=IN IP4 192.0.2.30
t=0 0
a=rtcp-xr:rcvr-rtt=all:10000 stat-summary=loss,dup,jitt,TTL voip-metrics
a=record:off
m=audio 7078 RTP/AVPF 96 97 98 0 8 101 99
c=IN IP6 2001:DB8::30
a=rtpmap:96 opus/48000/2
a=fmtp:96 useinbandfec=1
a=rtpmap:97 speex/16000
a=fmtp:97 vbr=on
a=rtpmap:98 speex/8000
a=fmtp:98 vbr=on
a=rtpmap:101 telephone-event/48000
a=rtpmap:99 telephone-event/8000
a=rtcp-mux
a=rtcp-fb:* trr-int 1000
a=rtcp-fb:* ccm tmmbr
"""
CHROMIUM = """v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic: WMS
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:EsAw
a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y
a=fingerprint:sha-256 49:66:12:17:0D:1C:91:AE:57:4C:C6:36:DD:D5:97:D2:7D:62:C9:9A
a=setup:actpass
a=mid:0
a=sendrecv
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:110 telephone-event/48000
a=rtpmap:126 telephone-event/8000
"""
# RFC 3264 §10.1 and §10.2, RFC 4317 §2.1 and §4.1, in that order.
RFC_3264_BASIC = """v=0
o=alice 2890844526 2890844526 IN IP4 host.anywhere.com
s=
c=IN IP4 192.0.2.40
t=0 0
m=audio 49170 RTP/AVP 0
a=rtpmap:0 PCMU/8000
m=video 51372 RTP/AVP 31
a=rtpmap:31 H261/90000
m=video 53000 RTP/AVP 32
a=rtpmap:32 MPV/90000
"""
RFC_3264_ONE_OF_N = """v=0
o=alice 2890844526 2890844526 IN IP4 host.anywhere.com
s=
c=IN IP4 192.0.2.41
t=0 0
m=audio 62986 RTP/AVP 0 4 18
a=rtpmap:0 PCMU/8000
a=rtpmap:4 G723/8000
a=rtpmap:18 G729/8000
a=inactive
"""
RFC_4317_AUDIO_VIDEO = """v=0
o=alice 2890844526 2890844526 IN IP4 host.atlanta.example.com
s=
c=IN IP4 192.0.2.42
t=0 0
m=audio 49170 RTP/AVP 0 8 97
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:97 iLBC/8000
m=video 51372 RTP/AVP 31 32
a=rtpmap:31 H261/90000
a=rtpmap:32 MPV/90000
"""
RFC_4317_HOLD = """v=0
o=bob 2808844564 2808844565 IN IP4 host.biloxi.example.com
s=
c=IN IP4 192.0.2.43
t=0 0
m=audio 49172 RTP/AVP 97 0
a=rtpmap:97 iLBC/8000
a=rtpmap:0 PCMU/8000
a=sendonly
"""
OFFERS = {
    "sipp": SIPP,
    "baresip": BARESIP,
    "baresip without a=rtcp": BARESIP.replace("a=rtcp:17185\n", ""),
    "linphone": LINPHONE,
    "chromium": CHROMIUM,
    "RFC 3264 §10.1": RFC_3264_BASIC,
    "RFC 3264 §10.2": RFC_3264_ONE_OF_N,
    "RFC 4317 §2.1": RFC_4317_AUDIO_VIDEO,
    "RFC 4317 §4.1": RFC_4317_HOLD,
    "hold by address": SIPP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0"),
    "multicast": SIPP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 233.252.0.1/127"),
    "timings": SIPP.replace("t=0 0", "t=3034423619 3042462419\nr=7d 1h 0 25h\nr=100%\nt=0 0"),
    "session hold": SIPP.replace("t=0 0", "t=0 0\na=sendonly"),
    "packet times": SIPP + "a=ptime:30\na=maxptime:40\n",
    "text that is not UTF-8": SIPP.replace("0-16", "0-16\udcff %d %% \udce9"),
    "two o= lines": SIPP.replace("s=-", "s=-\no=b 2 2 IN IP4 192.0.2.1"),
    "bare line feed": SIPP,
    "o= in the second place": SIPP.replace("v=0", "v=0\ns=x"),
    "a name with blanks in o=": SIPP.replace("user1", "Alice van der  Example"),
    "o= too short": SIPP.replace("53655765 ", ""),
    "o= too short by a double blank": SIPP.replace("53655765 ", " "),
    "o= with a tab": SIPP.replace("user1 ", "user1\t"),
    "o= with NUL": SIPP.replace("user1", "user\0"),
    "o= with a carriage return": SIPP.replace("user1", "user\r"),
    "no c=": SIPP.replace("c=IN IP4 127.0.0.1\n", ""),
    "c= that is a name": SIPP.replace("c=IN IP4 127.0.0.1", "c=IN IP4 victim.example"),
    "c= too short": SIPP.replace("c=IN IP4 127.0.0.1", "c=IN IP4"),
    "a line that is none": SIPP.replace("s=-", "s=-\nx=1"),
    "only codecs that we have not": SIPP.replace(" 8 0 101", " 18 101"),
    "only telephone-event": SIPP.replace(" 8 0 101", " 101"),
    "no format": SIPP.replace(" 8 0 101", ""),
    "no format but a blank": SIPP.replace(" 8 0 101", " "),
    "a format that is none": SIPP.replace(" 8 0 101", " 8 0 128"),
    "two blanks in m=": SIPP.replace("m=audio ", "m=audio  "),
    "another m= in front": SIPP.replace("m=audio", "m=video 5 RTP/AVP 31\nm=audio"),
    "another m= behind": SIPP + "m=audio 7000 RTP/AVP 0\n",
    "two ports": SIPP.replace("6000", "6000/2"),
    "a port that is none": SIPP.replace("6000", "x"),
    "a port with a sign": SIPP.replace("6000", "+6000"),
    "a port with zeros": SIPP.replace("6000", "06000"),
    "a port with many zeros": SIPP.replace("6000", "0000006000"),
    "port 0": SIPP.replace("6000", "0"),
    "port 65535": SIPP.replace("6000", "65535"),
    "port 65536": SIPP.replace("6000", "65536"),
    "RTCP elsewhere": SIPP + "a=rtcp:6001\n",
    "RTCP without a port": SIPP + "a=rtcp\n",
    "SRTP": SIPP.replace("RTP/AVP", "RTP/SAVP"),
    "long": SIPP + "a=label:1\n" * 200,
    "as long as may be": SIPP + "a=".ljust(MAX_REMEMBERED_BYTES - len(SIPP) - 12, "x") + "\n",
    "one longer": SIPP + "a=".ljust(MAX_REMEMBERED_BYTES - len(SIPP) - 11, "x") + "\n",
    "too long": SIPP + "a=x\n" * 5000,
    "too many attributes": SIPP + "a=x\n" * 600,
    "nothing": "",
    "only the head": "v=0\no=",
    "only o=": "v=0\no=- 123 1 IN IP4 h",
    "no CRLF": "v=0\no=- 123 1 IN IP4 h\nm=audio 5000 RTP/AVP 0",
    "m= behind o=": "v=0\no=- 123 1 IN IP4 h\nm=audio 5000 RTP/AVP 0\nc=IN IP4 192.0.2.1",
    "m= in front of o=": "v=0\no=m=audio 5000 RTP/AVP 0\nc=IN IP4 192.0.2.1",
}
LOCALS = [
    LocalMedia("192.0.2.9", 4000, session_id=77, version=1),
    LocalMedia("192.0.2.9", 65534, 65535, session_id=2**63, version=9),
    LocalMedia("2001:db8::9", 4002, session_id=1),
    LocalMedia("192.0.2.9", 4004, rtcp_mux=True),
    LocalMedia("192.0.2.9", 4006, 9000, session_id=3),
    LocalMedia("192.0.2.9", 4006, 9000, rtcp_mux=True),
    LocalMedia("192.0.2.9", 4008, direction="sendonly"),
    LocalMedia("192.0.2.9", 4008, direction=Direction.INACTIVE),
    LocalMedia("192.0.2.9", 4010, direction=Direction.SENDRECV),
]
WIRES = {
    **{name: text.encode("utf-8", "surrogateescape") for name, text in OFFERS.items()},
    **{path.stem: path.read_bytes() for path in (DATA / "sdp").glob("*.dat")},
}
WIRES = {
    name: wire if name in ("bare line feed", "no CRLF") else wire.replace(b"\n", b"\r\n")
    for name, wire in WIRES.items()
}


def choosing(*names):
    """A leg's `negotiate_codec` that likes these names, and counts how often it is asked."""

    def choose(media):
        choose.asked += 1
        for name in names:
            for fmt in media.fmt:
                if fmt.is_named(name):
                    return MediaDescription(media.media, 0, media.proto, [fmt])
        raise UnsupportedCodecError(f"offered {[str(fmt) for fmt in media.fmt]}")

    choose.asked = 0
    return choose


def in_full(offer, local, choose):
    """What the book has to give, and where the peer wants its packets."""
    try:
        parsed = SessionDescription.parse(offer)
        remote = None
        for section in reversed(parsed.media):
            if section.media == "audio" and section.port:
                where = parsed.connection_of(section)
                remote = where and HostPort(where.host, section.port)
        try:
            description, agreement = make_answer(parsed, choose=choose, local=local)
        except NegotiationError as refused:
            return remote, (type(refused), str(refused))
        return remote, (bytes(description), agreement)
    except ParseError as refused:
        return None, (type(refused), str(refused), refused.status, refused.fragment)


def by_book(offer, local, book):
    try:
        opened = book.open(offer)
        try:
            return opened.remote, opened.answer(local)
        except NegotiationError as refused:
            return opened.remote, (type(refused), str(refused))
    except ParseError as refused:
        return None, (type(refused), str(refused), refused.status, refused.fragment)


def again(offer, number):
    """The offer as it comes in another call: with another session and another port."""
    offer = offer.replace(b"2353687637", b"%d" % number).replace(b" 123 ", b" %d " % number)
    return offer.replace(b"m=audio 6000", b"m=audio %d" % (6000 + 2 * number))


@pytest.mark.parametrize("name", WIRES)
def test_answers_as_in_full_the_first_time_and_ever_after(name):
    choose, book = choosing(*NAMES), AnswerBook(choosing(*NAMES))
    for number in range(3):
        for local in LOCALS:
            offer = again(WIRES[name], number)
            assert by_book(offer, local, book) == in_full(offer, local, choose)


@pytest.mark.parametrize("name", WIRES)
def test_the_description_is_the_whole_offer(name):
    book = AnswerBook(choosing(*NAMES))
    for number in range(3):
        offer = again(WIRES[name], number)
        try:
            opened = book.open(offer)
        except ParseError:
            continue
        assert opened.description == SessionDescription.parse(offer)
        by_book(offer, LOCALS[0], book)


@pytest.mark.parametrize(
    "name",
    [
        *("sipp", "baresip without a=rtcp", "linphone", "RFC 3264 §10.2", "RFC 4317 §4.1"),
        *("timings", "hold by address", "text that is not UTF-8", "a name with blanks in o="),
        *("multicast", "m= behind o=", "session hold", "RTCP without a port"),
        *("as long as may be", "packet times", "two o= lines"),
    ],
)
def test_the_leg_is_asked_once(name):
    wire = WIRES[name].replace(b"Alice van der  Example", b"Alice van der Example")
    choose = choosing(*NAMES)
    book = AnswerBook(choose)
    for number in range(5):
        local = LocalMedia("192.0.2.9", 4000 + 2 * number, session_id=number, version=number)
        book.open(again(wire, number)).answer(local)
    assert choose.asked == 1


@pytest.mark.parametrize(
    ("name", "local"),
    [
        *((name, LOCALS[0]) for name in ("baresip", "two ports", "port 65535", "one longer")),
        *((name, LOCALS[0]) for name in ("another m= in front", "another m= behind")),
        *((name, LOCALS[0]) for name in ("bare line feed", "RTCP elsewhere")),
        *(("sipp", local) for local in LOCALS[4:8]),
    ],
)
def test_the_unusual_is_answered_in_full_each_time(name, local):
    choose = choosing(*NAMES)
    book = AnswerBook(choose)
    for _ in range(3):
        book.open(WIRES[name]).answer(local)
    assert choose.asked == 3


@pytest.mark.parametrize(
    "row",
    ["a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x", "a=ice-pwd:x", "a=key-mgmt:mikey x", "k=x"],
)
def test_secrets_are_not_remembered(row):
    offer = WIRES["sipp"] + row.encode() + b"\r\n"
    book = AnswerBook(choosing(*NAMES))
    for _ in range(2):
        assert by_book(offer, LOCALS[0], book) == in_full(offer, LOCALS[0], choosing(*NAMES))
    assert book._known == {}


def test_refusals_are_not_remembered():
    choose = choosing()
    book = AnswerBook(choose)
    for _ in range(3):
        with pytest.raises(UnsupportedCodecError):
            book.open(WIRES["sipp"]).answer(LOCALS[0])
    assert choose.asked == 3


def test_every_o_line_is_read():
    book = AnswerBook(choosing(*NAMES))
    book.open(WIRES["sipp"]).answer(LOCALS[0])
    for bad in (b"", b"user1", b"a b c d  e", b"a b c d e ", b"a b c d e\0f", b"a b c d e f\r"):
        head, _, tail = WIRES["sipp"].partition(b"user1 53655765 2353687637 IN IP4 127.0.0.1")
        with pytest.raises(ParseError) as refused:
            book.open(head + bad + tail)
        assert refused.value.status == 400


def spoil(agreement):
    """Change all that can be changed."""
    for fmt in agreement.media.fmt:
        fmt.payload_type, fmt.encoding_name, fmt.sample_rate = 1, "spoilt", 1
        fmt.channels, fmt.fmtp = 9, "spoilt"
    for attribute in agreement.media.attributes:
        attribute.name = attribute.value = "spoilt"
    media = agreement.media
    media.fmt.append(RTPPayloadFormat(0))
    media.attributes.append(Attribute("spoilt"))
    media.bandwidths.append(None)
    media._raw.append("a=spoilt")
    media.media, media.port, media.proto, media.title, media.tokens = "x", 0, "x", "x", ("x",)
    agreement.index, agreement.remote, agreement.remote_rtcp, agreement.send = 7, None, None, None
    agreement.payload_types = agreement.telephone_event = agreement.direction = None
    agreement.ptime_ms = agreement.held = agreement.receive = agreement.rtcp_mux = None


def test_changing_one_result_changes_no_later_one():
    offer, local = WIRES["sipp"], LOCALS[0]
    expected = in_full(offer, local, choosing(*NAMES))
    book = AnswerBook(choosing(*NAMES))
    for _ in range(4):
        assert by_book(offer, local, book) == expected
        opened = book.open(offer)
        # Answered twice: a user may ask what would become of it, and then change what he got.
        for _ in range(2):
            opened.description.media[0].fmt.clear()
            opened.description.media[0].port = 1
            _, agreement = opened.answer(local)
            assert agreement == expected[1][1]
            spoil(agreement)


def test_the_first_offer_may_be_answered_twice():
    opened = AnswerBook(choosing(*NAMES)).open(WIRES["another m= behind"])
    first = opened.answer(LOCALS[0])
    spoil(first[1])
    second = opened.answer(LOCALS[0])
    assert second == in_full(WIRES["another m= behind"], LOCALS[0], choosing(*NAMES))[1]


def test_the_format_of_key_presses_is_that_of_the_section():
    book = AnswerBook(choosing(*NAMES))
    for _ in range(2):
        _, agreement = book.open(WIRES["sipp"]).answer(LOCALS[0])
        assert agreement.telephone_event is agreement.media.fmt[1]


def test_a_leg_may_ask_for_its_packet_time():
    def choose(media):
        return MediaDescription("audio", 0, media.proto, media.fmt[1:2], [Attribute("ptime", "10")])

    book = AnswerBook(choose)
    for _ in range(2):
        assert by_book(WIRES["sipp"], LOCALS[0], book) == in_full(WIRES["sipp"], LOCALS[0], choose)


def test_a_format_of_another_type_is_not_made_again():
    class Own(RTPPayloadFormat):
        pass

    book = AnswerBook(lambda media: MediaDescription("audio", 0, media.proto, [Own(0)]))
    for _ in range(2):
        assert type(book.open(WIRES["sipp"]).answer(LOCALS[0])[1].codec) is Own


def test_the_memory_is_bounded():
    choose = choosing(*NAMES)
    book = AnswerBook(choose, size=4)
    for number in range(20):
        offer = WIRES["sipp"] + b"a=label:%d\r\n" % number
        assert by_book(offer, LOCALS[0], book) == in_full(offer, LOCALS[0], choosing(*NAMES))
        assert len(book._known) <= 4
    assert choose.asked == 20
    book.open(WIRES["sipp"] + b"a=label:19\r\n").answer(LOCALS[0])
    assert choose.asked == 20


def test_a_book_of_no_size_asks_each_time():
    choose = choosing(*NAMES)
    book = AnswerBook(choose, size=0)
    for _ in range(3):
        book.open(WIRES["sipp"]).answer(LOCALS[0])
    assert (choose.asked, book._known) == (3, {})


def test_the_addresses_of_ours_are_bounded():
    book = AnswerBook(choosing(*NAMES))
    for number in range(20):
        local = LocalMedia(f"192.0.2.{number}", 4000)
        answer = by_book(WIRES["sipp"], local, book)
        assert answer == in_full(WIRES["sipp"], local, choosing(*NAMES))
    assert all(len(known.answers) <= MAX_ADDRESSES for known in book._known.values())


def test_an_offer_outlives_the_memory_of_it():
    book = AnswerBook(choosing(*NAMES), size=1)
    book.open(WIRES["sipp"]).answer(LOCALS[0])
    opened = book.open(WIRES["sipp"])
    book.open(WIRES["linphone"]).answer(LOCALS[0])
    for local in LOCALS:
        assert opened.answer(local) == in_full(WIRES["sipp"], local, choosing(*NAMES))[1]
    assert len(book._known) == 1


_ORIGINS = ["- 1 1 IN IP4 h", "a b c 1 1 IN IP4 h", "1 1 IN IP4 h", "-  1 IN IP4 h", "\udcff"]
_HEADS = ["s=-", "s=", "t=0 0", "t=1 2", "t=x", "c=IN IP4 192.0.2.1", "c=IN IP6 ::1", "c=IN IP4"]
_HEADS += ["c=IN IP4 0.0.0.0", "c=IN IP4 name", "c=IN IP4 192.0.2.1/24", "a=sendonly", "a=recvonly"]
_HEADS += [
    "b=AS:64",
    "i=\udcff%s",
    "r=1",
    "o=- 2 2 IN IP4 h",
    "o=2",
    "x=",
    "a=rtcp:1",
    "a=inactive",
]
_MEDIA = ["m=audio {} RTP/AVP 8 0 101", "m=audio {} RTP/AVP 96 97 101", "m=audio {} RTP/AVPF 0"]
_MEDIA += ["m=audio {} RTP/SAVP 0", "m=audio {} RTP/AVP", "m=video {} RTP/AVP 96", "m=audio {}"]
_MEDIA += ["m=audio  {} RTP/AVP 0", "m=audio {}/2 RTP/AVP 0", "m=audio {} RTP/AVP 0 0 200"]
_ROWS = ["a=rtpmap:96 opus/48000/2", "a=rtpmap:97 L16/44100", "a=rtpmap:101 telephone-event/8000"]
_ROWS += ["a=rtpmap:101 telephone-event/48000", "a=fmtp:101 0-15", "a=fmtp:96 x=%d;y=\udcff"]
_ROWS += ["a=rtcp-mux", "a=rtcp:5001", "a=rtcp:53020 IN IP4 192.0.2.7", "a=rtcp", "a=ptime:30"]
_ROWS += ["a=ptime:x", "a=maxptime:10", "a=sendonly", "a=inactive", "a=recvonly", "a=sendrecv"]
_ROWS += ["c=IN IP4 192.0.2.2", "c=IN IP4 0.0.0.0", "k=x", "x=1", "m=audio 7 RTP/AVP 0", "m=x", ""]
_PORTS = st.integers(0, 65536) | st.sampled_from([0, 1, 5000, 65534, 65535, "05", "x", ""])
_TEXT = st.builds(
    lambda heads, media, rows: "\r\n".join([*heads, media, *rows]),
    st.lists(st.sampled_from(_HEADS), max_size=4).map(lambda rows: [*_HEADS[0:6:5], *rows]),
    st.sampled_from(_MEDIA) | st.just(_MEDIA[0]),
    st.lists(st.sampled_from(_ROWS), max_size=5),
)
_LOCAL = st.builds(
    LocalMedia,
    st.sampled_from(["192.0.2.9", "::1"]),
    port=st.integers(1, 65534),
    rtcp_port=st.none() | st.just(4001),
    session_id=st.integers(0, 2**64),
    version=st.integers(0, 9),
    direction=st.sampled_from(["sendrecv", "sendrecv", *Direction]),
    rtcp_mux=st.booleans(),
)
_CALL = st.tuples(st.sampled_from(_ORIGINS) | st.just(_ORIGINS[0]), _PORTS, _LOCAL)


@settings(max_examples=300, deadline=None)
@given(_TEXT, st.lists(_CALL, min_size=2, max_size=6))
def test_any_offer_is_answered_as_in_full_whatever_came_before(text, calls):
    book = AnswerBook(choosing(*NAMES), size=2)
    for origin, port, local in calls:
        body = text.replace("{}", str(port))
        offer = f"v=0\r\no={origin}\r\n{body}\r\n".encode("utf-8", "surrogateescape")
        opened, expected = by_book(offer, local, book), in_full(offer, local, choosing(*NAMES))
        assert opened == expected
        if isinstance(opened[1][0], bytes):
            spoil(opened[1][1])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_offers_are_answered_as_in_full(data):
    book = AnswerBook(choosing(*NAMES))
    book.open(WIRES["sipp"]).answer(LOCALS[0])
    wire = bytearray(WIRES["sipp"])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(wire) - 1))
        wire[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b"\r\n", b" ", b"\n", b"\r\nm=audio "])
        )
    for _ in range(2):
        offer = bytes(wire)
        expected = in_full(offer, LOCALS[0], choosing(*NAMES))
        assert by_book(offer, LOCALS[0], book) == expected
