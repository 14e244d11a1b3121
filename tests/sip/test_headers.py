from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sip.headers import Headers, index_lines, indexed, response_line
from voip.sip.messages import Message

values = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


def test_compact_forms_are_their_long_ones():
    headers = Headers([("v", "1"), ("Via", "2"), ("F", "3")])
    assert headers.get_all("via") == ["1", "2"]
    assert headers["From"] == "3"
    assert "i" not in headers


def test_look_up_has_no_case():
    headers = Headers([("CaLL-id", "abc")])
    assert headers["call-ID"] == "abc"
    assert headers["i"] == "abc"
    assert headers.get("To") is None
    assert headers.get("To", "x") == "x"
    assert headers.raw("Call-ID") == b"abc"
    assert headers.raw("To") is None
    assert headers.raws("To") == []
    assert "Call-Id" in headers
    assert "é" not in headers
    assert 5 not in headers
    with pytest.raises(KeyError):
        headers["To"]


def test_order_and_spelling_are_kept():
    pairs = [("Via", "1"), ("X-Other", "é"), ("via", "2"), ("Empty", "")]
    headers = Headers(pairs)
    assert headers.items() == pairs
    assert list(headers) == ["Via", "X-Other", "via", "Empty"]
    assert len(headers) == 4
    assert headers.lines[1] == "X-Other: é".encode()
    assert repr(headers) == "Headers(['via', 'x-other', 'via', 'empty'])"


def test_lists_are_split_where_they_are_lists():
    headers = Headers(
        [
            ("Contact", '"a,b" <sip:x>, <sip:y>'),
            ("Subject", "one, two"),
            ("Contact", "<sip:z>"),
            ("Supported", ""),
        ]
    )
    assert headers.values("m") == [b'"a,b" <sip:x>', b"<sip:y>", b"<sip:z>"]
    assert headers.values("Subject") == [b"one, two"]
    assert headers.values("Supported") == []
    with pytest.raises(ParseError):
        Headers([("Contact", "<sip:x>,,")]).values("Contact")


def test_one_stands_exactly_once():
    headers = Headers([("To", "a"), ("From", "b"), ("From", "c"), ("Call-ID", "  ")])
    assert headers.one("to") == b"a"
    for key in ("from", "cseq", "call-id"):
        with pytest.raises(ParseError, match=key):
            headers.one(key)
    with pytest.raises(ParseError, match="missing"):
        Headers().one("to")


def test_setters():
    headers = Headers([("Via", "1"), ("To", "a"), ("v", "2")])
    headers.set("Via", "3")
    assert headers.items() == [("Via", "3"), ("To", "a")]
    headers.set("Subject", "é")
    headers.insert(0, "Route", b"<sip:x>")
    headers.add("X-Raw", b"\xff")
    assert headers.items()[0] == ("Route", "<sip:x>")
    assert headers.raw("x-raw") == b"\xff"
    headers.remove("t")
    headers.remove("Nothing")
    headers.remove("é")
    assert "To" not in headers
    assert headers["Subject"] == "é"


@pytest.mark.parametrize("code", [*range(32), 127])
def test_no_setter_takes_a_control_character(code):
    headers = Headers()
    for value in (f"a{chr(code)}b", b"a%cb" % code):
        for change in (
            lambda value: headers.add("X", value),
            lambda value: headers.set("X", value),
            lambda value: headers.insert(0, "X", value),
        ):
            with pytest.raises(ValueError, match="control"):
                change(value)
    with pytest.raises(ValueError, match="name"):
        headers.add(f"X{chr(code)}", "a")
    with pytest.raises(ValueError, match="control"):
        Headers([("X", f"{chr(code)}")])


@given(values, st.text(max_size=10))
def test_one_header_in_is_one_header_out_or_a_value_error(value, name):
    headers = Headers()
    try:
        headers.add(name, value)
    except ValueError:
        assert len(headers) == 0
        return
    line = headers.lines[0]
    assert b"\r" not in line
    assert b"\n" not in line
    assert headers[name] == value.strip(" ")


def test_lone_surrogate_is_a_value_error():
    with pytest.raises(ValueError):
        Headers([("X", "\ud800")])


def test_value_that_came_may_be_set_again():
    headers = Headers.of_lines([b'From: "a\tb \\\x00" <sip:a@x>;tag=1'])
    headers.set("To", headers["From"])
    assert headers["To"] == '"a b \\\ufffd" <sip:a@x>;tag=1'


def test_copies_do_not_share_and_equality_looks_at_what_is_said():
    one = Headers([("v", "1"), ("To", "a")])
    other = one.copy()
    assert one == other
    other.set("To", "b")
    assert one["To"] == "a"
    assert one != other
    assert Headers([("Via", "1")]) == Headers([("VIA", " 1 ")])
    assert one != [("v", "1")]


def test_what_is_typed_is_forgotten_when_a_line_changes():
    headers = Headers([("To", "a")])
    headers.contacts = []
    headers.add("From", "b")
    assert headers.contacts is None


def test_lines_that_are_no_headers_are_in_the_index_under_no_name():
    lines = [b"Via: 1", b"no colon", b"a b: c", b": d", b"Via: 2", b"v: 3", b"Y-Z : 4"]
    index, sound = index_lines(lines)
    assert not sound
    assert index == {"via": [b"Via: 1", b"Via: 2", b"v: 3"], "y-z": b"Y-Z : 4"}
    assert index_lines([b"Via"]) == ({}, False)
    headers = Headers.of_lines(lines)
    assert headers.get_all("Via") == ["1", "2", "3"]
    assert headers.raw("y-Z") == b"4"


def test_usual_lines_are_indexed_in_one_go():
    assert indexed([b"Via: 1", b"f: 2"]) == {"via": b"Via: 1", "from": b"f: 2"}
    assert indexed([]) == {}
    assert indexed([b"Via: 1", b"v: 2"]) is None
    assert indexed([b"X-Other: 1"]) is None


def test_line_of_a_response_never_says_its_length():
    assert response_line("Contact", "<sip:\u00e9>") == "\r\nContact: <sip:\u00c3\u00a9>"
    assert response_line("l", "7") == response_line("Content-Length", "7") == ""
    with pytest.raises(ValueError, match="control"):
        response_line("Contact", "a\r\nb")


USUAL = (
    b"BYE sip:a@x SIP/2.0\r\nMax-Forwards: 70\r\nVia: SIP/2.0/UDP a:5062;branch=z9hG4bK1;rport\r\n"
    b"Via: SIP/2.0/UDP b;branch=z9hG4bK0\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n"
    b"Call-ID: c@x\r\nCSeq: 7 BYE\r\nContact: <sip:a@b>\r\nContent-Length: 0\r\n\r\n"
)


def usual():
    headers = Message.parse(USUAL).headers
    assert headers.shape is not None
    return headers


def test_text_has_lines_when_somebody_asks():
    headers = usual()
    assert headers.text(0) == USUAL
    assert headers.text(1) is None
    assert headers["f"] == "<sip:a@x>;tag=1"
    assert headers.raw("Call-ID") == b"c@x"
    assert headers.raw("Content-Type") is None
    assert headers.raw("User-Agent") is None
    assert headers.raw("Max-Forwards") == b"70"
    assert b"\r\n".join([b"BYE sip:a@x SIP/2.0", *headers.lines, b"", b""]) == USUAL
    assert len(headers) == 9


def test_stamp_takes_the_place_of_the_top_via():
    headers = usual()
    assert headers.top_via == "SIP/2.0/UDP a:5062;branch=z9hG4bK1;rport"
    headers.stamp("SIP/2.0/UDP a:5062;branch=z9hG4bK1;rport=1;received=b")
    assert headers.top_via.endswith("received=b")
    assert headers.text(0) is None
    assert headers.lines[1] == b"Via: SIP/2.0/UDP a:5062;branch=z9hG4bK1;rport=1;received=b"
    assert headers.lines[2] == b"Via: SIP/2.0/UDP b;branch=z9hG4bK0"
    headers.forget()
    assert headers.shape is None
    assert headers.get_all("Via")[0].endswith("received=b")


def test_line_is_restated_where_it_stands():
    headers = Headers([("To", "1"), ("Via", "a"), ("X", "2"), ("v", "b")])
    headers.restate("via", b"v: b", b"v: c")
    assert headers.get_all("Via") == ["a", "c"]
    headers.restate("to", b"To: 1", b"To: 3")
    assert headers.items() == [("To", "3"), ("Via", "a"), ("X", "2"), ("v", "c")]
    headers = usual()
    headers.restate("call-id", b"Call-ID: c@x", b"Call-ID: d")
    assert headers.shape is None
    assert headers.text(0) is None
    assert headers["Call-ID"] == "d"


@pytest.mark.parametrize("name", ["X-Other", "\u00e9", "Contact"])
def test_what_is_removed_or_not_there_leaves_the_rest(name):
    headers = usual()
    before = list(usual().lines)
    headers.remove(name)
    assert headers.shape is None
    assert headers.lines == [line for line in before if not line.startswith(name.encode())]
    assert headers["Call-ID"] == "c@x"
