from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sip.syntax import (
    check_value,
    format_parameters,
    is_token,
    parse_parameters,
    parse_uint,
    quote,
    quote_if_needed,
    split_list,
    text_of,
    unquote,
)

printable = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=40)


def test_token_is_never_empty_and_is_ascii():
    assert is_token(b"!interesting-Method_*+`.%'~")
    assert not is_token(b"")
    assert not is_token(b"a b")
    assert not is_token("ſip".encode())


@pytest.mark.parametrize("text", [b"0", b"5060", b"0068", b"4294967295"])
def test_decimal_numbers_are_read(text):
    assert parse_uint(text) == int(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"",
            b"-1",
            b"+5",
            b"0x10",
            b"1_0",
            b" 1",
            b"1 ",
            b"1.0",
            b"1e3",
            b"1\x00",
            b"\t1",
            b"0b1",
        ),
        *(
            "１２".encode(),
            "²".encode(),
            b"9" * 11,
            b"4294967296",
            b"9" * 5000,
            b"1,1",
            b"''",
            b"\xb2",
        ),
        *("٣".encode(), b"1\n", b"--1", b"Infinity", b"nan", b"0o7", b"1L", b"00000000001"),
    ],
)
def test_other_spellings_are_no_numbers(text):
    with pytest.raises(ParseError) as caught:
        parse_uint(text)
    assert caught.value.status == 400


def test_number_is_held_to_its_range():
    assert parse_uint(b"255", maximum=255) == 255
    with pytest.raises(ParseError):
        parse_uint(b"256", maximum=255)
    with pytest.raises(ParseError):
        parse_uint(b"123", digits=2)


def test_text_that_is_no_utf8_is_replaced():
    assert text_of(b"caf\xc3\xa9 \xff") == "café �"


@given(st.binary(max_size=40))
def test_text_that_was_read_may_be_written(data):
    assert check_value(text_of(data)).decode() == text_of(data)


def test_control_characters_are_shown_as_what_may_be_written():
    assert text_of(b'"a\tb\\\x00c\x7f"') == '"a b\\\ufffdc\ufffd"'
    assert text_of("\u2028\u200b".encode()) == "\u2028\u200b"


@pytest.mark.parametrize("code", [*range(32), 127])
def test_control_characters_are_refused(code):
    with pytest.raises(ValueError, match="control"):
        check_value(f"a{chr(code)}b")
    with pytest.raises(ValueError, match="control"):
        quote(f"a{chr(code)}b")


@given(printable)
def test_quote_is_undone_by_unquote(text):
    assert unquote(quote(text)) == text


def test_unquote_resolves_pairs_once():
    assert unquote(r'"a\\\"b"') == r"a\"b"
    assert unquote('"plain"') == "plain"


def test_only_what_must_be_is_quoted():
    assert quote_if_needed("z9hG4bK-1.2@[::1]") == "z9hG4bK-1.2@[::1]"
    assert quote_if_needed("a b") == '"a b"'
    assert quote_if_needed("") == '""'
    assert quote_if_needed("é") == '"é"'


def test_parameters_are_named_in_lower_case():
    assert parse_parameters(b";Branch=z9;RPORT;x=a=b") == {
        "branch": "z9",
        "rport": None,
        "x": "a=b",
    }
    assert parse_parameters(b"") == {}


def test_parameters_may_hold_white_space_quotes_and_utf8():
    tail = ' ; a = "x;y\\"z, <" ;\tB ;c=é ; d= ;e=x=y'.encode()
    assert parse_parameters(tail) == {
        "a": 'x;y"z, <',
        "b": None,
        "c": "é",
        "d": "",
        "e": "x=y",
    }


@pytest.mark.parametrize(
    "tail",
    [
        *(b";", b";;", b";a;", b"a;b", b"a", b";=x", b";a;A=1", b"; a ; a", b'; a="x', b"; a b"),
        *(b';a=<"', b";a;" * 65, "; ſ=1".encode(), b'; a="x"y', b"; a=\\"),
    ],
)
def test_bad_parameters_are_refused(tail):
    with pytest.raises(ParseError):
        parse_parameters(tail)


@pytest.mark.parametrize("tail", [b";tel:x=1", b";a=[::1];b@c", b";[x]"])
def test_parameter_names_that_are_read_are_tokens(tail):
    with pytest.raises(ParseError):
        parse_parameters(tail)


def test_lists_have_an_end():
    assert len(split_list(b",".join([b"a"] * 1025))) == 1025
    with pytest.raises(ParseError, match="too many"):
        split_list(b"," * 1025)


def test_sixty_four_parameters_are_the_most():
    tail = b"".join(b";p%d" % number for number in range(64))
    assert len(parse_parameters(tail)) == 64
    with pytest.raises(ParseError):
        parse_parameters(tail + b";more")
    with pytest.raises(ParseError):
        parse_parameters(tail + b'; more="x"')


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9.!%*_+`'~-]{1,8}", fullmatch=True),
        st.none() | printable,
        max_size=6,
    )
)
def test_parameters_that_are_written_are_read_again(parameters):
    assert parse_parameters(format_parameters(parameters).encode()) == parameters


def test_parameter_names_are_tokens():
    with pytest.raises(ValueError, match="name"):
        format_parameters({"a b": "c"})


def test_lists_are_split_outside_quotes_and_brackets():
    assert split_list(b"a , b,c") == [b"a", b"b", b"c"]
    assert split_list(b"one") == [b"one"]
    assert split_list(b'"a,\\",b" <sip:x,y@z>, <sip:q>') == [
        b'"a,\\",b" <sip:x,y@z>',
        b"<sip:q>",
    ]


@pytest.mark.parametrize("value", [b"a,,b", b",", b"a,", b'"a,b', b"<a,b", b"<a>,"])
def test_empty_or_unclosed_elements_are_refused(value):
    with pytest.raises(ParseError):
        split_list(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for read in (parse_parameters, split_list, parse_uint):
        try:
            read(data)
        except ParseError:
            continue


@pytest.mark.parametrize("pattern", [b'"\\', b"; ", b'"', b"<", b"\\", b",<", b";a= ", b' "a"'])
def test_time_is_linear(pattern):
    # 64 KiB of what would make a backtracking pattern quadratic takes milliseconds, not seconds.
    data = pattern * (65536 // len(pattern))
    before = time.thread_time()
    for read in (parse_parameters, split_list):
        try:
            read(data)
        except ParseError:
            continue
    assert time.thread_time() - before < 0.2
