from __future__ import annotations

import time

import pytest

from voip.sip.section import (
    MAX_HEADERS,
    MAX_LINE_BYTES,
    TEXT,
    bounded,
    declared,
    read_section,
    unfolded,
    within,
    without_controls,
)


def test_text_is_everything_but_controls():
    assert [code for code in range(256) if code not in TEXT] == [*range(9), *range(10, 32), 127]


def test_sections_within_the_limits_are_left_alone():
    lines = [b"start"] + [b"A: b"] * MAX_HEADERS
    assert bounded(lines, b"\r\n\r\n") == (lines, None)
    long = [b"A: " + b"b" * (MAX_LINE_BYTES - 3)]
    assert bounded(long, b"\r\n\r\n") == (long, None)


def test_limits_are_held():
    lines, flaw = bounded([b"start"] + [b"A: b"] * (MAX_HEADERS + 1), b"\r\n\r\n")
    assert (len(lines), flaw) == (MAX_HEADERS + 1, "too many headers")
    long = b"b" * (MAX_LINE_BYTES + 1)
    assert bounded([b"start", long, b"A: b"], b"\r\n\r\n") == (
        [b"start", b"A: b"],
        "a line is too long",
    )
    assert within([long], None) == ([long], "a line is too long")
    assert within([], "before") == ([], "before")


def test_missing_end_is_noted():
    assert bounded([b"start", b"A: b", b"", b""], b"") == (
        [b"start", b"A: b"],
        "the headers do not end",
    )
    assert bounded([b""], b"") == ([b""], "the headers do not end")


@pytest.mark.parametrize("code", [*range(9), *range(10, 32), 127])
def test_control_characters_become_question_marks(code):
    lines, flaw = without_controls([b"start", b"A: x%cy" % code], None)
    assert lines == [b"start", b"A: x?y"]
    assert flaw == "a control character"


def test_quoted_pair_may_hold_a_control_character():
    line = b'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:a@x>'
    assert without_controls([b"start", line], None) == ([b"start", line], None)
    assert without_controls([b"start", b'To: "\x07" <sip:a@x>'], None)[1] is not None
    assert without_controls([b"start", b"To: \\\x07 <sip:a@x>"], None)[1] is not None
    # A line end is never part of a quoted pair.
    assert without_controls([b"start", b'To: "\\\n" <sip:a@x>'], None)[0] == [
        b"start",
        b'To: "\\?" <sip:a@x>',
    ]


@pytest.mark.parametrize("pattern", [b'"', b'\\"', b'"\\', b'"\\"', b'"a\\'])
def test_quotes_without_end_cost_no_time(pattern):
    line = b'"\x00' + pattern * (8000 // len(pattern))
    before = time.thread_time()
    for _ in range(10):
        assert without_controls([b"start", line], None)[1] == "a control character"
    assert time.thread_time() - before < 0.05


def test_unclosed_string_hides_no_control_character():
    for tail in (b"", b"\\"):
        lines, flaw = without_controls([b"start", b'To: "a\\\x00b' + tail], None)
        assert lines == [b"start", b'To: "a\\?b' + tail]
        assert flaw is not None


def test_start_line_has_no_quoted_pairs():
    assert without_controls([b'A "\\\x00" B'], None) == ([b'A "\\?" B'], "a control character")


def test_earlier_flaw_is_kept():
    assert without_controls([b"A: b"], "before") == ([b"A: b"], "before")


def test_folded_lines_are_joined_by_one_space():
    assert unfolded([b"A: b", b"   c ", b"\td", b"E: f"]) == [b"A: b c d", b"E: f"]
    assert unfolded([b" first", b"A: b"]) == [b" first", b"A: b"]


def test_body_is_as_long_as_declared():
    assert declared(b"Content-Length: 2", b"abc") == b"ab"
    assert declared(b"l:0", b"abc") == b""
    assert declared(b"l: 4000000000", b"abc") == b"abc"


@pytest.mark.parametrize(
    "held", [b"l: -1", b"l: +1", b"l: 0x1", b"l: 00000000001", b"l:", [b"l: 1", b"l: 1"]]
)
def test_body_is_kept_where_the_length_makes_no_sense(held):
    assert declared(held, b"abc") == b"abc"


def test_section_is_start_line_headers_and_body():
    start, headers, body, flaw = read_section(b"\r\nA\r\nTo: a\r\nl: 2\r\n\r\nbcd", False)
    assert (start, body, flaw) == (b"A", b"bc", None)
    assert headers.lines == [b"To: a", b"l: 2"]
    assert repr(read_section(b"A\r\n\r\n", False)) == "<Section>"
    assert headers.index == {"to": b"To: a", "content-length": b"l: 2"}


def test_without_a_length_a_datagram_is_all_body_and_a_stream_has_none():
    assert read_section(b"A\r\nTo: a\r\n\r\nb", False).body == b"b"
    assert read_section(b"A\r\nTo: a\r\n\r\nb", True).body == b""


@pytest.mark.parametrize(
    ("data", "lines", "flaw"),
    [
        (b"A\r\nTo: a\r\n b\r\n\r\n", [b"To: a b"], None),
        (b"A\r\nTo: a\r\nto: b\r\n\r\n", [b"To: a", b"to: b"], None),
        (b"A\r\nTo: a\r\nb c\r\n\r\n", [b"To: a", b"b c"], "a line is no header"),
        (b"A\r\nTo: \x00\r\n\r\n", [b"To: ?"], "a control character"),
        (b"A\r\nTo: a\r\n", [b"To: a"], "the headers do not end"),
        (
            b"A\r\nTo: a\r\n " + b"x" * MAX_LINE_BYTES + b"\r\n\r\n",
            [b"To: a"],
            "a line is too long",
        ),
        (b"A\r\n" + b"X: 1\r\n" * 300 + b"\r\n", [b"X: 1"] * MAX_HEADERS, "too many headers"),
    ],
)
def test_what_is_wrong_with_a_section_is_noted(data, lines, flaw):
    section = read_section(data, False)
    assert (section.headers.lines, section.flaw) == (lines, flaw)
