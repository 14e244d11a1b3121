from __future__ import annotations

import pytest

from voip.machine import Flow
from voip.sip.core import Core
from voip.sip.messages import Request
from voip.sip.settings import EndpointSettings
from voip.types import HostPort

FLOWS = {
    name: Flow(name, HostPort("192.0.2.1", 40000), HostPort("198.51.100.1", 5061), number=1)
    for name in ("UDP", "TCP", "TLS")
}


def core(**settings: object) -> Core:
    return Core(EndpointSettings(**settings), lambda count: bytes(count))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("transport", "uri", "headers", "contact"),
    [
        ("UDP", "sip:b@example.com", [], "<sip:voip@192.0.2.1:40000>"),
        ("TCP", "sip:b@example.com", [], "<sip:voip@192.0.2.1:40000;transport=tcp>"),
        ("TLS", "sip:b@example.com", [], "<sip:voip@192.0.2.1:40000;transport=tls>"),
        ("TLS", "sips:b@example.com", [], "<sips:voip@192.0.2.1:40000>"),
        ("TLS", "SIPS:b@example.com", [], "<sips:voip@192.0.2.1:40000>"),
        ("TLS", "sip:b@x", [("Route", "<sips:p.example;lr>")], "<sips:voip@192.0.2.1:40000>"),
        ("TLS", "sip:b@x", [("Record-Route", "<sips:p;lr>")], "<sips:voip@192.0.2.1:40000>"),
        ("UDP", "sips:b@example.com", [], "<sip:voip@192.0.2.1:40000>"),
    ],
)
def test_contact_asks_for_sips_where_the_request_does(transport, uri, headers, contact):
    request = Request("INVITE", uri, headers)

    assert core().contact(FLOWS[transport], request) == contact


def test_contact_names_the_listener_of_its_transport():
    request = Request("INVITE", "sip:b@example.com", [])
    listening = core(listeners={"TCP": HostPort("0.0.0.0", 5060)}, contact_user="alice")

    assert listening.contact(FLOWS["TCP"], request) == "<sip:alice@192.0.2.1:5060;transport=tcp>"
    assert listening.contact(FLOWS["UDP"], request) == "<sip:alice@192.0.2.1:40000>"
    public = core(public_address=HostPort("203.0.113.5", 0))
    assert public.contact(FLOWS["UDP"], request) == "<sip:voip@203.0.113.5:40000>"


def test_lines_of_an_answer_are_made_once_for_each_contact():
    ours = core(contact_user="b\u00f6b")
    request = Request("INVITE", "sip:b@example.com", [])
    ringing, final = ours.says(FLOWS["TCP"], request)
    contact = "\r\nContact: <sip:b\u00c3\u00b6b@192.0.2.1:40000;transport=tcp>"
    assert ringing == contact
    assert final == f"{contact}\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS"
    assert ours.says(FLOWS["TCP"], request)[1] is final


def test_contacts_are_remembered_up_to_a_bound():
    ours = core()
    request = Request("INVITE", "sip:b@example.com", [])
    for port in range(1, 2500):
        flow = Flow("UDP", HostPort("192.0.2.1", port), HostPort("198.51.100.1", 5061))
        assert f"192.0.2.1:{port}>" in ours.says(flow, request)[0]
    assert len(ours._contacts) <= 1001
    assert len(ours._said) <= 1001
