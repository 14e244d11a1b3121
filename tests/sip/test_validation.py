from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sip.messages import Message, Request, Response
from voip.sip.validation import Rejection, validate, validate_response

ALLOW = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")
CORE = {
    "Via": "SIP/2.0/UDP a;branch=z9hG4bK1",
    "Max-Forwards": "70",
    "From": "<sip:a@x>;tag=1",
    "To": "<sip:b@x>",
    "Call-ID": "c@x",
    "CSeq": "7 {method}",
    "Contact": "<sip:a@y>",
    "Content-Length": "{length}",
}


def wire(*more, start=None, method="OPTIONS", body="", uri="sip:b@x", **instead):
    core = {**CORE, **{name.replace("_", "-"): value for name, value in instead.items()}}
    lines = [f"{name}: {value}" for name, value in core.items() if value is not None]
    text = "\r\n".join([start or f"{method} {uri} SIP/2.0", *lines, *more, "", body])
    return text.replace("{method}", method).replace("{length}", str(len(body))).encode()


def judge(data, transport="UDP", **options):
    request = Message.parse(data)
    assert isinstance(request, Request)
    return validate(request, transport=transport, **{"allow": ALLOW, **options})


def status(*more, transport="UDP", supported=(), accept=("application/sdp",), **parts):
    found = judge(wire(*more, **parts), transport, supported=supported, accept=accept)
    return None if found is None else found.status


@pytest.mark.parametrize("transport", ["UDP", "TCP", "TLS", "WS"])
@pytest.mark.parametrize("method", ALLOW)
def test_sound_request_is_accepted(method, transport):
    assert status(method=method, transport=transport) is None


def test_other_version_is_505_before_anything_else():
    assert status(start="OPTIONS sip:b@x SIP/7.0", Via="garbage", From=None) == 505


def test_flaw_is_400():
    found = judge(wire("no header"))
    assert found == Rejection(400, "Bad Request: a line is no header")


def test_name_alone_is_no_header():
    assert status("Subject") == 400
    assert response_verdict("Subject") == "a line is no header"


@pytest.mark.parametrize("name", ["Via", "From", "To", "Call-ID", "CSeq"])
@pytest.mark.parametrize("value", [None, "", "<"])
def test_every_mandatory_header_must_be_there_and_mean_something(name, value):
    found = judge(wire(**{name.replace("-", "_"): value}))
    if (name, value) == ("Call-ID", "<"):
        assert found is None  # a word, by RFC 3261 §25.1
        return
    assert found is not None
    assert found == Rejection(400, f"{'Missing' if value is None else 'Bad'} {name}")


@pytest.mark.parametrize(
    "name",
    [
        *("From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Type", "Content-Length"),
        *("Expires", "Subject", "Date", "User-Agent", "Event", "Refer-To"),
    ],
)
@pytest.mark.parametrize("same", [True, False])
def test_what_may_stand_once_is_400_when_it_stands_twice(name, same):
    value = {**CORE, "Content-Type": "application/sdp", "Expires": "1", "Content-Length": "0"}.get(
        name, "x"
    )
    other = value if same else {"Expires": "2", "Content-Length": "1"}.get(name, value + "x")
    lines = [f"{name}: {value}", f"{name}: {other}"]
    assert status(*lines, **{name.replace("-", "_"): None}) == 400
    short = {"Content-Length": "l", "From": "f", "To": "t", "Call-ID": "i", "Content-Type": "c"}
    mixed = [f"{short.get(name, name.upper())}: {value}", f"{name}: {other}"]
    assert status(*mixed, **{name.replace("-", "_"): None}) == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("Max-Forwards", "256"),
            ("Max-Forwards", "-1"),
            ("Max-Forwards", ""),
            ("CSeq", "2147483648 A"),
        ),
        *(("Contact", "<sip:a b@y>"), ("Contact", "<sip:2001:db8::1>"), ("Contact", "sip:a@y?h=v")),
        *(
            ("From", "<sip:[::g]>"),
            ("To", "<sip:b@x:0>"),
            ("To", '"b <sip:b@x>'),
            ("Call-ID", "a b"),
        ),
        *(("Content-Length", "-1"), ("Content-Length", "1_0"), ("Content-Length", "9")),
        *(("Via", "SIP/2.0/UDP a;;"), ("Via", "SIP/2.0/UDP a;branch=")),
    ],
)
def test_malformed_header_is_400(name, value):
    assert status(**{name.replace("-", "_"): value}) == 400


@pytest.mark.parametrize(
    "line",
    ["Route: x y", "Route: <sip:[::g]>", "Record-Route: <", "Expires: 4294967296", "Expires: x"],
)
def test_malformed_optional_header_is_400(line):
    assert status(line) == 400


def test_max_forwards_may_be_missing_and_zero():
    assert status(Max_Forwards=None) is None
    assert status(Max_Forwards="0") is None


@pytest.mark.parametrize(
    "uri", ["<sip:b@x>", "sip:2001:db8::10", "sip:b@x?Route=%3Csip:y%3E", "nothing", "sip:é@x"]
)
def test_bad_request_uri_is_400(uri):
    assert status(uri=uri) == 400


def test_long_request_uri_is_414():
    assert status(uri="sip:" + "b" * 2048 + "@x") == 414


@pytest.mark.parametrize("uri", ["soap.beep://x", "http://x/y"])
def test_other_schemes_are_416(uri):
    assert status(uri=uri) == 416


@pytest.mark.parametrize("uri", ["sip:x", "sips:b@x", "tel:+4930123456"])
def test_schemes_of_telephony_are_served(uri):
    assert status(uri=uri) is None


def test_unknown_method_is_501_and_known_one_is_405_with_allow():
    assert status(method="PLAY") == 501
    found = judge(wire(method="REGISTER"))
    assert found is not None
    assert (found.status, found.headers) == (405, (("Allow", ", ".join(ALLOW)),))
    assert judge(wire(method="PLAY"), allow=("PLAY",)) is None


def test_cseq_of_another_method_is_400():
    assert status(CSeq="7 INVITE") == 400
    assert status(method="PLAY", CSeq="7 INVITE") == 501


@pytest.mark.parametrize("transport", ["TCP", "tls"])
def test_length_is_the_framing_of_a_stream(transport):
    assert status(transport=transport, Content_Length=None) == 400
    assert status(transport="UDP", Content_Length=None) is None
    assert status(transport="WS", Content_Length=None) is None


def test_body_needs_a_type_that_is_understood():
    assert status(body="v=0") == 400
    assert status("Content-Type: text", body="v=0") == 400
    assert status("Content-Type: application/sdp", body="v=0") is None
    found = judge(wire("c: text/plain", body="x"), accept=("application/sdp", "image/png"))
    assert found is not None
    assert (found.status, found.headers) == (415, (("Accept", "application/sdp, image/png"),))
    assert status("c: text/plain", body="x", accept=("text/plain",)) is None


def test_body_that_is_optional_or_of_no_request_we_refuse_is_let_through():
    optional = "Content-Disposition: render; handling = optional"
    assert status("c: text/plain", optional, body="x") is None
    for method in ("ACK", "BYE", "CANCEL"):
        assert status("c: text/plain", "Require: x", body="x", method=method) is None


def test_encoded_body_is_415_with_accept_encoding():
    found = judge(wire("c: application/sdp", "Content-Encoding: gzip", body="x"))
    assert found is not None
    assert (found.status, found.headers) == (415, (("Accept-Encoding", "identity"),))
    assert status("c: application/sdp", "e: Identity", body="x") is None


def test_large_body_is_413():
    body = "x" * 65537
    data = wire("c: application/sdp", body=body)
    assert judge(data) == Rejection(413, "Request Entity Too Large")
    assert status("c: application/sdp", body="x" * 65536) is None


def test_unknown_extensions_are_420_with_unsupported():
    found = judge(wire("Require: timer, foo", "Require: bar, foo"), supported=("Timer",))
    assert found is not None
    assert (found.status, found.headers) == (420, (("Unsupported", "foo, bar"),))
    assert status("Require: timer", supported=("timer",)) is None
    assert status("Proxy-Require: foo") is None
    assert status("Require: a,,b") == 400
    assert status("Require: a b") == 400


@pytest.mark.parametrize(
    ("accept", "outcome"),
    [
        ("application/sdp", None),
        ("text/plain, Application/SDP;level=1", None),
        ("application/*", None),
        ("*/*;q=0.1", None),
        ("text/plain", 406),
        ("", 406),
        ("application/sdp;q=0.0", 406),
        ("text/plain,,", 400),
    ],
)
def test_invite_must_be_able_to_take_sdp(accept, outcome):
    assert status(f"Accept: {accept}", method="INVITE") == outcome
    assert status("Accept: text/plain", method="OPTIONS") is None


def test_contact_of_an_invite_is_one_sip_uri_or_none():
    assert status(method="INVITE", Contact=None) is None
    assert status(method="INVITE", Contact="<sip:a@y>, <sip:b@y>") == 400
    assert status(method="INVITE", Contact="<tel:+1>") == 400
    assert status(method="INVITE", Contact="*") == 400


def test_reason_holds_nothing_of_the_peers():
    found = judge(wire(From="<sip:secret@x>;;"))
    assert found is not None
    assert "secret" not in found.reason


def response_verdict(*more, start="SIP/2.0 200 OK", **parts):
    message = Message.parse(wire(*more, start=start, **parts))
    assert isinstance(message, Response)
    return validate_response(message)


def test_sound_response_is_accepted():
    assert response_verdict() is None
    assert response_verdict(Contact="<sip:a@y>;q=1, <sip:b@y>", start="SIP/2.0 302 Moved") is None


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"Via": "SIP/2.0/UDP a, SIP/2.0/UDP b"}, "More Than One Via"),
        ({"Via": None}, "Missing Via"),
        ({"CSeq": "36893488147419103232 OPTIONS"}, "Bad CSeq"),
        ({"To": "<sip:2001:db8::1>"}, "Bad To"),
        ({"Contact": "<sip:b b>"}, "Bad Contact"),
        ({"Content_Length": "7"}, "Body Shorter Than Content-Length"),
        ({"Content_Length": "x"}, "Bad Content-Length"),
        ({"body": "x"}, "Missing Content-Type"),
    ],
)
def test_wrong_response_is_dropped_with_a_reason(parts, reason):
    assert response_verdict(**parts) == reason


def test_flawed_or_huge_response_is_dropped():
    assert response_verdict("no header") == "a line is no header"
    assert response_verdict("c: a/b", body="x" * 65537) == "Body Too Large"


@given(
    st.binary(max_size=60), st.sampled_from([*CORE, "Route", "Expires", "Require", "Accept", "c"])
)
def test_nothing_typed_raises_after_a_request_was_accepted(value, name):
    start = b"INVITE sip:b@x SIP/2.0\r\n"
    lines = [
        f"{other}: {text}".replace("{method}", "INVITE").replace("{length}", "0").encode()
        for other, text in CORE.items()
        if other != name
    ]
    data = start + b"\r\n".join([*lines, name.encode() + b": " + value, b"", b""])
    try:
        request = Message.parse(data)
    except ParseError:
        return
    assert isinstance(request, Request)
    if validate(request, transport="UDP", allow=ALLOW) is not None:
        return
    for attribute in ("vias", "call_id", "cseq", "max_forwards", "expires", "content_type", "uri"):
        getattr(request, attribute)
    addresses = [request.from_, request.to, *request.contacts, *request.routes]
    for address in [*addresses, *request.record_routes]:
        assert str(address.uri)
