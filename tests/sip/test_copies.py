from __future__ import annotations

import pytest

from voip.sip.copies import copies
from voip.sip.messages import Message

INVITE = (
    b"INVITE sip:b@x SIP/2.0\r\nRecord-Route: <sip:p;lr>\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\n"
    b'Via: SIP/2.0/UDP b;branch=z9hG4bK0\r\nFrom: "\xc3\xa9" <sip:a@x>;tag=1\r\n'
    b"To: <sip:b@x>\r\nCall-ID: c@x\r\nCSeq: 7 INVITE\r\nSubject: not copied\r\n"
    b"Content-Length: 0\r\n\r\n"
)
LINES = (
    "\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nVia: SIP/2.0/UDP b;branch=z9hG4bK0"
    '\r\nFrom: "\u00c3\u00a9" <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\nCall-ID: c@x'
    "\r\nCSeq: 7 INVITE"
)


def both(data):
    """Return the message with its shape, and read the general way."""
    usual, general = Message.parse(data), Message.parse(b"\r\n" + data)
    assert usual.headers.shape is not None
    assert general.headers.shape is None
    return usual, general


def of(request, tag=None):
    return copies(request.headers, request.method, tag)


def test_what_a_response_copies():
    for request in both(INVITE):
        assert of(request, "2") == ("2", LINES, "\r\nRecord-Route: <sip:p;lr>")
        assert of(request) == (None, LINES.replace(";tag=2", ""), "\r\nRecord-Route: <sip:p;lr>")
        assert request.has_core
        assert of(request, "2").lines == LINES
        assert repr(of(request, "2")) == "<Copies>"


def test_tag_that_stands_stays():
    for request in both(INVITE.replace(b"To: <sip:b@x>", b"To: <sip:b@x>;tag=2")):
        assert of(request, "other").lines == LINES
        assert of(request, "no tag\r\n").lines == LINES
        assert request.has_core
        assert of(request, "other").lines == LINES


def test_routes_are_copied_where_a_dialog_may_come_about():
    for request in both(INVITE.replace(b"INVITE", b"OPTIONS")):
        assert of(request).routes == ""
    two = INVITE.replace(b"Subject:", b"Record-Route: <sip:q;lr>\r\nSubject:")
    request = Message.parse(two)
    assert of(request).routes == "\r\nRecord-Route: <sip:p;lr>\r\nRecord-Route: <sip:q;lr>"


def test_what_is_no_tag_is_refused():
    for request in both(INVITE):
        for tag in ("", "a b", "a\r\nb", "\u00e9"):
            with pytest.raises(ValueError, match="tag"):
                of(request, tag)
        assert of(request, "a-b.c").lines == LINES.replace("tag=2", "tag=a-b.c")


def test_of_what_may_stand_once_the_first_is_copied():
    data = INVITE.replace(b"Call-ID:", b"Call-ID: first\r\nCall-ID:")
    data = data.replace(b"To:", b"To: <sip:first@x>\r\nTo:")
    request = Message.parse(data)
    assert of(request, "2").lines == LINES.replace("c@x", "first").replace("sip:b@x", "sip:first@x")


def test_what_is_missing_or_a_bare_name_is_left_out():
    request = Message.parse(INVITE.replace(b"To: <sip:b@x>", b"To").replace(b"Call-ID: c@x", b"i"))
    assert "To" not in of(request, "2").lines
    assert of(request).lines.count("\r\n") == 4
    assert of(Message.parse(b"OPTIONS sip:a@x SIP/2.0\r\n\r\n"), "2") == ("2", "", "")


def test_malformed_to_has_a_tag_when_it_looks_like_one():
    request = Message.parse(INVITE.replace(b"To: <sip:b@x>", b"To: < sip:b@x>;TAG=q"))
    assert "tag=2" not in of(request, "2").lines
    request = Message.parse(INVITE.replace(b"To: <sip:b@x>", b"To: < sip:b@x>"))
    assert ";tag=2" in of(request, "2").lines
