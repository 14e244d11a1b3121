"""Dialogs: tags, CSeq, routes and targets, and where the next request goes."""

from __future__ import annotations

import pytest

from voip.errors import LocalProtocolError
from voip.machine import Flow
from voip.sip.dialog import Dialog, NextHop, behind_nat, speaks_for
from voip.sip.messages import Message, Request
from voip.sip.types import SipURI
from voip.types import HostPort

INVITE = Request(
    "INVITE",
    "sip:us@192.0.2.9",
    [
        ("Via", "SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1"),
        ("Record-Route", "<sip:p1.example;lr>, <sip:p2.example;lr>"),
        ("From", '"Them" <sip:them@example.com>;tag=theirs'),
        ("To", "<sip:us@example.com>"),
        ("Call-ID", "id"),
        ("CSeq", "7 INVITE"),
        ("Contact", "<sip:them@198.51.100.7:5070;transport=tcp>"),
    ],
)


def answered(**headers):
    response = INVITE.respond(200, to_tag="ours", headers=[("Contact", "<sip:us@192.0.2.9:5062>")])
    return Message.parse(bytes(response))


def test_the_callees_side():
    dialog = Dialog.answering(INVITE, "ours")
    assert dialog.key == ("id", "ours", "theirs")
    assert (dialog.remote_cseq, dialog.local_cseq) == (7, 0)
    bye = dialog.request("BYE")
    assert bye.raw_uri == b"sip:them@198.51.100.7:5070;transport=tcp"
    assert [str(route.uri) for route in bye.routes] == ["sip:p1.example;lr", "sip:p2.example;lr"]
    assert (bye.from_.tag, bye.to.tag, str(bye.cseq)) == ("ours", "theirs", "1 BYE")
    assert bye.to.display_name == "Them"
    assert dialog.next_hop() == NextHop("p1.example", None, None, False)


def test_the_callers_side_turns_the_routes_round():
    dialog = Dialog.asking(INVITE, answered())
    assert dialog.key == ("id", "theirs", "ours")
    ack, bye = dialog.request("ACK", cseq=7), dialog.request("BYE")
    assert [str(route.uri) for route in ack.routes] == ["sip:p2.example;lr", "sip:p1.example;lr"]
    assert (str(ack.cseq), str(bye.cseq)) == ("7 ACK", "8 BYE")
    assert bye.raw_uri == b"sip:us@192.0.2.9:5062"


def test_a_strict_router_becomes_the_request_uri():
    dialog = Dialog.answering(INVITE, "ours")
    dialog.routes = ["<sip:strict.example>", "<sip:p2.example;lr>"]
    request = dialog.request("BYE")
    assert request.raw_uri == b"sip:strict.example"
    assert [str(route.uri) for route in request.routes] == [
        "sip:p2.example;lr",
        "sip:them@198.51.100.7:5070;transport=tcp",
    ]


def test_a_new_contact_is_the_new_target_and_a_bad_one_is_not():
    dialog = Dialog.answering(INVITE, "ours")
    dialog.refresh(answered())
    assert dialog.request("BYE").raw_uri == b"sip:us@192.0.2.9:5062"
    dialog.refresh(INVITE.respond(200))
    dialog.refresh(INVITE.respond(200, headers=[("Contact", "<sip:a b>")]))
    assert dialog.request("BYE").raw_uri == b"sip:us@192.0.2.9:5062"


def test_without_a_contact_the_address_itself_is_the_target():
    dialog = Dialog.answering(INVITE, "ours")
    dialog.contact, dialog.routes = None, []
    assert dialog.request("BYE").raw_uri == b"sip:them@example.com"
    assert dialog.next_hop().host == "example.com"


def test_a_target_that_is_no_sip_uri_cannot_be_reached():
    dialog = Dialog.answering(INVITE, "ours")
    dialog.refresh(INVITE.respond(200, headers=[("Contact", "<tel:+4930123>")]))
    with pytest.raises(LocalProtocolError):
        dialog.request("BYE")
    dialog.routes = ["<tel:+4930123>"]
    with pytest.raises(LocalProtocolError, match="TelURI"):
        dialog.next_hop()


@pytest.mark.parametrize(
    ("uri", "hop"),
    [
        ("sip:a@h", ("h", None, None, False)),
        ("sips:a@h:5081", ("h", 5081, None, True)),
        ("sip:a@h;transport=tls", ("h", None, "TLS", False)),
    ],
)
def test_next_hop_of_a_uri(uri, hop):
    assert tuple(NextHop.of(SipURI.parse(uri)))[:4] == hop


def flow(host, **options):
    return Flow("UDP", HostPort("192.0.2.9", 5060), HostPort(host, 5060), **options)


@pytest.mark.parametrize(
    ("contact", "via", "source", "expected"),
    [
        ("198.51.100.7", "198.51.100.7", "198.51.100.7", False),
        ("192.168.1.5", "192.168.1.5", "8.8.8.8", True),
        ("192.168.1.5", None, "8.8.8.8", True),
        ("192.168.1.5", "192.168.1.5", "192.168.1.6", True),
        ("192.168.1.5", None, "192.168.1.6", False),
        ("phone.example", "phone.example", "8.8.8.8", False),
        ("1.1.1.1", "8.8.8.8", "8.8.8.8", False),
    ],
)
def test_a_peer_behind_a_nat_is_known_by_its_addresses(contact, via, source, expected):
    dialog = Dialog.answering(INVITE, "ours")
    dialog.routes = []
    dialog.refresh(INVITE.respond(200, headers=[("Contact", f"<sip:a@{contact}>")]))
    assert behind_nat(dialog, flow(source), via) is expected
    dialog.routes = ["<sip:p1.example;lr>"]
    assert not behind_nat(dialog, flow(source), via)


def test_who_may_speak_for_the_peer():
    dialog = Dialog.answering(INVITE, "ours")
    dialog.routes = ["<sip:203.0.113.5;lr>"]
    mine = flow("203.0.113.1", identity="trunk.example")
    assert speaks_for(dialog, mine, flow("203.0.113.5"), ())  # a proxy of the route set
    assert speaks_for(dialog, mine, flow("198.51.100.7"), ())  # the target itself
    assert not speaks_for(dialog, mine, flow("203.0.113.9"), ())
    assert speaks_for(dialog, mine, flow("203.0.113.9", identity="trunk.example"), ())
    assert speaks_for(dialog, mine, flow("203.0.113.9"), ("203.0.113.1", "203.0.113.9"))
    assert not speaks_for(None, mine, flow("203.0.113.5"), ())


USUAL = (
    b"INVITE sip:us@192.0.2.9 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK1\r\n"
    b'Record-Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\nFrom: "Th\xc3\xa9m" '
    b"<sip:them@example.com>;tag=theirs\r\nTo: <sip:us@example.com>\r\nCall-ID: id\r\n"
    b"CSeq: 7 INVITE\r\nContact: <sip:them@198.51.100.7:5070;transport=tcp>\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize("missing", [b"", b"Contact", b"Record-Route"])
def test_a_usual_invite_makes_the_same_dialog(missing):
    data = USUAL.replace(missing + b":", b"X-Other:") if missing else USUAL
    usual, general = Message.parse(data), Message.parse(b"\r\n" + data)
    assert usual.headers.shape is not None
    assert general.headers.shape is None
    one, other = Dialog.answering(usual, "ours"), Dialog.answering(general, "ours")
    assert (one.key, one.local, one.remote) == (other.key, other.local, other.remote)
    assert (one.remote_cseq, one.routes, one.hosts()) == (7, other.routes, other.hosts())
    assert one.contact == other.contact
    assert one.contact is one.contact
    assert bytes(one.request("BYE")) == bytes(other.request("BYE"))
