from __future__ import annotations

import pytest

from voip.sip.names import COMMA_LISTS, canonical_name, key_of


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


def test_one_letter_names_are_their_long_ones():
    assert canonical_name("X") == "session-expires"
    assert canonical_name("vIa") == "via"
    assert canonical_name(b"l") == "content-length"
    assert canonical_name("q") == "q"


def test_usual_spellings_need_one_look_up():
    for name in (b"Call-ID", "call-id", b"CALL-ID", "i", b"I"):
        assert key_of(name) == "call-id"
    assert key_of("Call-Id") is None


def test_lists_are_those_of_the_grammar():
    assert {"via", "contact", "supported"} <= COMMA_LISTS
    assert COMMA_LISTS.isdisjoint({"subject", "www-authenticate", "to"})
