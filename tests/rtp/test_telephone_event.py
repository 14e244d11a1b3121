from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.rtp.telephone_event import DIGITS, TelephoneEvent


def test_reads_an_event():
    event = TelephoneEvent.parse(bytes.fromhex("0b8a0320"))
    assert event == TelephoneEvent(11, 800, end=True, volume=10)
    assert event.digit == "#"
    assert bytes(event) == bytes.fromhex("0b8a0320")


def test_the_reserved_bit_is_ignored_and_further_blocks_too():
    assert TelephoneEvent.parse(b"\1\x4a\0\1more") == TelephoneEvent(1, 1)


@pytest.mark.parametrize("digit", DIGITS)
def test_every_key_has_its_event(digit):
    assert TelephoneEvent.of(digit).digit == digit


def test_letters_are_keys_in_either_case():
    assert TelephoneEvent.of("a").digit == "A"


@pytest.mark.parametrize("digit", ["", "12", "E", "²"])
def test_other_characters_are_no_keys(digit):
    with pytest.raises(ValueError, match="no key"):
        TelephoneEvent.of(digit)


def test_tones_are_no_keys():
    assert TelephoneEvent(17).digit is None


@given(st.binary(max_size=8))
def test_any_payload_is_read_or_refused(payload):
    try:
        event = TelephoneEvent.parse(payload)
    except ParseError:
        assert len(payload) < 4
        return
    assert TelephoneEvent.parse(bytes(event)) == event


def test_a_long_key_press_saturates_nothing_else():
    assert TelephoneEvent.parse(bytes(TelephoneEvent(1, 0x10001))).duration_ticks == 1
