"""The exception tree: what each error is, and what it carries."""

from __future__ import annotations

import pytest

from voip import errors
from voip.errors import CallEnded, CallFailed, EndCause, ParseError, RegistrationError


def test_everything_is_a_voip_error():
    for name in errors.__all__:
        found = getattr(errors, name)
        if isinstance(found, type) and issubclass(found, Exception):
            assert issubclass(found, errors.VoIPError)


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (errors.ParseError, ValueError),
        (errors.ParseError, errors.RemoteProtocolError),
        (errors.UnsupportedCodecError, NotImplementedError),
        (errors.UnsupportedCodecError, errors.NegotiationError),
        (errors.PortsExhaustedError, errors.TransportError),
        (errors.LocalProtocolError, errors.ProtocolError),
    ],
)
def test_an_error_may_be_caught_by_its_other_name(error, also):
    assert issubclass(error, also)


def test_a_parse_error_shows_a_short_fragment_and_the_status_it_is_owed():
    error = ParseError("not a number", b"x" * 1000)
    assert error.fragment == b"x" * 64
    assert error.status == 400
    assert len(str(error)) < 100
    assert ParseError("dropped", status=None).status is None
    assert str(ParseError("missing")) == "missing"


def test_a_refusal_carries_status_and_words():
    for kind in (CallFailed, RegistrationError):
        error = kind(486, "Busy Here")
        assert (error.status, error.phrase, str(error)) == (486, "Busy Here", "486 Busy Here")
    assert str(CallFailed(408, "")) == "408"


def test_an_ended_call_says_why():
    assert str(CallEnded(EndCause.REMOTE_HANGUP)) == "remote_hangup"
    ended = CallEnded(EndCause.REJECTED, 486, "Busy Here")
    assert (ended.cause, ended.status, ended.phrase) == (EndCause.REJECTED, 486, "Busy Here")
    assert str(ended) == "rejected: 486 Busy Here"
    assert str(CallEnded(EndCause.FAILED, None, "no route")) == "failed: no route"
