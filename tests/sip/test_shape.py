"""A shape tells what the general parser and validator tell, and is never given to what they refuse."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from voip.errors import ParseError
from voip.machine import Flow
from voip.sip.dialog import Dialog
from voip.sip.fields import is_sound
from voip.sip.messages import Message, Request
from voip.sip.reception import mark_source
from voip.sip.shape import MAX_SHAPED_BYTES, Shape, is_plain, shape_of
from voip.sip.transaction import server_key
from voip.sip.validation import validate, validate_response
from voip.types import HostPort

DATA = Path(__file__).parents[1] / "data"
METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS")
SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
FLOWS = (
    Flow("UDP", HostPort("198.51.100.7", 5060), HostPort("192.0.2.1", 5060)),
    Flow("UDP", HostPort("198.51.100.7", 5060), HostPort("203.0.113.9", 1024)),
    Flow("TCP", HostPort("198.51.100.7", 5060), HostPort("pbx.example.com", 5062), 3),
)


def wire(text, body=SDP):
    lines = [line.strip() for line in text.strip().splitlines()]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", body]).encode()


CALL_ID = b"Call-ID: 3c26700857a87f84@10.0.0.5"
SOFTPHONE = wire("""
    INVITE sip:+4930123456@198.51.100.7:5060 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK8a7d6f5e4c3b2a19;rport
    Max-Forwards: 68
    From: "Alice Example" <sip:alice@example.com>;tag=8f3a9b2c
    To: <sip:+4930123456@example.net>
    Contact: <sip:alice@10.0.0.5:5066;transport=UDP>
    Call-ID: 3c26700857a87f84@10.0.0.5
    CSeq: 1 INVITE
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, INFO, UPDATE
    Supported: replaces, timer
    User-Agent: Sample UA 1.0
    Content-Type: application/sdp
""")
LOAD_GENERATOR = wire("""
    INVITE sip:service@127.0.0.1:5060 SIP/2.0
    Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-77-1-0
    From: sipp <sip:sipp@127.0.0.1:5061>;tag=77SIPpTag001
    To: service <sip:service@127.0.0.1:5060>
    Call-ID: 1-77@127.0.0.1
    CSeq: 1 INVITE
    Contact: sip:sipp@127.0.0.1:5061
    Max-Forwards: 70
    Subject: Performance Test
    Content-Type: application/sdp
""")
LOAD_GENERATOR = LOAD_GENERATOR.replace(b"Content-Length: ", b"Content-Length:    ")
INSTANCE = wire("""
    INVITE sip:bob@198.51.100.7;transport=tcp SIP/2.0
    Via: SIP/2.0/TCP 192.0.2.1:49152;branch=z9hG4bK.aBc~1;rport
    From: <sip:alice@example.com>;tag=Ab~9
    To: "Bob \xc3\xa9" <sip:bob@example.com;user=phone>
    CSeq: 20 INVITE
    Call-ID: aBcDeFgHiJ
    Max-Forwards: 70
    Route-Info: nothing
    Supported: replaces, outbound, gruu, path
    Allow: INVITE, ACK, CANCEL, OPTIONS, BYE
    Session-Expires: 1800
    Min-SE: 90
    P-Asserted-Identity: <sip:alice@example.com>
    X-Anything: at all
    Contact: <sip:alice@192.0.2.1:49152;transport=tcp;ob>;+sip.instance="<urn:uuid:1>"
    Accept: application/sdp
    Content-Type: application/sdp
    User-Agent: Phone/5 (x; y) "z"
""").replace(b"Route-Info: nothing\r\n", b"")
PROXIED = wire("""
    INVITE sip:voip@198.51.100.7:5060 SIP/2.0
    Record-Route: <sip:192.0.2.1;lr;ftag=8f3a;did=61c.5d>
    Record-Route: <sips:edge.example.com:5061;lr>, <sip:10.0.0.1;lr=on>
    Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1d32.6a4f01.0
    Via: SIP/2.0/UDP 10.0.0.5:5066;received=192.0.2.44;branch=z9hG4bKabcdef012345;rport=5066
    Via: SIP/2.0/TLS phone.example.com;branch=z9hG4bKnashds8;x="y"
    Max-Forwards: 16
    From: <sips:alice@example.com>;tag=8f3a
    To: Bob the Builder <sip:bob@example.com>
    Contact: "Alice" <sip:alice@10.0.0.5:5066>;expires=60
    Call-ID: 3c26700857a87f84@10.0.0.5
    CSeq: 4711 INVITE
    Content-Type: application/sdp
""")
SWITCH = wire("""
    INVITE sip:1000@198.51.100.7 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1;rport;branch=z9hG4bKrHa2S0ygXFtaj
    Max-Forwards: 69
    From: "Extension 1000" <sip:1000@192.0.2.1>;tag=0BQ4D3mp0tjNS
    To: <sip:1000@198.51.100.7>
    Call-ID: 4d3f1c2e-9b3a-123d-0a8b-0242ac110002
    CSeq: 105236811 INVITE
    Contact: <sip:mod_switch@192.0.2.1:5080>;+sip.instance="<urn:uuid:1>";reg-id=1;q=0.5
    User-Agent: Switch
    Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, MESSAGE, INFO, UPDATE, REGISTER, REFER, NOTIFY
    Supported: timer, path, replaces
    Allow-Events: talk, hold, conference, refer
    Session-Expires: 120;refresher=uac
    Min-SE: 120
    Expires: 180
    Date: Sat, 13 Nov 2010 23:29:00 GMT
    Accept: application/sdp, application/dtmf-relay
    Content-Type: application/sdp
    Content-Disposition: session
    X-FS-Support: update_display,send_info
    Remote-Party-ID: "Extension 1000" <sip:1000@192.0.2.1>;party=calling;screen=yes;privacy=off
    Vendor-Guid: 1-2-3
""")
BARE = wire(
    """
    BYE sip:198.51.100.7 SIP/2.0
    Via: SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4bKPj1
    From: <sip:alice@example.com>;tag=8f3a9b2c
    To: <sip:+4930123456@example.net>;tag=55667788
    Call-ID: 3c26700857a87f84@10.0.0.5
    CSeq: 2 BYE
    """,
    "",
)
ACK = BARE.replace(b"BYE", b"ACK").replace(b": 2 ", b": 1 ")
ANSWER = wire("""
    SIP/2.0 200 OK
    Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK8a7d6f5e4c3b2a19;rport=5060;received=192.0.2.1
    From: "Alice Example" <sip:alice@example.com>;tag=8f3a9b2c
    To: <sip:+4930123456@example.net>;tag=55667788
    Call-ID: 3c26700857a87f84@10.0.0.5
    CSeq: 1 INVITE
    Contact: <sip:198.51.100.7:5060>
    Server: Sample 1.0
    Content-Type: application/sdp
""")
TIRED = wire(
    """
    SIP/2.0 486 Nicht heute
    Via: SIP/2.0/UDP 192.0.2.1:5060;received=192.0.2.1;rport=5060;branch=z9hG4bK8a7
    From: <sip:alice@example.com>;tag=8f3a9b2c
    To: <sip:+4930123456@example.net>;tag=5
    Call-ID: 3c26700857a87f84@10.0.0.5
    CSeq: 1 INVITE
    Retry-After: 5
    """,
    "",
)
USUAL = {
    name: data for name, data in globals().items() if isinstance(data, bytes) and b"SIP/2.0" in data
}
REQUESTS = [data for data in USUAL.values() if not data.startswith(b"SIP")]


def generally(data):
    # RFC 3261 §7.5: line ends in front are ignored; no shape has any.
    message = Message.parse(b"\r\n" + data)
    assert message.headers.shape is None
    return message


def told(message):
    """Return all that a message tells, which must be the same with a shape and without."""
    request = isinstance(message, Request)
    kind = [message.method, message.raw_uri, message.version, message.uri] if request else []
    if not request:
        kind = [message.status_code, message.reason]
    routing = message.routing
    cheap = [message.content_type, message.content_length, message.call_id]
    cheap += [message.headers.get(name) for name in ("f", "TO", "Call-ID", "Contact", "c", "l")]
    typed = [message.cseq, message.max_forwards, message.expires, message.contacts]
    typed += [message.routes, message.record_routes, message.vias, message.from_, message.to]
    typed += [via.parameters for via in message.vias]
    typed += [(via.transport, via.host, via.port) for via in message.vias]
    for address in (message.from_, message.to, *message.contacts):
        typed += [address.uri, address.display_name, address.parameters, address.tag]
    lines = [*message.headers.lines]
    return [*kind, routing, cheap, typed, message.raw_body, message.flaw, message.start_line, lines]


def refusal(message, allow=METHODS, accept=("application/sdp",)):
    if isinstance(message, Request):
        return [
            validate(message, transport=transport, allow=allow, accept=accept)
            for transport in ("UDP", "TCP")
        ]
    return [validate_response(message)]


def check(data):
    """Hold a shaped message beside what the general parser makes of it."""
    shaped, general = Message.parse(data), generally(data)
    assert bytes(shaped) == bytes(general)
    assert refusal(shaped) == refusal(general)
    assert refusal(shaped, ("INVITE", "BYE"), ()) == refusal(general, ("INVITE", "BYE"), ())
    if isinstance(shaped, Request):
        for flow in FLOWS:
            assert_same_answers(data, flow)
    assert told(shaped) == told(general)
    assert bytes(shaped) == bytes(general)
    assert shaped == general


def assert_same_answers(data, flow):
    shaped, general = Message.parse(data), generally(data)
    one, other = shaped.respond(404, to_tag="x"), general.respond(404, to_tag="x")
    assert bytes(one) == bytes(other)
    mark_source(shaped, flow)
    mark_source(general, flow)
    assert server_key(shaped, flow) == server_key(general, flow)
    assert server_key(shaped, flow, "INVITE") == server_key(general, flow, "INVITE")
    shaped.slim()
    general.slim()
    assert (shaped.via, shaped.via.parameters) == (general.via, general.via.parameters)
    if len(general.vias) > 1:  # the general way writes a stamped Via anew
        return
    shaped, general = Message.parse(data), generally(data)
    mark_source(shaped, flow)
    mark_source(general, flow)
    for status, tag, body in ((180, "a", b""), (200, "b", b"v=0\r\n"), (486, None, b"")):
        one = shaped.respond(status, to_tag=tag, headers=[("Contact", "<sip:x>")], body=body)
        other = general.respond(status, to_tag=tag, headers=[("Contact", "<sip:x>")], body=body)
        assert bytes(one) == bytes(other)
        assert one.headers == other.headers
    assert bytes(shaped) == bytes(general)
    assert told(shaped) == told(general)


@pytest.mark.parametrize("name", USUAL)
def test_usual_messages_have_a_shape(name):
    data = USUAL[name]
    shape, begin, end = shape_of(data)
    assert begin == data.index(b"\r\n\r\n") + 4
    assert end == len(data) == begin + int(shape.length)
    assert Message.parse(data).headers.shape is not None
    assert all(found is None for found in refusal(Message.parse(data))) or name == "x"
    check(data)


def test_shape_tells_what_routes_a_message():
    shape = shape_of(PROXIED)[0]
    assert shape == Shape(
        method="INVITE",
        uri="sip:voip@198.51.100.7:5060",
        status_line=None,
        via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1d32.6a4f01.0",
        host="192.0.2.1",
        port="",
        branch="z9hG4bK1d32.6a4f01.0",
        rport=None,
        received=None,
        more=shape.more,
        from_="<sips:alice@example.com>;tag=8f3a",
        from_tag="8f3a",
        to="Bob the Builder <sip:bob@example.com>",
        to_tag=None,
        call_id="3c26700857a87f84@10.0.0.5",
        number="4711",
        verb=None,
        contact='"Alice" <sip:alice@10.0.0.5:5066>;expires=60',
        routes=shape.routes,
        length=str(len(SDP)),
        kind="application/sdp",
    )
    assert shape.more.count("\r\nVia: ") == 1
    assert shape.routes.count("lr") == 3
    shape = shape_of(ANSWER)[0]
    assert (shape.rport, shape.received, shape.verb) == ("=5060", "192.0.2.1", "INVITE")
    assert (shape.status_line, shape.method, shape.uri) == ("SIP/2.0 200 OK", None, None)
    assert shape_of(SOFTPHONE)[0].rport == ""
    assert repr(shape) == "<Shape>"


@pytest.mark.parametrize(
    ("contact", "host"),
    [
        (b"<sip:alice@10.0.0.5:5066;transport=UDP>", "10.0.0.5"),
        (b'"A <sip:b@c>" <sips:d.example>', "d.example"),
        (b'<sip:a@b>;+sip.instance="<urn:uuid:1>"', "b"),
        (b"sip:alice@10.0.0.5:5066", "10.0.0.5"),
        (b"sip:10.0.0.5", "10.0.0.5"),
        (b"Alice <sip:10.0.0.5:5>", "10.0.0.5"),
    ],
)
def test_host_of_a_contact(contact, host):
    data = SOFTPHONE.replace(b"<sip:alice@10.0.0.5:5066;transport=UDP>", contact)
    assert shape_of(data)[0].contact_host == Message.parse(data).contact.uri.host == host
    check(data)
    assert shape_of(data.replace(b"Contact:", b"X-Contact:"))[0].contact_host is None


UNUSUAL = {
    "folded": (b"Max-Forwards: 68", b"Max-Forwards:\r\n 68"),
    "compact name": (b"From:", b"f:"),
    "small name": (b"Call-ID:", b"call-id:"),
    "space before the colon": (b"To:", b"To :"),
    "two spaces": (b"CSeq: 1", b"CSeq:  1"),
    "nothing after the colon": (b"Max-Forwards: 68", b"Max-Forwards:68"),
    "space at the end": (b"CSeq: 1 INVITE", b"CSeq: 1 INVITE "),
    "other method in CSeq": (b"CSeq: 1 INVITE", b"CSeq: 1 INVITED"),
    "shorter method in CSeq": (b"CSeq: 1 INVITE", b"CSeq: 1 INVIT"),
    "ten digits": (b"CSeq: 1 ", b"CSeq: 2147483648 "),
    "no tag": (b";tag=8f3a9b2c", b""),
    "empty tag": (b";tag=8f3a9b2c", b";tag="),
    "another parameter of From": (b";tag=8f3a9b2c", b";x=y;tag=8f3a9b2c"),
    "escape": (b"sip:alice@example.com", b"sip:%61lice@example.com"),
    "password": (b"sip:alice@example.com", b"sip:alice:pw@example.com"),
    "no SIP": (b"<sip:alice@example.com>", b"<tel:+4930123456>"),
    "IPv6": (b"10.0.0.5:5066", b"[2001:db8::5]:5066"),
    "IPv6 Via": (b"192.0.2.1:5060", b"[2001:db8::5]:5060"),
    "port zero": (b"10.0.0.5:5066", b"10.0.0.5:0"),
    "port beyond": (b"10.0.0.5:5066", b"10.0.0.5:65536"),
    "port of six digits": (b"10.0.0.5:5066", b"10.0.0.5:506601"),
    "no port": (b"10.0.0.5:5066", b"10.0.0.5:"),
    "port beyond in Via": (b"192.0.2.1:5060", b"192.0.2.1:70000"),
    "twice the transport": (b";transport=UDP", b";transport=UDP;transport=TCP"),
    "many parameters": (b";transport=UDP", b";transport=UDP;a=1;b=2"),
    "no value": (b";transport=UDP", b";transport="),
    "headers in the URI": (b"7:5060 SIP", b"7:5060?Subject=x SIP"),
    "two contacts": (b"transport=UDP>", b"transport=UDP>, <sip:b@c>"),
    "no brackets": (b"<sip:+4930123456@example.net>", b"sip:+4930123456@example.net"),
    "bare with a parameter": (
        b"<sip:alice@10.0.0.5:5066;transport=UDP>",
        b"sip:alice@10.0.0.5:5066;transport=UDP",
    ),
    "tag in Contact": (b"transport=UDP>", b'transport=UDP>;tag=""'),
    "star": (b"<sip:alice@10.0.0.5:5066;transport=UDP>", b"*"),
    "old version": (b"SIP/2.0\r\nVia", b"SIP/1.0\r\nVia"),
    "old version in Via": (b"Via: SIP/2.0/", b"Via: SIP/1.0/"),
    "empty branch": (b"branch=z9hG4bK8a7d6f5e4c3b2a19", b"branch="),
    "no branch": (b";branch=z9hG4bK8a7d6f5e4c3b2a19", b""),
    "branch twice": (b";rport", b";branch=z9hG4bK8a7d6f5e4c3b2a19"),
    "rport twice": (b";rport", b";rport;rport"),
    "received twice": (b";rport", b";received=1.2.3.4;received=1.2.3.4"),
    "unknown parameter of Via": (b";rport", b";rport;keep"),
    "two elements in Via": (b";rport", b";rport, SIP/2.0/UDP a;branch=z9hG4bKx"),
    "too many forwards": (b"Max-Forwards: 68", b"Max-Forwards: 256"),
    "no forwards": (b"Max-Forwards: 68", b"Max-Forwards: x"),
    "requirement": (b"Supported:", b"Require:"),
    "route": (b"Supported: replaces, timer", b"Route: <sip:a;lr>"),
    "no number": (b"Supported: replaces, timer", b"Expires: soon"),
    "accepts else": (b"Supported: replaces, timer", b"Accept: text/plain"),
    "encoded": (b"Supported: replaces, timer", b"Content-Encoding: gzip"),
    "disposition": (b"Supported: replaces, timer", b"Content-Disposition: render"),
    "two words": (b"3c26700857a87f84@10.0.0.5", b"3c26700857a87f84 10.0.0.5"),
    "UTF-8 in a Call-ID": (b"3c26700857a87f84@10.0.0.5", "é".encode()),
    "control character": (b"Sample UA", b"Sample\x00UA"),
    "control character in a name": (b"Alice Example", b"Alice\x7fExample"),
    "quoted pair": (b"Alice Example", b'Alice \\"Example'),
    "line feed": (b"Sample UA", b"Sample\nUA"),
    "parameter of the type": (b"application/sdp", b"application/sdp;charset=utf-8"),
    "no type": (b"application/sdp", b"application"),
    "type twice": (b"Supported: replaces, timer", b"Content-Type: application/sdp"),
    "longer": (b"Content-Length: 8", b"Content-Length: 9"),
    "zero in front": (b"Content-Length: ", b"Content-Length: 0"),
    "no length": (b"Content-Length: ", b"X-Length: "),
    "no Via": (b"Via: ", b"X-Via: "),
    "no From": (b"From: ", b"X-From: "),
    "no To": (b"To: ", b"X-To: "),
    "no Call-ID": (b"Call-ID: ", b"X-Call-ID: "),
    "no CSeq": (b"CSeq: ", b"X-CSeq: "),
    "bytes in front": (b"INVITE sip", b"\r\nINVITE sip"),
    "two spaces in the first line": (b"INVITE sip", b"INVITE  sip"),
    "small method": (b"INVITE", b"invite"),
    "bare name": (b"Supported: replaces, timer", b"Supported"),
    "no name": (b"Supported: replaces, timer", b": x"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_unusual_has_no_shape(name):
    old, new = UNUSUAL[name]
    assert old in SOFTPHONE
    data = SOFTPHONE.replace(old, new)
    assert shape_of(data) is None
    assert Message.parse(data).headers.shape is None


ROUTED = SOFTPHONE.replace(b"Max-Forwards", b"Record-Route: <sip:p.example;lr>\r\nMax-Forwards")


@pytest.mark.parametrize(
    "routes",
    [
        b"Record-Route:  <sip:a;lr>",
        b"Record-Route: <sip:a;lr> ",
        b'Record-Route: "a"  <sip:a;lr>,<sip:b;lr>',
        b'Record-Route: "a\r\nRecord-Route: b" <sip:c;lr>',
        b"Record-Route: <sip:a\r\nRecord-Route: ;lr>",
        b"Record-Route: \r\nRecord-Route: <sip:a;lr>",
        b"Record-Route: <sip:a;lr>,\r\nRecord-Route: <sip:b;lr>",
        b"Record-Route: ,<sip:a;lr>\r\nRecord-Route: <sip:b;lr>",
    ],
)
def test_each_route_line_is_read_by_itself(routes):
    data = ROUTED.replace(b"Record-Route: <sip:p.example;lr>", routes)
    assert Message.parse(ROUTED).headers.shape is not None
    message, general = Message.parse(data), generally(data)
    assert refusal(message) == refusal(general)
    if refusal(general) is None:
        check(data)
        routes = [Dialog.answering(one, "tag").routes for one in (message, general)]
        assert routes[0] == routes[1]


def test_all_via_are_told_after_the_source_was_marked():
    data = SOFTPHONE.replace(
        b";rport\r\n", b";rport;received=10.0.0.1\r\nVia: SIP/2.0/UDP 1.2.3.4;branch=z9hG4bK1\r\n"
    )
    message = Message.parse(data)
    assert message.headers.shape is not None
    mark_source(message, FLOWS[0])
    assert [via.host for via in message.vias] == ["192.0.2.1", "1.2.3.4"]


LINES = dict(re.findall(rb"(?m)^([A-Z][A-Za-z-]+): ([^\r]+)\r$", SWITCH))
HARMLESS = (
    *(b"Via", b"Allow", b"Supported", b"Allow-Events", b"Min-SE", b"Accept", b"X-FS-Support"),
    *(b"Remote-Party-ID", b"Vendor-Guid"),
)


@pytest.mark.parametrize("name", [*LINES, b"Subject"])
def test_what_may_stand_once_has_no_shape_when_it_stands_twice(name):
    line = name + b": " + LINES.get(name, b"x") + b"\r\n"
    data = SWITCH.replace(b"Min-SE:", line + b"Min-SE:") if name == b"Subject" else SWITCH
    assert shape_of(data) is not None
    for twice in (
        data.replace(b"User-Agent:", line + b"User-Agent:", 1),
        data.replace(b"Via:", line + b"Via:", 1),
        data.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n", 1),
    ):
        harmless = name in HARMLESS
        assert (shape_of(twice) is not None) == harmless
        if harmless:
            check(twice)


PLAIN = {
    "more": "SIP/2.0/UDP a:5062;received=1.2.3.4;rport;branch=z9hG4bK0",
    "routes": "<sip:p;lr>",
}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("more", PLAIN["more"] + "\r\nVia: SIP/2.0/TCP b;branch=c;keep"),
        ("more", "SIP/2.0/UDP a"),
        ("more", "SIP/2.0/UDP a;branch-x;branch=b"),
        (
            "routes",
            "<sips:a@p:5061;lr;ftag=1.2;did=61c.5d>, <sip:q>,<sip:r>\r\nRecord-Route: <sip:s>",
        ),
    ],
)
def test_usual_vias_and_routes_are_plain(field, value):
    shape = shape_of(PROXIED)[0]._replace(**{**PLAIN, field: value})
    assert is_plain(shape)
    assert is_sound(shape)
    assert is_plain(shape._replace(more=None))
    assert is_plain(shape._replace(routes=None))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("more", PLAIN["more"] + tail)
            for tail in (";rport=1", ";branch=x", ";x=[1]", "\r\nVia: ")
        ),
        *(("more", PLAIN["more"] + tail) for tail in (", SIP/2.0/UDP b;branch=c", ";X")),
        *(("more", f"SIP/2.0/UDP a;{branch}") for branch in ("branch", "branch=", "branch;x")),
        *(
            ("more", value)
            for value in ("", "SIP/1.0/UDP a", "SIP/2.0/UDP a:0", "SIP/2.0/UDP [::1]")
        ),
        *(("routes", "<sip:p;lr>" + tail) for tail in (",", ", ", ";x", " <sip:q>", ",,<sip:q>")),
        *(("routes", value) for value in ("", ", <sip:p>", "<tel:1>", "<sip:p;lr;lr=on>", "sip:p")),
        ("routes", ",".join(["<sip:p>"] * 65)),
    ],
)
def test_what_is_not_plain_is_read_in_full(field, value):
    shape = shape_of(PROXIED)[0]._replace(**{**PLAIN, field: value})
    assert not is_plain(shape)
    general = {"more": "Via: SIP/2.0/UDP z;branch=z9hG4bK\r\nVia", "routes": "Record-Route"}[field]
    data = re.sub(rb"(Via|Record-Route): [^\r]*\r\n", b"", PROXIED)
    data = data.replace(b"Max-Forwards", f"{general}: {value}\r\nMax-Forwards".encode())
    if field == "routes":
        data = data.replace(b"Max-", b"Via: SIP/2.0/UDP z;branch=z9hG4bK\r\nMax-")
    refused = validate(generally(data), transport="UDP", allow=METHODS)
    assert refused is None or not is_sound(shape)


def test_other_vias_and_routes_are_looked_at_too():
    for old, new in (
        (b'x="y"', b'x="y'),
        (b"TLS phone", b"TLS phone one"),
        (b"nashds8;", b"nashds8, SIP/2.0/UDP a;"),
        (b"lr;ftag=8f3a", b"lr;lr=x"),
        (b"<sip:10.0.0.1;lr=on>", b"<sip:10.0.0.1;lr=on"),
        (b"<sip:10.0.0.1;lr=on>", b", ".join([b"<sip:a;lr>"] * 70)),
        (b"<sip:10.0.0.1;lr=on>", b"<sip:10.0.0.1:0>"),
    ):
        assert old in PROXIED
        data = PROXIED.replace(old, new)
        assert shape_of(data) is not None
        assert Message.parse(data).headers.shape is None


def test_bounds_of_a_shape():
    long = SOFTPHONE.replace(b"Sample UA", b"x" * MAX_SHAPED_BYTES)
    assert shape_of(long) is None
    assert validate(Message.parse(long), transport="UDP", allow=METHODS) is None
    many = SOFTPHONE.replace(b"Allow:", b"X-1:\r\n" * 100 + b"Allow:")
    assert shape_of(many) is None
    huge = SOFTPHONE[: -len(SDP)].replace(b"Length: %d" % len(SDP), b"Length: 65537") + b"x" * 65537
    assert shape_of(huge) is None
    assert validate(Message.parse(huge), transport="UDP", allow=METHODS).status == 413
    longer = SOFTPHONE + b"more than was declared"
    assert Message.parse(longer).raw_body == SDP.encode()
    check(longer)


def test_what_changes_has_no_shape_any_more():
    for change in (
        lambda headers: headers.set("Subject", "x"),
        lambda headers: headers.add("To", "<sip:b@c>"),
        lambda headers: headers.insert(0, "Via", "SIP/2.0/UDP a"),
        lambda headers: headers.remove("Content-Type"),
        lambda headers: headers.restate("call-id", CALL_ID, b"Call-ID: x"),
    ):
        shaped, general = Message.parse(SOFTPHONE), generally(SOFTPHONE)
        for message in (shaped, general):
            mark_source(message, FLOWS[1])
            change(message.headers)
            message.raw_body = b"longer" * 100
        assert shaped.headers.shape is None
        assert bytes(shaped) == bytes(general)
        assert b"received=203.0.113.9" in bytes(shaped)
        assert b"Content-Length: 600" in bytes(shaped)


def test_body_of_another_length_is_declared():
    message = Message.parse(SOFTPHONE)
    message.raw_body = b"x"
    assert b"\r\nContent-Length: 1\r\n\r\nx" in bytes(message)
    response = Message.parse(SOFTPHONE).respond(200, to_tag="a")
    response.raw_body = b"xyz"
    assert bytes(response).endswith(b"\r\nContent-Length: 3\r\n\r\nxyz")


PIECES = (
    *(b"", b" ", b"\t", b"\r\n", b"\r\n ", b"\r", b"\n", b"\x00", b"\xff", b"\x7f", b'"', b"\\"),
    *(b"<", b">", b";", b",", b":", b"=", b"@", b"%41", b"?", b"[", b"]", b"0", b"-1", b"256"),
    *(b"65536", b"65000", b";rport", b";branch=z9hG4bKx", b";tag=x", b";received=1.2.3.4", b";lr"),
    *(b";transport=tcp", b"sips:", b"SIP/2.0", b"Via: SIP/2.0/UDP a;branch=b\r\n", b"a", b"Z"),
    *(b"Contact: <sip:a@b>\r\n", b"Record-Route: <sip:a;lr>\r\n", b"Subject: x\r\n", b"\xc3\xa9"),
)


def mutated(chance):
    data = chance.choice(list(USUAL.values()))
    for _ in range(1 + int(chance.expovariate(0.7))):
        at = chance.randrange(len(data) + 1)
        lines = data.split(b"\r\n")
        one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        match chance.randrange(5):
            case 0:
                data = data[:at] + chance.choice(PIECES) + data[at:]
            case 1:
                data = data[:at] + data[at + chance.randrange(1, 5) :]
            case 2:
                lines[one], lines[other] = lines[other], lines[one]
                data = b"\r\n".join(lines)
            case 3:
                lines.insert(one, lines[other])
                data = b"\r\n".join(lines)
            case _:
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    return data


def shaped_of_many(seed, count):
    chance, seen = random.Random(seed), 0
    for _ in range(count):
        data = mutated(chance)
        try:
            message = Message.parse(data)
        except ParseError:
            continue
        if message.headers.shape is not None:
            seen += 1
            check(data)
    return seen


def test_mutated_messages_are_told_alike():
    assert shaped_of_many(1, 1500) > 200


def test_torture_has_few_shapes_and_those_tell_the_same():
    for path in sorted(DATA.glob("rfc*/*.dat")):
        data = path.read_bytes()
        if shape_of(data) is not None and Message.parse(data).headers.shape is not None:
            check(data)
