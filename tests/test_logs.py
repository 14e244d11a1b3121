"""Call events are one line of JSON each, and nobody's number is in it."""

import json
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.logs import call_event, mask

logger = logging.getLogger("voip.test")


@pytest.mark.parametrize(
    ("party", "masked"),
    [
        ("sip:+4930123456@example.com", "*******3456@example.com"),
        ('"Alice" <sip:+4930123456@example.com>;tag=8f3a', "*******3456@example.com"),
        ("sips:alice@example.com;transport=tls", "***ce@example.com"),
        ("sip:alice:secret@example.com", "***ce@example.com"),
        ("tel:+4930123456", "*******3456"),
        ("4930123456", "******3456"),
        ("101", "**1"),
        ("", ""),
        ("sip:example.com?subject=4930123456", "*******.com"),
    ],
)
def test_a_party_is_masked(party, masked):
    assert mask(party) == masked


@given(st.text(max_size=60))
def test_anything_can_be_masked(text):
    assert isinstance(mask(text), str)


@given(st.from_regex(r"\+?[0-9]{9,15}", fullmatch=True))
def test_no_number_survives(number):
    for form in (number, f"sip:{number}@example.com", f'"{number}" <tel:{number}>;tag=1'):
        assert not re.search(r"[0-9]{5}", mask(form))


def test_an_event_is_one_json_line_and_the_same_extra_fields(caplog):
    caplog.set_level(logging.INFO, "voip.test")
    caller = "sip:+4930123456@example.com"
    call_event(logger, "call_ended", caller=caller, call_id="a1", status=None, phrase="", codec="x")
    (record,) = caplog.records
    said = json.loads(record.getMessage())
    assert said == {
        "event": "call_ended",
        "caller": "*******3456@example.com",
        "call_id": "a1",
        "codec": "x",
    }
    assert {name: getattr(record, name) for name in said} == said
    assert record.levelno == logging.INFO


def test_nothing_is_made_where_nobody_listens(caplog):
    caplog.set_level(logging.WARNING, "voip.test")
    call_event(logger, "call_ended", caller=object())
    assert not caplog.records


def test_an_event_need_not_have_a_caller(caplog):
    caplog.set_level(logging.INFO, "voip.test")
    call_event(logger, "registered", aor=3)
    assert json.loads(caplog.records[0].getMessage()) == {"event": "registered", "aor": 3}


def test_the_library_is_silent_until_logging_is_set_up():
    assert any(isinstance(one, logging.NullHandler) for one in logging.getLogger("voip").handlers)
