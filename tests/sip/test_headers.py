from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sip.headers import Headers, canonical_name, index_lines

values = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@pytest.mark.parametrize(
    "name",
    ["X-Bypass", "x-bypass", "X-BYPASS", "X-Bypass ", "X-Bypass\t", b"X-Bypass", b"x-ByPass \t "],
)
def test_one_name_has_one_canonical_spelling(name):
    assert canonical_name(name) == "x-bypass"


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", " X-Bypass", "X\x00", "X:", "Ⅴia", "ſubject", "K\u212a", b"\xff", "a\n"],
)
def test_what_is_no_token_is_no_name(name):
    assert canonical_name(name) is None


def test_compact_forms_are_their_long_ones():
    headers = Headers([("v", "1"), ("Via", "2"), ("F", "3")])
    assert headers.get_all("via") == ["1", "2"]
    assert headers["From"] == "3"
    assert "i" not in headers
    assert canonical_name("X") == "session-expires"
    assert canonical_name("vIa") == "via"


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
