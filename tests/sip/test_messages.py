from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sdp.messages import SessionDescription
from voip.sip.headers import Headers
from voip.sip.messages import Message, Request, Response
from voip.sip.types import SipURI

USUAL = (
    b"BYE sip:a@x SIP/2.0\r\nMax-Forwards: 70\r\nVia: SIP/2.0/UDP a:5062;branch=z9hG4bK1;rport\r\n"
    b"From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\nCall-ID: c@x\r\nCSeq: 7 BYE\r\n"
    b"Content-Length: 0\r\n\r\n"
)
SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0\r\n"
)
INVITE = (
    b"INVITE sip:bob@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport\r\n"
    b"Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK0\r\n"
    b"Record-Route: <sip:192.0.2.1;lr>\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice" <sip:alice@example.com>;tag=a1\r\n'
    b"To: <sip:bob@example.com>\r\n"
    b"Call-ID: abc@192.0.2.1\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@192.0.2.1>\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n"
    b"\r\n%b" % (len(SDP), SDP)
)


def parse_request(data, **options):
    message = Message.parse(data, **options)
    assert isinstance(message, Request)
    return message


def parse_response(data):
    message = Message.parse(data)
    assert isinstance(message, Response)
    return message


def test_request_is_read_and_written_back():
    request = parse_request(INVITE)
    assert (request.method, request.raw_uri, request.version) == (
        "INVITE",
        b"sip:bob@example.com",
        "SIP/2.0",
    )
    assert request.uri == SipURI("sip:bob@example.com")
    assert request.uri is request.uri
    assert request.branch == "z9hG4bK1"
    assert request.flaw is None
    assert request.raw_body == SDP
    assert bytes(request) == INVITE
    assert repr(request) == "<Request INVITE>"
    assert request == Message.parse(INVITE)
    assert request != "INVITE"


def test_response_is_read_and_written_back():
    data = b"SIP/2.0 299 G\xc3\xbct\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    response = parse_response(data)
    assert (response.status_code, response.reason) == (299, "Güt")
    assert bytes(response) == data
    assert repr(response) == "<Response 299>"
    assert len({response, response}) == 1


@pytest.mark.parametrize(
    ("line", "code", "reason"),
    [(b"SIP/2.0 100 ", 100, ""), (b"SIP/2.0 200 OK", 200, "OK"), (b"SIP/2.0 699", 699, "")],
)
def test_status_lines(line, code, reason):
    response = parse_response(line + b"\r\n\r\n")
    assert (response.status_code, response.reason) == (code, reason)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\r\n", b"\r\n\r\n", b"hello", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\x00"),
        *(b"SIP/2.0 99 Low\r\n\r\n", b"SIP/2.0 700 High\r\n\r\n", b"SIP/2.0 20 x\r\n\r\n"),
        *(
            b"SIP/2.0 4294967301 x\r\n\r\n",
            b"SIP/2.0 \xb2\xb2\xb2 x\r\n\r\n",
            b"SIP/2.0 +20 x\r\n\r\n",
        ),
        *(b"SIP/2.0 200x\r\n\r\n", b"SIP/3.0 200 OK\r\n\r\n", b"INVITE sip:a@x\r\n\r\n"),
        *(
            b"IN(VITE sip:a@x SIP/2.0\r\n\r\n",
            b" INVITE sip:a@x SIP/2.0\r\n\r\n",
            b"SIP/2.0 \r\n\r\n",
        ),
        *(b"M" * 65 + b" sip:a@x SIP/2.0\r\n\r\n", b"INVITE sip:a@x SIP/2.0.0\r\n\r\n"),
        *("ſ sip:a@x SIP/2.0\r\n\r\n".encode(), b"OPTIONS sip:a@x SIP/2.0\nVia: a\n\n"),
    ],
)
def test_what_cannot_be_represented_is_to_be_dropped(data):
    with pytest.raises(ParseError) as caught:
        Message.parse(data)
    assert caught.value.status is None


@pytest.mark.parametrize(
    "line",
    [
        b"INVITE  sip:a@x SIP/2.0",
        b"INVITE sip:a@x SIP/2.0 ",
        b"INVITE sip:a@x; lr SIP/2.0",
        b"INVITE sip:a@x\tSIP/2.0 SIP/2.0",
    ],
)
def test_white_space_in_the_request_line_is_kept_for_the_answer(line):
    request = parse_request(line + b"\r\n\r\n")
    assert request.method == "INVITE"
    assert request.flaw is not None or b"\t" in request.raw_uri


def test_other_versions_are_represented():
    assert parse_request(b"OPTIONS sip:a@x SIP/7.0\r\n\r\n").version == "SIP/7.0"
    assert parse_request(b"OPTIONS sip:a@x sip/2.0\r\n\r\n").version == "SIP/2.0"


def test_line_ends_before_the_start_line_are_ignored():
    assert parse_request(b"\r\n\r\n" + INVITE).method == "INVITE"


def test_folded_headers_are_one_line():
    request = parse_request(
        b"OPTIONS sip:a@x SIP/2.0\r\nSubject: one\r\n\t two\r\n  three\r\nl: 0\r\n\r\n"
    )
    assert request.headers["Subject"] == "one two three"
    assert request.headers["Content-Length"] == "0"
    assert request.flaw is None


@pytest.mark.parametrize(
    ("section", "flaw"),
    [
        (b"Via SIP/2.0\r\n", "a line is no header"),
        (b"V ia: x\r\n", "a line is no header"),
        (b"Subject: a\x00b\r\n", "a control character"),
        (b"Subject: a\rb\r\n", "a control character"),
        (b"Subject: a\nb\r\n", "a control character"),
        (b" folded: start\r\n", "a line is no header"),
        (b"Subject: " + b"x" * 8192 + b"\r\n", "a line is too long"),
        (b"Subject: x\r\n " + b"x" * 5000 + b"\r\n " + b"y" * 5000 + b"\r\n", "a line is too long"),
        (b"A: b\r\n" * 257, "too many headers"),
    ],
)
def test_flaws_are_noted_for_the_answer(section, flaw):
    request = parse_request(b"OPTIONS sip:a@x SIP/2.0\r\n" + section + b"\r\n")
    assert request.flaw == flaw
    answer = bytes(request.respond(400))
    assert b"\x00" not in answer
    assert answer.count(b"\r") == answer.count(b"\n") == answer.count(b"\r\n")


def test_datagram_that_does_not_end_is_noted():
    request = parse_request(b"OPTIONS sip:a@x SIP/2.0\r\nCall-ID: a\r\n")
    assert request.flaw == "the headers do not end"
    assert request.call_id == "a"


def test_two_hundred_and_fifty_six_headers_are_the_most():
    data = b"OPTIONS sip:a@x SIP/2.0\r\n" + b"A: b\r\n" * 256 + b"\r\n"
    assert parse_request(data).flaw is None


def test_bytes_past_the_length_are_ignored():
    data = b"OPTIONS sip:a@x SIP/2.0\r\nContent-Length: 2\r\n\r\nabcdef"
    assert parse_request(data).raw_body == b"ab"


def test_body_without_a_length():
    data = b"OPTIONS sip:a@x SIP/2.0\r\n\r\nabcdef"
    assert parse_request(data).raw_body == b"abcdef"
    assert parse_request(data, stream=True).raw_body == b""


@pytest.mark.parametrize("declared", [b"9999", b"-1", b"4000000000", b"1\r\nl: 1"])
def test_length_that_cannot_be_is_a_matter_for_the_validator(declared):
    request = parse_request(
        b"OPTIONS sip:a@x SIP/2.0\r\nContent-Length: " + declared + b"\r\n\r\nabc"
    )
    assert request.raw_body == b"abc"


def test_length_is_always_right_in_what_leaves():
    request = Request("OPTIONS", "sip:a@x", [("Subject", "x")])
    assert bytes(request) == b"OPTIONS sip:a@x SIP/2.0\r\nSubject: x\r\nContent-Length: 0\r\n\r\n"
    wrong = Request("OPTIONS", "sip:a@x", [("l", "9"), ("X", "y"), ("Content-Length", "8")], b"abc")
    assert bytes(wrong) == b"OPTIONS sip:a@x SIP/2.0\r\nContent-Length: 3\r\nX: y\r\n\r\nabc"
    right = Request("OPTIONS", "sip:a@x", [("l", "3"), ("X", "y")], b"abc")
    assert bytes(right) == b"OPTIONS sip:a@x SIP/2.0\r\nl: 3\r\nX: y\r\n\r\nabc"
    assert bytes(Request("A", "sip:a@x")) == b"A sip:a@x SIP/2.0\r\nContent-Length: 0\r\n\r\n"


def test_request_is_made_of_parts():
    request = Request("INVITE", SipURI("sip:a@x"), Headers([("To", "<sip:a@x>")]), b"abc")
    assert request.raw_uri == b"sip:a@x"
    assert request.uri == SipURI("sip:a@x")
    assert request.to.tag is None
    request.headers.set("To", "<sip:a@x>;tag=1")
    assert request.to.tag == "1"


@pytest.mark.parametrize(
    ("method", "uri"),
    [("IN VITE", "sip:a@x"), ("", "sip:a"), ("É", "sip:a"), ("A", "sip: a"), ("A", "")],
)
def test_request_that_cannot_go_on_a_line_is_refused(method, uri):
    with pytest.raises(ValueError):
        Request(method, uri)


def test_request_uri_injects_nothing():
    with pytest.raises(ValueError):
        Request("INVITE", "sip:a@x SIP/2.0\r\nVia: evil")
    with pytest.raises(ValueError):
        Request("INVITE", "sip:é@x")


def test_response_is_made_of_parts():
    response = Response(180, headers=[("To", "<sip:a@x>;tag=1")])
    assert response.reason == "Ringing"
    assert bytes(response).startswith(b"SIP/2.0 180 Ringing\r\n")
    assert Response(200, "Sehr gut", Headers()).reason == "Sehr gut"
    with pytest.raises(ValueError):
        Response(99)
    with pytest.raises(ValueError):
        Response(200, "a\r\nb")


def test_response_repeats_what_the_request_has():
    response = parse_request(INVITE).respond(180, to_tag="b2")
    assert bytes(response) == (
        b"SIP/2.0 180 Ringing\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1;rport\r\n"
        b"Via: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK0\r\n"
        b'From: "Alice" <sip:alice@example.com>;tag=a1\r\n'
        b"To: <sip:bob@example.com>;tag=b2\r\n"
        b"Call-ID: abc@192.0.2.1\r\n"
        b"CSeq: 1 INVITE\r\n"
        b"Record-Route: <sip:192.0.2.1;lr>\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    assert (response.status_code, response.reason, response.to.tag) == (180, "Ringing", "b2")
    assert len(response.vias) == 2


def test_record_route_is_repeated_where_a_dialog_is_made():
    request = parse_request(INVITE)
    assert "Record-Route" in request.respond(200).headers
    assert "Record-Route" in request.respond(101).headers
    assert "Record-Route" not in request.respond(100).headers
    assert "Record-Route" not in request.respond(486).headers
    bye = parse_request(INVITE.replace(b"INVITE", b"BYE"))
    assert "Record-Route" not in bye.respond(200).headers
    two = parse_request(
        INVITE.replace(b"Record-Route", b"Record-Route: <sip:z;lr>\r\nRecord-Route")
    )
    assert two.respond(200).headers.get_all("Record-Route") == ["<sip:z;lr>", "<sip:192.0.2.1;lr>"]


def test_tag_is_added_where_none_is():
    tagged = parse_request(INVITE.replace(b"To: <sip:bob@example.com>", b"To: <sip:bob@x>;Tag=q"))
    assert tagged.respond(200, to_tag="b2").to.tag == "q"
    broken = parse_request(INVITE.replace(b"To: <sip:bob@example.com>", b"To: < sip:bob@x>;tag=q"))
    assert b"b2" not in bytes(broken.respond(400, to_tag="b2"))
    broken = parse_request(INVITE.replace(b"To: <sip:bob@example.com>", b"To: < sip:bob@x>"))
    assert b"b2" in bytes(broken.respond(400, to_tag="b2"))
    with pytest.raises(ValueError):
        parse_request(INVITE).respond(200, to_tag="a\r\nb")
    with pytest.raises(ValueError):
        parse_request(INVITE).respond(200, to_tag="")


def test_of_what_stands_twice_the_first_is_repeated():
    data = INVITE.replace(b"Call-ID: ", b"Call-ID: first\r\nCall-ID: ").replace(
        b"To: ", b"To: <sip:one@x>;tag=1\r\nTo: "
    )
    answer = parse_request(data).respond(400, to_tag="x")
    assert answer.headers.get_all("Call-ID") == ["first"]
    assert answer.headers.get_all("To") == ["<sip:one@x>;tag=1"]


def test_line_that_is_a_name_alone_is_not_repeated():
    data = INVITE.replace(b"To: <sip:bob@example.com>", b"To")
    answer = parse_request(data).respond(400, to_tag="x")
    assert "To" not in answer.headers


def test_response_with_headers_and_a_body():
    request = parse_request(INVITE)
    response = request.respond(
        200, reason="Fine", headers=[("Contact", "<sip:b@y>"), ("content-length", "7")], body=SDP
    )
    again = parse_response(bytes(response))
    assert again.reason == "Fine"
    assert again.headers["Content-Length"] == str(len(SDP))
    assert again.content_type == "application/sdp"
    assert isinstance(again.body, SessionDescription)
    assert request.respond(200, body=b"x", content_type="text/plain").content_type == "text/plain"
    described = SessionDescription.parse(SDP)
    assert request.respond(200, body=described).raw_body == bytes(described)
    refusal = request.respond(405, headers=[("Allow", "INVITE")])
    assert refusal.headers["Allow"] == "INVITE"
    assert bytes(refusal).endswith(b"Content-Length: 0\r\n\r\n")


def test_response_injects_nothing():
    request = parse_request(INVITE)
    with pytest.raises(ValueError):
        request.respond(200, reason="a\r\nb")
    with pytest.raises(ValueError):
        request.respond(200, headers=[("X", "a\r\nb")])
    with pytest.raises(ValueError):
        request.respond(99)
    with pytest.raises(ValueError):
        request.respond(200, body=b"x", content_type="a\r\nb")


def test_answer_is_the_bytes_of_a_response():
    for data in (INVITE, INVITE.replace(b"To: ", b"t: ")):
        request = parse_request(data)
        for status, tag, body in (
            (180, "a", b""),
            (200, "a", b"v=0"),
            (486, "b", b""),
            (100, None, b""),
        ):
            headers = [("Contact", "<sip:b@y>")]
            response = request.respond(
                status, to_tag=tag, headers=headers, body=body, content_type="text/plain"
            )
            lines = "\r\nContact: <sip:b@y>" + ("\r\nContent-Type: text/plain" if body else "")
            assert request.answer(status, to_tag=tag, lines=lines, body=body) == bytes(response)
    with pytest.raises(ValueError, match="tag"):
        parse_request(INVITE).answer(200, to_tag="a\r\nb")


def test_first_line_is_made_of_what_it_says_and_injects_nothing():
    request = Message.parse(USUAL)
    assert request.headers.shape is not None
    assert request.start_line == USUAL[: USUAL.index(b"\r\n")]
    request = Message.parse(USUAL)
    request.method = "BYE\r\nVia: evil\r\n"
    request.headers.add("X", "y")
    with pytest.raises(ValueError, match="control"):
        bytes(request)


def test_message_of_the_usual_shape_is_what_the_general_parser_makes_of_it():
    general = Message.parse(b"\r\n" + USUAL)
    assert general.headers.shape is None
    assert Message.parse(USUAL) == general
    assert bytes(Message.parse(USUAL)) == bytes(general) == USUAL
    answer = bytes(general.respond(200))
    assert Message.parse(answer).headers.shape is not None
    assert Message.parse(answer) == Message.parse(b"\r\n" + answer)
    broken = USUAL.replace(b"Max-Forwards: 70", b"Record-Route: <sip:a")
    assert Message.parse(broken).headers.shape is None


def test_unusual_status_has_a_phrase():
    assert parse_request(INVITE).respond(299).reason == "Success"


@settings(max_examples=200)
@given(st.data())
def test_mutated_messages_are_read_or_refused(data):
    position = data.draw(st.integers(0, len(INVITE) - 1))
    length = data.draw(st.integers(0, 12))
    wire = INVITE[:position] + data.draw(st.binary(max_size=12)) + INVITE[position + length :]
    try:
        message = Message.parse(wire)
    except ParseError:
        return
    again = Message.parse(bytes(message))
    assert again.headers.raws("via") == message.headers.raws("via")
    if message.flaw is None and message.headers.get_all("l") == again.headers.get_all("l"):
        assert again == message
    if isinstance(message, Request):
        assert Message.parse(bytes(message.respond(400, to_tag="x"))).flaw is None


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    for wire in (data, b"OPTIONS sip:a@x SIP/2.0\r\n" + data, b"SIP/2.0 200 OK\r\n" + data):
        try:
            bytes(Message.parse(wire))
        except ParseError:
            continue


@pytest.mark.parametrize(
    "pattern", [b"A: b\r\n", b"\r\n ", b"\r\n", b"\x00", b'"\\\x00', b" ", b":", b"a\r\n", b"\r"]
)
def test_time_is_linear(pattern):
    wire = b"OPTIONS sip:a@x SIP/2.0\r\n" + pattern * (65000 // len(pattern))
    before = time.thread_time()
    with contextlib.suppress(ParseError):
        Message.parse(wire)
    assert time.thread_time() - before < 0.2


def test_a_slim_request_says_what_it_said():
    data = INVITE
    request = Message.parse(data)
    before = (request.via.branch, request.from_.tag, request.call_id, request.uri, request.body)
    lines = request.respond(200, to_tag="x")
    request.slim()
    assert (
        request.via.branch,
        request.from_.tag,
        request.call_id,
        request.uri,
        request.body,
    ) == before
    assert request.respond(200, to_tag="x") == lines
    assert bytes(request) == data
