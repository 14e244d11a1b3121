from __future__ import annotations

import pytest

from voip.errors import ParseError
from voip.sdp.messages import SessionDescription
from voip.sip.fields import is_sound, recorded_routes
from voip.sip.headers import Headers
from voip.sip.messages import Message, Request

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    b"m=audio 4000 RTP/AVP 0\r\n"
)
CORE = {
    "Via": "SIP/2.0/UDP a;branch=z9hG4bK1",
    "From": "<sip:a@x>;tag=1",
    "To": "<sip:b@x>",
    "Call-ID": "c@x",
    "CSeq": "7 OPTIONS",
}


def make(*more, body=b"", **instead):
    """Return a request with the routing core, names in `instead` replaced (None: left out)."""
    core = {**CORE, **{name.replace("_", "-"): value for name, value in instead.items()}}
    pairs = [(name, value) for name, value in core.items() if value is not None]
    return Request("OPTIONS", "sip:b@x", Headers([*pairs, *more]), body)


def test_routing_core_is_typed_and_kept():
    request = make()
    assert request.via.branch == "z9hG4bK1"
    assert request.vias == [request.via]
    assert request.from_.tag == "1"
    assert request.to.tag is None
    assert request.call_id == "c@x"
    assert request.cseq == (7, "OPTIONS")
    assert request.from_ is request.from_


def test_all_via_count_lines_and_elements():
    request = make(("v", "SIP/2.0/TCP b, SIP/2.0/TLS c"))
    assert [via.host for via in request.vias] == ["a", "b", "c"]
    assert request.via.host == "a"


@pytest.mark.parametrize(
    ("name", "attribute"),
    [("Via", "via"), ("From", "from_"), ("To", "to"), ("Call-ID", "call_id"), ("CSeq", "cseq")],
)
@pytest.mark.parametrize("value", [None, "", " ", "< >", "a b c", "é;;"])
def test_what_is_missing_or_malformed_says_so_and_the_rest_is_typed(name, attribute, value):
    request = make(**{name.replace("-", "_"): value})
    with pytest.raises(ParseError) as caught:
        getattr(request, attribute)
    assert caught.value.status == 400
    for other in {"via", "vias", "from_", "to", "call_id", "cseq"} - {attribute, f"{attribute}s"}:
        assert getattr(request, other)


@pytest.mark.parametrize("name", ["From", "To", "Call-ID", "CSeq"])
def test_what_stands_twice_is_an_error(name):
    request = make((name, CORE[name]))
    with pytest.raises(ParseError, match="repeated"):
        getattr(request, {"From": "from_"}.get(name, name.lower().replace("-", "_")))
    assert request.via.host == "a"


def test_call_id_may_be_any_word():
    assert (
        make(Call_ID="w%ZK-!.*_+'@w`~)(><:\\/\"][?}{").call_id == "w%ZK-!.*_+'@w`~)(><:\\/\"][?}{"
    )
    with pytest.raises(ParseError):
        _ = make(("CSeq", "1 A"), Call_ID="a\u00e9").call_id


def test_addresses_are_lists():
    request = make(
        ("Contact", '"A, B" <sip:a@y>;q=1, <sip:b@y>'),
        ("m", "<sip:c@y>"),
        ("Route", "<sip:r@y;lr>"),
        ("Record-Route", "<sip:p@y;lr>,<sip:q@y;lr>"),
    )
    assert [str(contact.uri) for contact in request.contacts] == ["sip:a@y", "sip:b@y", "sip:c@y"]
    assert request.contact is request.contacts[0]
    assert [str(route.uri) for route in request.routes] == ["sip:r@y;lr"]
    assert len(request.record_routes) == 2
    assert make().contacts == []
    assert make().contact is None
    assert make().routes == []


def test_addresses_are_limited():
    many = ", ".join(["<sip:a@x>"] * 65)
    for name, attribute in (("Route", "routes"), ("m", "contacts")):
        with pytest.raises(ParseError, match="too many"):
            getattr(make((name, many)), attribute)
    with pytest.raises(ParseError, match="too many"):
        _ = make(Via=", ".join(["SIP/2.0/UDP a"] * 71)).vias
    assert len(make(Via=", ".join(["SIP/2.0/UDP a"] * 70)).vias) == 70


def test_numbers_are_held_to_their_range():
    request = make(("Max-Forwards", "0068"), ("Expires", "4294967295"), ("l", "0"))
    assert (request.max_forwards, request.expires, request.content_length) == (68, 2**32 - 1, 0)
    nothing = make()
    assert (nothing.max_forwards, nothing.expires, nothing.content_length) == (None, None, None)
    for name, value in (("Max-Forwards", "256"), ("Expires", "4294967296"), ("l", "-1")):
        wrong = make((name, value))
        attribute = {"l": "content_length"}.get(name, name.lower().replace("-", "_"))
        with pytest.raises(ParseError):
            getattr(wrong, attribute)


def test_content_type_has_no_case_and_no_parameters():
    assert make(("c", "Application/SDP ; charset=x")).content_type == "application/sdp"
    assert make(("Content-Type", "multipart / mixed;boundary=b")).content_type == "multipart/mixed"
    assert make().content_type is None
    for value in ("", "text", "text/", "/x", "te xt/x", "é/x"):
        with pytest.raises(ParseError):
            _ = make(("c", value)).content_type


def test_body_is_what_its_type_says():
    request = make(("c", "application/sdp"), body=SDP)
    body = request.body
    assert isinstance(body, SessionDescription)
    assert request.body is body
    assert make(("c", "text/plain"), body=b"x").body == b"x"
    assert make(body=b"x").body == b"x"
    assert make().body is None
    with pytest.raises(ParseError):
        _ = make(("c", "application/sdp"), body=b"nonsense").body


def test_setting_the_body_keeps_the_headers_in_step():
    request = make()
    described = SessionDescription.parse(SDP)
    request.body = described
    assert request.body is described
    assert request.content_type == "application/sdp"
    assert request.headers["Content-Length"] == str(len(request.raw_body))
    assert Message.parse(bytes(request)) == request
    request.body = b"other"
    assert (request.raw_body, request.content_length) == (b"other", 5)
    request.body = None
    assert request.body is None
    assert request.content_type is None
    assert request.content_length == 0


USUAL = (
    b"INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/TLS a:5062;branch=z9hG4bK1;rport\r\n"
    b'Via: SIP/2.0/UDP b;received=1.2.3.4;branch=z9hG4bK0\r\nFrom: "\xc3\xa9" <sip:a@x>;tag=1\r\n'
    b"To: Bob <sip:b@x>\r\nCall-ID: c@x\r\nCSeq: 7 INVITE\r\nContact: <sip:a@c>;expires=9\r\n"
    b"Record-Route: <sip:p;lr>, <sip:q;lr=on>\r\nRecord-Route: <sip:r;lr>\r\n"
    b"Content-Type: Application/SDP\r\nContent-Length: %d\r\n\r\n%b" % (len(SDP), SDP)
)


def test_usual_message_is_typed_without_its_lines():
    request = Message.parse(USUAL)
    assert request.headers.shape is not None
    assert request.routing == ("c@x", "1", "", 7)
    assert request.call_id == "c@x"
    assert request.content_type == "application/sdp"
    assert [str(contact) for contact in request.contacts] == ["<sip:a@c>;expires=9"]
    assert request.contact is request.contacts[0]
    assert request.has_core
    assert (request.via.transport, request.via.host, request.via.port) == ("TLS", "a", 5062)
    assert request.via.parameters == {"branch": "z9hG4bK1", "rport": None}
    assert [via.host for via in request.vias] == ["a", "b"]
    assert (request.vias[1].port, request.vias[1].received) == (None, "1.2.3.4")
    assert (request.from_.display_name, request.from_.tag) == ("\u00e9", "1")
    assert (request.to.display_name, request.to.parameters) == ("Bob", {})
    assert str(request.to.uri) == "sip:b@x"
    assert str(request.to.with_tag("2")) == '"Bob" <sip:b@x>;tag=2'
    assert request.vias is request.vias
    assert request.cseq == (7, "INVITE")
    assert [str(route.uri) for route in request.record_routes] == [
        "sip:p;lr",
        "sip:q;lr=on",
        "sip:r;lr",
    ]
    bare = Message.parse(USUAL.replace(b"Contact: ", b"X-Contact: ").split(b"Content-Type")[0])
    assert bare.contact is None
    answer = Message.parse(bytes(request.respond(200, to_tag="2")))
    assert answer.headers.shape is not None
    assert (answer.cseq, answer.to.tag, answer.content_type) == ((7, "INVITE"), "2", None)


def test_what_a_shape_leaves_open_is_looked_at():
    shape = Message.parse(USUAL).headers.shape
    assert recorded_routes(shape) == [b"<sip:p;lr>", b"<sip:q;lr=on>", b"<sip:r;lr>"]
    assert recorded_routes(shape._replace(routes=None)) == []
    assert is_sound(shape)
    for more in ("SIP/2.0/UDP a b", "SIP/2.0/UDP a, SIP/2.0/UDP b", ""):
        assert not is_sound(shape._replace(more=more))
    for routes in ("<sip:p;lr", "<sip:p>,", "sip:a b", "", ", ".join(["<sip:p>"] * 65)):
        assert not is_sound(shape._replace(routes=routes))


def test_routing_of_an_unusual_message():
    request = make(To="<sip:b@x>;tag=2")
    assert request.routing == ("c@x", "1", "2", 7)
    odd = make(("v", "SIP/2.0/UDP b"), From='"a\\"b" <sip:a@x>;x=y;tag=1')
    assert odd.routing == ("c@x", "1", "", 7)
    with pytest.raises(ParseError):
        make(CSeq="x").routing  # noqa: B018
