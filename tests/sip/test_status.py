from __future__ import annotations

import pytest

from voip.sip.status import (
    STATUS_LINES,
    STATUS_PHRASES,
    DigestAlgorithm,
    DigestQoP,
    Status,
    status_line,
)


def test_statuses_are_numbers_with_phrases():
    assert Status.RINGING == 180
    assert Status(486).phrase == "Busy Here"
    assert Status.OK.phrase == "OK"
    assert Status.CALL_TRANSACTION_DOES_NOT_EXIST.phrase == "Call/Transaction Does Not Exist"
    assert Status.REQUEST_URI_TOO_LONG.phrase == "Request-URI Too Long"


def test_every_status_has_a_line():
    assert all(STATUS_LINES[int(status)] == status_line(status) for status in Status)
    assert status_line(200) == b"SIP/2.0 200 OK"
    for status, phrase in STATUS_PHRASES.items():
        assert STATUS_LINES[status] == f"SIP/2.0 {status} {phrase}".encode()


def test_unknown_statuses_say_their_class():
    assert status_line(299) == b"SIP/2.0 299 Success"
    assert status_line(699) == b"SIP/2.0 699 Global Failure"
    assert status_line(499, "Tired é") == "SIP/2.0 499 Tired é".encode()
    assert status_line(200, "") == b"SIP/2.0 200 "


@pytest.mark.parametrize("status", [0, 99, 700, -1])
def test_status_out_of_range_is_refused(status):
    with pytest.raises(ValueError, match="status"):
        status_line(status)


def test_reason_injects_nothing():
    with pytest.raises(ValueError, match="control"):
        status_line(200, "OK\r\nContact: <sip:evil>")


def test_digest_words_are_those_of_the_wire():
    assert DigestAlgorithm("SHA-256") is DigestAlgorithm.SHA_256
    assert [str(word) for word in DigestQoP] == ["auth", "auth-int"]
