"""Transactions: every input at every state, keys, and the paths they depend on."""

from __future__ import annotations

from collections import Counter

import pytest

from voip.errors import LocalProtocolError
from voip.machine import Flow, Timers
from voip.sip.messages import Message, Request
from voip.sip.settings import Timing
from voip.sip.tables import TABLES, Input, Kind, State
from voip.sip.transaction import server_key
from voip.sip.transactions import Transactions
from voip.types import HostPort

HERE, THERE = HostPort("127.0.0.9", 5060), HostPort("127.0.0.1", 5070)
UDP = Flow("UDP", HERE, THERE)
TCP = Flow("TCP", HERE, THERE, 7)


class User:
    """Writes down what it is told."""

    def __init__(self):
        self.heard = []

    def response_received(self, transaction, response, now):
        self.heard.append(f"{response.status_code}")

    def transaction_failed(self, transaction, reason, now):
        self.heard.append(reason)

    def ack_received(self, transaction, request, now):
        self.heard.append(request.method)


def make(method="INVITE", branch="z9hG4bK1", extra=(), uri="sip:us@127.0.0.9"):
    return Request(
        method,
        uri,
        [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:5070;branch={branch}"),
            ("From", "<sip:peer@127.0.0.1>;tag=them"),
            ("To", "<sip:us@127.0.0.9>"),
            ("Call-ID", "c1"),
            ("CSeq", f"1 {'INVITE' if method == 'ACK' else method}"),
            *extra,
        ],
    )


class Layer:
    """The layer with one transaction in one state."""

    def __init__(self, kind, state, flow=UDP):
        self.sent, self.counters, self.user = [], Counter(), User()
        self.layer = Transactions(
            Timing(), Timers(), self.counters, lambda flow, data: self.sent.append(data)
        )
        self.layer.on_ack = self.user.ack_received
        invite = kind in (Kind.INVITE_CLIENT, Kind.INVITE_SERVER)
        self.request = make("INVITE" if invite else "OPTIONS")
        if kind in (Kind.CLIENT, Kind.INVITE_CLIENT):
            self.transaction = self.layer.request(self.request, flow, self.user, 0.0)
        else:
            key = server_key(self.request, flow)
            self.transaction = self.layer.serve(self.request, key, flow, 0.0)
            self.transaction.user = self.user
            self.transaction.data = b"last response"
        if self.transaction.repeat is None:
            self.transaction.repeat = self.layer.timers.start(0, 1, Input.TIMER_A, self.transaction)
        self.transaction.state = state
        self.sent.clear()

    def message(self, given):
        status = {
            Input.PROVISIONAL: 180,
            Input.SUCCESS: 200,
            Input.FAILURE: 486,
            Input.SEND_PROVISIONAL: 180,
            Input.SEND_SUCCESS: 200,
            Input.SEND_FAILURE: 486,
        }.get(given)
        if status is None:
            return make("ACK") if given is Input.ACK else self.request
        response = self.request.respond(status, to_tag="us")
        return bytes(response) if given.startswith("send") else response


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("flow", [UDP, TCP], ids=["UDP", "TCP"])
def test_every_input_at_every_state(kind, flow):
    for state in State:
        for given in Input:
            bed = Layer(kind, state, flow)
            cell = TABLES[kind].get((state, given))
            taken = bed.layer.step(bed.transaction, given, 1.0, bed.message(given))
            assert taken is (cell is not None), (kind, state, given)
            if cell is None:
                assert bed.transaction.state is state
                assert bed.counters["transaction.ignored"] == 1
                assert not bed.sent
                assert not bed.user.heard
                continue
            gone = bed.transaction.state is State.TERMINATED
            if flow is UDP:
                assert bed.transaction.state is cell[0]
            else:  # a wait of zero may have ended it in the same step
                assert gone or bed.transaction.state is cell[0]
            held = {*bed.layer.clients, *bed.layer.servers, *bed.layer.lingering}
            assert (bed.transaction.key in held) is not gone, (kind, state, given)
            if gone:
                assert len(bed.layer.timers) == 0


@pytest.mark.parametrize(
    ("kind", "state", "given", "heard"),
    [
        (Kind.INVITE_CLIENT, State.CALLING, Input.TIMER_B, "timeout"),
        (Kind.INVITE_CLIENT, State.PROCEEDING, Input.TRANSPORT_ERROR, "transport"),
        (Kind.CLIENT, State.TRYING, Input.TIMER_F, "timeout"),
        (Kind.CLIENT, State.PROCEEDING, Input.SUCCESS, "200"),
        (Kind.INVITE_SERVER, State.ACCEPTED, Input.ACK, "ACK"),
        (Kind.INVITE_SERVER, State.PROCEEDING, Input.TRANSPORT_ERROR, "transport"),
    ],
)
def test_the_user_hears(kind, state, given, heard):
    bed = Layer(kind, state)
    bed.layer.step(bed.transaction, given, 1.0, bed.message(given))
    assert bed.user.heard == [heard]


@pytest.mark.parametrize("kind", Kind)
def test_without_a_user_nothing_breaks(kind):
    for (state, given), _ in TABLES[kind].items():
        bed = Layer(kind, state)
        bed.transaction.user = None
        assert bed.layer.step(bed.transaction, given, 1.0, bed.message(given))


def test_the_ack_of_a_refusal_is_the_invite_with_the_tag_of_the_response():
    bed = Layer(Kind.INVITE_CLIENT, State.CALLING)
    bed.request.headers.add("Route", "<sip:127.0.0.5;lr>, <sip:127.0.0.6;lr>")
    bed.layer.step(bed.transaction, Input.FAILURE, 1.0, bed.message(Input.FAILURE))
    ack = Message.parse(bed.sent[0])
    assert ack.method == "ACK"
    assert (ack.branch, ack.to.tag, str(ack.cseq)) == (bed.request.branch, "us", "1 ACK")
    assert ack.raw_uri == bed.request.raw_uri
    assert [str(route.uri) for route in ack.routes] == ["sip:127.0.0.5;lr", "sip:127.0.0.6;lr"]
    assert len(ack.vias) == 1


def test_a_second_final_response_of_ours_is_a_mistake():
    bed = Layer(Kind.SERVER, State.COMPLETED)
    with pytest.raises(LocalProtocolError, match="send 2xx"):
        bed.layer.respond(bed.transaction, bed.request.respond(200), 1.0)


def test_two_clients_with_one_branch_are_two_transactions():
    other = Flow("UDP", HERE, HostPort("127.0.0.2", 5070))
    assert server_key(make(), UDP) != server_key(make(), other)


def test_methods_tell_transactions_apart_but_an_ack_is_the_invites():
    assert server_key(make("ACK"), UDP) == server_key(make("INVITE"), UDP)
    assert server_key(make("CANCEL"), UDP) != server_key(make("INVITE"), UDP)
    assert server_key(make("CANCEL"), UDP, "INVITE") == server_key(make("INVITE"), UDP)


@pytest.mark.parametrize("branch", ["z9hG4bK", "old"])
def test_a_branch_without_cookie_or_content_falls_back_to_rfc_2543(branch):
    first, other = make(branch=branch), make(branch=branch, uri="sip:other@127.0.0.9")
    assert server_key(first, UDP) == server_key(make(branch=branch), UDP)
    assert server_key(first, UDP) != server_key(other, UDP)
    assert server_key(make("ACK", branch=branch), UDP) == server_key(first, UDP)


def test_an_rfc_2543_request_without_branch_or_tag_is_not_one_that_says_none():
    def key(branch, tag):
        headers = [
            ("Via", f"SIP/2.0/UDP 127.0.0.1:5070{branch}"),
            ("From", f"<sip:peer@127.0.0.1>{tag}"),
            ("Call-ID", "c1"),
            ("CSeq", "1 OPTIONS"),
        ]
        return server_key(Request("OPTIONS", "sip:us@127.0.0.9", headers), UDP)

    ways = [(branch, tag) for branch in ("", ";branch=None") for tag in ("", ";tag=None")]
    assert len({key(*way) for way in ways}) == 4


def test_a_lost_path_fails_what_needs_it_and_nothing_else():
    bed = Layer(Kind.CLIENT, State.TRYING, TCP)
    other = bed.layer.request(make("INVITE", "z9hG4bK2"), UDP, None, 0.0)
    assert bed.layer.path_lost(TCP, 1.0) == 1
    assert bed.user.heard == ["transport"]
    assert list(bed.layer.clients.values()) == [other]
    assert bed.layer.path_lost(TCP, 1.0) == 0


def test_dropping_one_is_silent():
    bed = Layer(Kind.CLIENT, State.TRYING)
    bed.layer.drop(bed.transaction)
    assert (bed.user.heard, bed.layer.clients, len(bed.layer.timers)) == ([], {}, 0)


def test_a_response_without_transaction_is_nobodys():
    bed = Layer(Kind.CLIENT, State.TRYING)
    stray = make("OPTIONS", "z9hG4bKother").respond(200)
    assert not bed.layer.response_received(stray, UDP, 1.0)


def test_a_response_by_another_transport_than_the_request_is_nobodys():
    bed = Layer(Kind.CLIENT, State.TRYING)
    answer = bed.request.respond(200)
    assert not bed.layer.response_received(answer, TCP, 1.0)
    assert bed.layer.response_received(answer, UDP, 1.0)


def test_a_transaction_names_itself():
    bed = Layer(Kind.CLIENT, State.TRYING)
    assert repr(bed.transaction) == "<non-INVITE client transaction, trying>"
