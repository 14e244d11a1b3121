from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.sip.framing import (
    Broken,
    FramingLimits,
    Message,
    Ping,
    Pong,
    StreamFramer,
    is_sip,
    only_line_ends,
)

HEAD = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1\r\n"
    b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n"
    b"Call-ID: 1\r\nCSeq: 1 INVITE\r\n"
)


def message(body: bytes = b"", length: bytes | None = None) -> bytes:
    digits = b"%d" % len(body) if length is None else length
    return HEAD + b"Content-Length: " + digits + b"\r\n\r\n" + body


def whole(data: bytes, **kwargs: object) -> list[object]:
    return list(StreamFramer(0.0, **kwargs).receive(data, 0.0))  # type: ignore[arg-type]


def pieces(data: bytes, cuts: list[int]) -> list[object]:
    framer = StreamFramer(0.0)
    frames: list[object] = []
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        frames += framer.receive(data[start:cut], 0.0)
        start = max(start, cut)
    return frames


def broken(data: bytes, **kwargs: object) -> Broken:
    last = whole(data, **kwargs)[-1]
    assert isinstance(last, Broken)
    return last


def test_yields_a_message_with_its_body():
    assert whole(message(b"v=0\r\n")) == [Message(message(b"v=0\r\n"))]


def test_yields_two_messages_of_one_segment():
    first, second = message(b"abc"), message(b"\r\n\r\n")
    assert whole(first + second) == [Message(first), Message(second)]


def test_waits_for_the_last_byte_of_the_body():
    framer = StreamFramer(0.0)
    data = message(b"abc")
    assert framer.receive(data[:-1], 0.0) == []
    assert framer.pending
    assert framer.receive(data[-1:], 0.0) == [Message(data)]
    assert not framer.pending


def test_a_response_is_framed_like_a_request():
    data = b"SIP/2.0 200 OK\r\nl: 2\r\n\r\nhi"
    assert whole(data) == [Message(data)]


def test_double_crlf_is_a_pong_and_then_a_ping():
    assert whole(b"\r\n") == [Pong()]
    assert whole(b"\r\n\r\n") == [Pong(), Ping()]
    assert whole(b"\r\n\r\n\r\n\r\n") == [Pong(), Ping(), Pong(), Ping()]
    assert whole(b"\r\n" + message() + b"\r\n") == [Pong(), Message(message()), Pong()]


ODD_PIECES = [
    message(),
    message(b"v=0\r\n\r\n"),
    message(b"\0\r\r\n\n"),
    b"\r\n",
    b"\r\n\r\n",
    b"SIP/2.0 180 Ringing\r\nl:\r\n 0\r\n\r\n",
    b"\n",
    b"\r",
    b"GET / HTTP/1.1\r\n",
    HEAD + b"\r\n",
    HEAD.replace(b"\r\n", b"\n") + b"\n",
    HEAD.replace(b"\r\n", b"\r") + b"\r",
    message(length=b"-1"),
    message(length=b"99999"),
    # Where the short cut for whole, usual messages must see what the long way sees.
    b"INVITE sip:a@b SIP/2.0\r\nContent-Length: 1\r\nl: 1\r\n\r\nx",
    b"INVITE sip:a@b SIP/2.0\r\nContent-Length: 1\r\nCONTENT-LENGTH : 1\r\n\r\nx",
    b"INVITE sip:a@b SIP/2.0\r\nContent-Length : 1\r\nContent-Length: 0\r\n\r\nx",
    b"INVITE sip:a@b SIP/2.0\r\nX: 1\r\n Content-Length: 2\r\nContent-Length: 0\r\n\r\n",
    b"INVITE sip:a@b SIP/2.0\r\nX: 1\rContent-Length: 0\r\n\r\n",
    b"INVITE sip:a@b SIP/2.0\nContent-Length: 0\r\n\r\n",
    b"INVITE  sip:a@b SIP/2.0\r\ncontent-length:0\r\n\r\n",
    b"invite sip:a@b SIP/2.0\r\nContent-Length:\t0 \r\n\r\n",
    b"INVITE sip:" + b"a" * 8192 + b" SIP/2.0\r\nContent-Length: 0\r\n\r\n",
    b"INVITE sip:a SIP/2.0\r\nX: " + b"a" * 16384 + b"\r\nContent-Length: 0\r\n\r\n",
    b"SIP/2.0 \r\nContent-Length: 0\r\n\r\n",
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(ODD_PIECES), max_size=6), st.data())
def test_frames_do_not_depend_on_chunks(parts: list[bytes], data: st.DataObject):
    stream = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    expected = whole(stream)
    assert pieces(stream, cuts) == expected
    assert pieces(stream, list(range(len(stream)))) == expected


@settings(max_examples=300)
@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"INVITE a SIP/2.0", b"l: 1", b" x", b"\0"]))
)
def test_any_bytes_come_out_the_same_byte_by_byte(parts: list[bytes]):
    stream = b"".join(parts)
    assert pieces(stream, list(range(len(stream)))) == whole(stream)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_takes_any_bytes(data: bytes):
    framer = StreamFramer(0.0)
    framer.receive(data, 0.0)
    assert len(framer.receive(data, 0.0)) <= len(data)


GOOD_LENGTHS = [b"3", b" 3", b"\t3", b"3 ", b"3\t ", b"03", b"0000000003", b"\r\n 3", b" \r\n\t3 "]
BAD_LENGTHS = [
    b"", b" ", b"-1", b"-3", b"+3", b"+5", b"0x3", b"0x10", b"1_0", b"3_", b"_3", b"3.0", b"3e0",
    b"3,3", b"3, 3", b"3;", b"3;a=b", b'"3"', b"<3>", b"3 3", b"three", b"\xef\xbc\x93",
    b"\xef\xbc\x91\xef\xbc\x92", b"\xc2\xb3", b"\xa03", b"3\xa0", b"\x0b3", b"3\x0c", b"\x1c3",
    b"00000000003", b"1" * 30, b"9" * 5000, b"0b11", b"0o3", b"3L", b"#3", b"%33", b"3\0", b"\x003",
    b"III", b"\xd9\xa3",
]  # fmt: skip


def test_there_are_forty_bad_lengths():
    assert len(BAD_LENGTHS) >= 40


@pytest.mark.parametrize("digits", GOOD_LENGTHS)
@pytest.mark.parametrize("name", [b"Content-Length:", b"l:", b"L :", b"CONTENT-LENGTH \t:"])
def test_reads_every_legal_spelling_of_the_length(name: bytes, digits: bytes):
    data = HEAD + name + digits + b"\r\n\r\nabc"
    assert whole(data) == [Message(data)]


@pytest.mark.parametrize("digits", BAD_LENGTHS)
def test_refuses_any_other_spelling_and_what_follows(digits: bytes):
    frames = whole(message(b"abc", digits) + message())
    assert frames == [Broken(400, "bad_content_length", HEAD + b"\r\n")]


@pytest.mark.parametrize("first", [b"Content-Length: 3\r\n", b"l: 3\r\n"])
@pytest.mark.parametrize(
    "second", [b"Content-Length: 3\r\n", b"l:0\r\n", b"content-length : 4\r\n"]
)
def test_refuses_two_lengths_even_equal_ones(first: bytes, second: bytes):
    for data in (first + second, second + first):
        fault = broken(HEAD + data + b"\r\nabc" + message())
        assert (fault.status, fault.reason) == (400, "duplicate_content_length")


def test_refuses_a_missing_length_and_runs_nothing_after_it():
    framer = StreamFramer(0.0)
    frames = framer.receive(HEAD + b"\r\n" + message(), 0.0)
    assert frames == [Broken(400, "missing_content_length", HEAD + b"\r\n")]
    assert framer.receive(message(), 0.0) == []
    assert framer.deadline() is None
    assert framer.advance(1e9) == []


def test_a_folded_line_that_looks_like_a_length_is_none():
    assert broken(HEAD + b"Subject: x\r\n l: 3\r\n\r\n").reason == "missing_content_length"


def test_refuses_a_declared_length_before_storing_anything():
    assert broken(HEAD + b"l: 65537\r\n\r\n").status == 413
    assert broken(HEAD + b"l: 4000000000\r\n\r\n").reason == "body_too_large"
    framer = StreamFramer(0.0)
    assert framer.receive(HEAD + b"l: 65536\r\n\r\n", 0.0) == []
    assert framer.pending


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_limits_the_body(over: int):
    size = 100 + over
    frame = whole(message(b"x" * size), limits=FramingLimits(body_bytes=100))[0]
    assert isinstance(frame, Broken if over > 0 else Message)


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_limits_the_header_section(over: int):
    tail = b"l: 0\r\n\r\n"
    filler = b"Subject: " + b"x" * (16_384 + over - len(HEAD) - len(tail) - 11) + b"\r\n"
    data = HEAD + filler + tail
    assert len(data) == 16_384 + over
    frame = whole(data)[0]
    if over <= 0:
        assert frame == Message(data)
    else:
        assert isinstance(frame, Broken)
        assert (frame.status, frame.reason) == (513, "header_section_too_large")
        # What is left can still be answered.
        assert frame.head.startswith(HEAD)
        assert frame.head.endswith(b"\r\n\r\n")


def test_a_header_section_without_end_is_cut_at_the_limit():
    stream = HEAD + b"X: y\r\n" * 4000
    fault = broken(stream)
    assert fault.reason == "header_section_too_large"
    assert pieces(stream, list(range(16_000, 17_000))) == [fault]


@pytest.mark.parametrize("over", [-1, 0, 1])
def test_limits_the_first_line(over: int):
    start = b"OPTIONS sip:" + b"a" * (8192 + over - 20) + b" SIP/2.0"
    assert len(start) == 8192 + over
    frame = whole(start + b"\r\nl: 0\r\n\r\n")[0]
    if over > 0:
        assert frame == Broken(None, "first_line_too_long")
        assert broken(start).reason == "first_line_too_long"
    else:
        assert isinstance(frame, Message)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\r"])
def test_refuses_other_line_ends(end: bytes):
    fault = broken(message().replace(b"\r\n", end) + b"x")
    assert (fault.status, fault.reason) == (400, "bad_line_end")
    assert fault.phrase == "Bad line end"


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_refuses_one_other_line_end_among_good_ones(end: bytes):
    fault = broken(message().replace(b"\r\nTo:", end + b"To:"))
    assert fault == Broken(400, "bad_line_end", HEAD + b"\r\n")


def test_a_bare_line_end_between_messages_does_not_stall():
    assert whole(b"\n") == [Broken(None, "bad_line_end")]
    assert whole(b"\r") == []
    assert whole(b"\rx") == [Broken(None, "bad_line_end")]
    assert whole(b"\r\r\n") == [Broken(None, "bad_line_end")]


def test_nul_is_the_parsers_to_judge():
    data = message(b"\0").replace(b"Call-ID: 1", b'X: "\\\0"')
    assert whole(data) == [Message(data)]


def test_a_folded_length_leaves_the_answerable_head_with_its_continuation():
    fault = broken(HEAD + b"Content-Length:\r\n x\r\nSubject: y\r\n\r\n")
    assert fault.head == HEAD + b"Subject: y\r\n\r\n"


BANNERS = [
    b"GET /phpinfo.php HTTP/1.1\r\n", b"POST / HTTP/1.0\r\n", b"CONNECT a:443 HTTP/1.1\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"OPTIONS rtsp://a/ RTSP/1.0\r\n", b"\x16\x03\x01\x02\x00\x01",
    b"SSH-2.0-OpenSSH_9.6\r\n", b"EHLO a.example\r\n", b"220 smtp.example ESMTP\r\n",
    b"\x00\x01\x00\x00\x21\x12\xa4\x42", b"\x03\x00\x00\x13\x0e\xe0", b"\xff\xfb\x01\xff\xfb\x03",
    b"USER anonymous\r\n", b"NICK a\r\n", b"*1\r\n$4\r\nPING\r\n", b"\x04\x01\x00\x50",
    b"\x05\x01\x00", b'{"jsonrpc": "2.0"}', b"<stream:stream>", b"help\r\n",
    b"GNUTELLA CONNECT/0.6\r\n", b"INVITE sip:a@b HTTP/1.1\r\n", b"SIP/2.0\r\n", b"a" * 129,
    b" INVITE sip:a SIP/2.0\r\n", b"HTTP/1.1 200 SIP/2.0\r\n", b"INVITE\r\n",
]  # fmt: skip


@pytest.mark.parametrize("banner", BANNERS)
def test_closes_on_what_is_not_sip_before_anything_behind_it_runs(banner: bytes):
    assert whole(banner + b"\r\n" + message()) == [Broken(None, "not_sip")]


def test_wrong_but_recognisable_first_lines_are_the_parsers():
    for line in (
        b"INVITE sip:a@b SIP/7.0",
        b"INVITE  sip:a@b  SIP/2.0",
        b"OPTIONS sip:a@b SIP/2.0  ",
        b"INVITE sip:a@b; lr SIP/2.0",
        b"invite sip:a@b sip/2.0",
        b"SIP/2.0 4294967301 better not break",
        b"SIP/2.0 100 ",
    ):
        assert is_sip(line)
    assert not is_sip(b"")
    assert not is_sip(b"INVITE")


def test_only_line_ends():
    assert only_line_ends(b"\r\n\r\n")
    assert only_line_ends(b"")
    assert not only_line_ends(b"\r\n.")


def test_the_first_message_of_an_accepted_connection_has_a_deadline():
    framer = StreamFramer(100.0)
    assert framer.deadline() == (110.0, "first_message_timeout")
    framer.receive(b"\r\n\r\n", 105.0)
    assert framer.deadline() == (110.0, "first_message_timeout")
    assert framer.advance(109.9) == []
    assert framer.advance(110.0) == [Broken(None, "first_message_timeout")]


def test_a_message_has_a_deadline_from_its_first_byte():
    framer = StreamFramer(0.0, accepted=False)
    framer.receive(message()[:10], 50.0)
    for second in range(51, 60):
        framer.receive(message()[10 + second : 11 + second], float(second))
    assert framer.deadline() == (60.0, "message_timeout")
    assert framer.advance(60.0) == [Broken(None, "message_timeout")]
    assert framer.advance(61.0) == []


def test_an_idle_connection_ends_later_while_it_is_used():
    framer = StreamFramer(0.0, accepted=False)
    framer.receive(message(), 10.0)
    assert framer.deadline() == (130.0, "idle_timeout")
    framer.receive(b"\r\n", 20.0)
    assert framer.deadline() == (140.0, "idle_timeout")
    framer.in_use = True
    assert framer.deadline() == (920.0, "idle_timeout")


def test_time_per_byte_does_not_grow_with_the_size_of_dribbled_input():
    def seconds(size: int) -> float:
        framer = StreamFramer(0.0)
        data = HEAD + b"X: " + b"a" * size
        start = time.thread_time()
        for at in range(0, len(data), 8):
            framer.receive(data[at : at + 8], 0.0)
        return time.thread_time() - start

    seconds(1000)
    small, large = min(seconds(4000) for _ in range(3)), min(seconds(16_000) for _ in range(3))
    assert large < 4 * 2.3 * small
