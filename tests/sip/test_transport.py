"""Sockets in memory become flows, and flows sockets: limits, deadlines, back-pressure."""

from __future__ import annotations

import asyncio
import socket

import certificates
import pytest

from voip.errors import TransportError
from voip.machine import (
    CloseFlow,
    Datagram,
    Flow,
    FlowLost,
    FlowOpened,
    OpenFlow,
    StreamBytes,
    Target,
    Transmit,
)
from voip.sip.streams import Census, StreamConnection, StreamLimits, connect_stream, source_of
from voip.sip.tls import client_context, server_context
from voip.sip.transport import SipTransports, StreamListener
from voip.testing.loop import run_virtual
from voip.testing.network import Network
from voip.types import HostPort

ALICE, BOB = "192.0.2.1", "192.0.2.2"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificates.Authority(tmp_path_factory.mktemp("ca"))


class Node:
    """One endpoint's sockets, and what they told."""

    def __init__(self, limits=None, tls=None):
        self.told = []
        self.transports = SipTransports(self.feed, limits=limits, tls=tls)

    def feed(self, event):
        self.told.append(event)

    def of(self, kind):
        return [event for event in self.told if type(event) is kind]

    @property
    def received(self):
        return b"".join(event.data for event in self.of(StreamBytes))

    @property
    def reasons(self):
        return [event.reason for event in self.of(FlowLost)]

    async def listen(self, name, host=BOB, port=5060, **options):
        return await self.transports.listen(name, host, port, **options)

    async def open(self, transport, port=5060, *, token="t", host=BOB, name="example.com"):
        """Open a flow and return it, None when that failed."""
        self.transports.transmit(OpenFlow(token, Target(transport, host, port, name)))
        await asyncio.sleep(1)
        opened = [event.flow for event in self.of(FlowOpened) if event.token == token]
        return opened[0] if opened else None

    def send(self, flow, data):
        self.transports.transmit(Transmit(flow, data))

    async def leave(self):
        self.transports.close()
        await self.transports.wait_closed()


def virtual(test):
    """Run an async test with two nodes in virtual time, and close them."""

    def run(**fixtures):
        async def main():
            alice, bob = Node(), Node()
            try:
                await test(alice, bob, **fixtures)
            finally:
                await alice.leave()
                await bob.leave()

        run_virtual(main(), network=Network())

    run.__name__ = test.__name__
    if "authority" in test.__code__.co_varnames[: test.__code__.co_argcount]:
        return lambda authority: run(authority=authority)
    return lambda: run()


# UDP


@virtual
async def test_a_datagram_names_both_ends(alice, bob):
    await alice.listen("udp", ALICE)
    assert await bob.listen("UDP") == HostPort(BOB, 5060)
    flow = await alice.open("UDP")
    assert flow == Flow("UDP", HostPort(ALICE, 5060), HostPort(BOB, 5060))
    assert not flow.reliable
    alice.send(flow, b"hello")
    await asyncio.sleep(1)
    back = Flow("UDP", HostPort(BOB, 5060), HostPort(ALICE, 5060))
    assert bob.told == [Datagram(back, b"hello")]
    bob.send(back, b"hi")
    await asyncio.sleep(1)
    assert alice.of(Datagram) == [Datagram(flow, b"hi")]


@virtual
async def test_flows_are_made_once_and_forgotten_after_a_while(alice, bob):
    await bob.listen("udp")
    await alice.listen("udp", ALICE)
    flow = await alice.open("UDP")
    for _ in range(2):
        alice.send(flow, b"x")
        await asyncio.sleep(1)
    first, second = bob.of(Datagram)
    assert first.flow is second.flow
    await asyncio.sleep(61)
    alice.send(flow, b"x")
    await asyncio.sleep(1)
    assert bob.of(Datagram)[2].flow == first.flow
    assert bob.of(Datagram)[2].flow is not first.flow


@virtual
async def test_a_flow_finds_its_listener_by_port_and_family(alice, bob):
    await alice.listen("udp", ALICE, 5060)
    await alice.listen("udp", ALICE, 5070)
    await alice.listen("udp", "2001:db8::1", 5060)
    await bob.listen("udp")
    await bob.listen("udp", "2001:db8::2")
    alice.send(Flow("UDP", HostPort(ALICE, 5070), HostPort(BOB, 5060)), b"four")
    alice.send(Flow("UDP", HostPort("2001:db8::1", 1), HostPort("2001:db8::2", 5060)), b"six")
    await asyncio.sleep(1)
    assert {(event.flow.remote, event.data) for event in bob.of(Datagram)} == {
        (HostPort(ALICE, 5070), b"four"),
        (HostPort("2001:db8::1", 5060), b"six"),
    }
    assert (await alice.open("UDP", host="2001:db8::2")).local.host == "2001:db8::1"
    assert alice.transports.listeners == {"UDP": HostPort(ALICE, 5060)}


@virtual
async def test_udp_without_a_listener_of_the_family_is_lost(alice, bob):
    assert await alice.open("UDP") is None
    assert alice.told == [FlowLost(None, f"no UDP listener reaches {BOB}", "t")]
    flow = Flow("UDP", HostPort(ALICE, 5060), HostPort(BOB, 5060))
    alice.send(flow, b"x")
    assert alice.of(FlowLost)[1].flow == flow


@virtual
async def test_an_icmp_error_loses_exactly_that_flow(alice, bob):
    await alice.listen("udp", ALICE)
    flow = await alice.open("UDP")
    listener = alice.transports._udp[0]
    listener._unreachable(HostPort(BOB, 5060), "connection refused")
    assert alice.of(FlowLost)[0].flow is flow
    listener._unreachable(HostPort("192.0.2.9", 5062), "no route to host")
    assert alice.of(FlowLost)[1].flow.remote == HostPort("192.0.2.9", 5062)


@virtual
async def test_a_source_or_target_without_a_route_is_dropped(alice, bob):
    await alice.listen("udp", "0.0.0.0")
    listener = alice.transports._udp[0]
    nowhere = "not an address"
    listener.datagram_received(b"x", (nowhere, 5060))
    assert alice.transports.counters["unroutable_source"] == 1
    assert await alice.open("UDP", host=nowhere) is None
    assert "no route" in alice.reasons[0]
    listener._unreachable(HostPort(nowhere, 5060), "no route to host")
    assert alice.of(FlowLost)[1].flow.remote == HostPort(nowhere, 5060)


@virtual
async def test_the_local_address_is_the_one_the_peer_sees(alice, bob):
    await alice.listen("udp", "0.0.0.0", 5060)
    assert (await alice.open("UDP", host="127.0.0.9")).local == HostPort("127.0.0.1", 5060)


# TCP


@virtual
async def test_a_connection_is_told_to_both_ends(alice, bob):
    await bob.listen("tcp")
    flow = await alice.open("TCP")
    assert flow.transport == "TCP"
    assert flow.reliable
    assert flow.remote == HostPort(BOB, 5060)
    (opened,) = bob.of(FlowOpened)
    assert opened.token is None
    assert opened.flow.remote == flow.local
    alice.send(flow, b"hel")
    alice.send(flow, b"lo")
    bob.send(opened.flow, b"hi")
    await asyncio.sleep(1)
    assert bob.received == b"hello"
    assert alice.received == b"hi"


@virtual
async def test_a_connection_is_shared_by_all_who_want_it(alice, bob):
    await bob.listen("tcp")
    for token in "ab":
        alice.transports.open_flow(token, Target("TCP", BOB, 5060, "a.test"))
    await asyncio.sleep(1)
    alice.transports.open_flow("c", Target("TCP", BOB, 5060, "b.test"))
    opened = alice.of(FlowOpened)
    assert [event.token for event in opened] == ["a", "b", "c"]
    assert len({event.flow for event in opened}) == 1
    assert len(bob.of(FlowOpened)) == 1


@virtual
async def test_a_refused_connection_is_lost_for_all_who_wait(alice, bob):
    for token in "ab":
        alice.transports.open_flow(token, Target("TCP", BOB, 5060))
    await asyncio.sleep(1)
    assert alice.told == [
        FlowLost(None, "connection refused", "a"),
        FlowLost(None, "connection refused", "b"),
    ]
    assert not alice.transports.connections


@virtual
async def test_a_connection_that_takes_too_long_is_given_up(alice, bob):
    await bob.listen("tcp")
    target = Target("TCP", BOB, 5060)
    connection = StreamConnection(alice.transports, None, target, ["t"])
    # The network takes two hundredths of a millisecond at least; this is less.
    await connect_stream(connection, target, seconds=0)
    assert alice.told == [FlowLost(None, "no connection in time", "t")]


@virtual
async def test_closing_lets_queued_bytes_leave_and_tells_both_ends(alice, bob):
    await bob.listen("tcp")
    flow = await alice.open("TCP")
    alice.send(flow, b"last words")
    alice.transports.transmit(CloseFlow(flow, "done"))
    alice.transports.transmit(CloseFlow(flow, "done"))
    await asyncio.sleep(1)
    assert alice.of(FlowLost) == [FlowLost(flow, "done")]
    assert [event.data for event in bob.of(StreamBytes)] == [b"last words", b""]
    assert bob.reasons == ["the peer closed the connection"]
    assert not bob.transports.connections
    assert not bob.transports.census.connections


@virtual
async def test_what_is_sent_on_a_flow_that_is_gone_is_reported(alice, bob):
    await bob.listen("tcp")
    flow = await alice.open("TCP")
    alice.transports.transmit(CloseFlow(flow, "done"))
    alice.send(flow, b"too late")
    await asyncio.sleep(1)
    alice.send(flow, b"later still")
    assert alice.reasons == ["done", "the connection is closed"]
    assert alice.transports.counters["transmit_without_flow"] == 1


@virtual
async def test_a_closing_connection_is_not_given_to_others(alice, bob):
    await bob.listen("tcp")
    flow = await alice.open("TCP")
    connection = alice.transports._by_number[flow.number]
    connection._reason = "on its way out"
    again = await alice.open("TCP", token="u")
    assert again.number != flow.number


@virtual
async def test_a_reset_is_told_with_the_systems_words(alice, bob):
    await bob.listen("tcp")
    await alice.open("TCP")
    (connection,) = bob.transports.connections
    connection.abort("enough")
    await asyncio.sleep(1)
    assert bob.reasons == ["enough"]
    assert alice.reasons == ["connection reset by peer"]


@virtual
async def test_connections_are_bounded_in_all_and_per_source(alice, bob):
    bob.transports.census.limits = StreamLimits(connections=3, per_source=2)
    await bob.listen("tcp")
    streams = []
    for host in (ALICE, ALICE, ALICE, "192.0.2.3", "192.0.2.4"):
        loop = asyncio.get_running_loop()
        streams.append(
            await loop.create_connection(asyncio.Protocol, BOB, 5060, local_addr=(host, 0))
        )
    await asyncio.sleep(1)
    assert len(bob.of(FlowOpened)) == 3
    assert bob.transports.counters == {
        "connections_refused_source": 1,
        "connections_refused_total": 1,
    }
    streams[0][0].close()
    await asyncio.sleep(1)
    await loop.create_connection(asyncio.Protocol, BOB, 5060, local_addr=(ALICE, 0))
    await asyncio.sleep(1)
    assert len(bob.of(FlowOpened)) == 4


def test_a_source_is_an_address_or_a_v6_network():
    assert source_of("192.0.2.1") == "192.0.2.1"
    assert source_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff:2")
    assert source_of("2001:db8:0:1::1") != source_of("2001:db8::1")


def test_trusted_sources_are_free_of_the_limits_per_source():
    census = Census(StreamLimits(per_source=1, handshakes_per_source=1, trusted=frozenset({ALICE})))
    for source in (ALICE, BOB):
        census.connections[source] += 1
    assert census.refusal(ALICE, tls=True) == ""
    assert census.refusal(BOB, tls=True) == "connections_refused_source"
    Census.leave(census.connections, BOB)
    census.handshakes[BOB] += 1
    assert census.refusal(BOB, tls=True) == "handshakes_refused_source"
    assert census.refusal(BOB, tls=False) == ""
    census.limits = StreamLimits(handshakes=1)
    assert census.refusal(ALICE, tls=True) == "handshakes_refused_total"


class SlowTransport(asyncio.Transport):
    """A transport whose peer reads when it likes."""

    def __init__(self):
        super().__init__({"sockname": (BOB, 5060), "peername": (ALICE, 4000)})
        self.queued = 0
        self.writes = []
        self.reading = True
        self.state = "open"
        self.high = None

    def write(self, data):
        self.queued += len(data)
        self.writes.append(data)

    def get_write_buffer_size(self):
        return self.queued

    def set_write_buffer_limits(self, high=None, low=None):
        self.high = high

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def is_closing(self):
        return self.state != "open"

    def close(self):
        self.state = "closing"

    def abort(self):
        self.state = "aborted"


@virtual
async def test_a_peer_that_does_not_read_is_not_read_then_given_up(alice, bob):
    transport = SlowTransport()
    connection = bob.transports.adopt(transport)
    connection.pause_writing()
    assert not transport.reading
    await asyncio.sleep(29)
    connection.resume_writing()
    assert transport.reading
    connection.pause_writing()
    await asyncio.sleep(31)
    assert transport.state == "aborted"
    assert bob.reasons == ["the peer does not read"]
    connection.connection_lost(None)
    assert len(bob.reasons) == 1
    connection.resume_writing()


@virtual
async def test_a_backlog_that_grows_too_long_ends_the_connection(alice, bob):
    transport = SlowTransport()
    connection = bob.transports.adopt(transport)
    (opened,) = bob.of(FlowOpened)
    bob.send(opened.flow, bytes(256 * 1024))
    assert transport.state == "open"
    bob.send(opened.flow, b"x")
    assert transport.state == "aborted"
    assert bob.transports.counters["write_backlog"] == 1
    connection.data_received(b"late")
    assert not bob.of(StreamBytes)


def answering(node, *steps):
    """Let a node do these steps when bytes come."""

    def feed(event):
        node.told.append(event)
        if type(event) is StreamBytes:
            for step in steps:
                step(event.flow)

    node.feed = feed
    node.transports._feed = feed


@virtual
async def test_answers_to_what_was_read_together_leave_together(alice, bob):
    transport = SlowTransport()
    connection = bob.transports.adopt(transport)
    answering(bob, *(lambda flow, n=n: bob.send(flow, b"%d." % n) for n in range(11)))
    connection.data_received(b"many")
    assert transport.writes == [b"0.1.2.3.4.5.6.7.", b"8.9.10."]
    connection.write(b"alone")
    assert transport.writes[2:] == [b"alone"]


@virtual
async def test_what_was_said_before_a_close_leaves_and_after_an_abort_does_not(alice, bob):
    for end, left in (("close", [b"last words"]), ("abort", [])):
        transport = SlowTransport()
        connection = bob.transports.adopt(transport)
        answering(
            bob,
            lambda flow: bob.send(flow, b"last words"),
            lambda flow, end=end, connection=connection: getattr(connection, end)("done"),
        )
        connection.data_received(b"bye")
        assert transport.writes == left
        assert transport.state in ("closing", "aborted")


@virtual
async def test_answers_leave_though_the_reader_was_cancelled(alice, bob):
    transport = SlowTransport()
    connection = bob.transports.adopt(transport)

    def cancelled(flow):
        raise asyncio.CancelledError

    answering(bob, lambda flow: bob.send(flow, b"one"), cancelled)
    with pytest.raises(asyncio.CancelledError):
        connection.data_received(b"?")
    assert transport.writes == [b"one"]
    connection.write(b"two")
    assert transport.writes == [b"one", b"two"]


@virtual
async def test_a_backlog_of_answers_held_until_a_close_ends_the_connection_once(alice, bob):
    transport = SlowTransport()
    connection = bob.transports.adopt(transport)
    answering(
        bob,
        lambda flow: bob.send(flow, bytes(256 * 1024 + 1)),
        lambda flow: connection.close("done"),
    )
    connection.data_received(b"?")
    assert transport.state == "aborted"
    assert connection._timer is None
    await asyncio.sleep(10)
    assert len(bob.reasons) == 1


@virtual
async def test_a_close_that_does_not_end_is_ended(alice, bob):
    transport = SlowTransport()
    connection = bob.transports.adopt(transport)
    (opened,) = bob.of(FlowOpened)
    bob.transports.transmit(CloseFlow(opened.flow, "done"))
    assert transport.state == "closing"
    connection.write(b"more")
    connection.close("again")
    assert bob.transports.counters["write_after_close"] == 1
    await asyncio.sleep(6)
    assert transport.state == "aborted"
    assert bob.reasons == ["done"]


@virtual
async def test_a_peer_that_is_gone_before_it_was_looked_at_costs_nothing(alice, bob):
    transport = SlowTransport()
    transport.get_extra_info = lambda name, default=None: None
    bob.transports.adopt(transport)
    assert transport.state == "aborted"
    assert not bob.told
    assert not bob.transports.connections


@virtual
async def test_a_transport_of_the_user_is_adopted(alice, bob):
    loop = asyncio.get_running_loop()
    adopted = []

    class Protocol(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            adopted.append(alice.transports.adopt(transport))

        def datagram_received(self, data, addr):
            adopted[0].datagram_received(data, addr)

    await loop.create_datagram_endpoint(Protocol, local_addr=(ALICE, 5080))
    await bob.listen("udp")
    assert alice.transports.listeners == {"UDP": HostPort(ALICE, 5080)}
    flow = await alice.open("UDP")
    alice.send(flow, b"ping")
    await asyncio.sleep(1)
    bob.send(bob.of(Datagram)[0].flow, b"pong")
    await asyncio.sleep(1)
    assert alice.of(Datagram) == [Datagram(flow, b"pong")]


# TLS


async def secure(alice, bob, authority, *names):
    await bob.listen("tls", tls=server_context(authority.issue(*names)))
    alice.transports._make_tls = lambda: client_context(ca_file=authority.file)


@virtual
async def test_tls_carries_bytes_and_the_verified_name(alice, bob, authority):
    await secure(alice, bob, authority, "example.com")
    flow = await alice.open("TLS")
    assert flow.transport == "TLS"
    assert flow.identity == "example.com"
    alice.send(flow, b"hello")
    await asyncio.sleep(1)
    (opened,) = bob.of(FlowOpened)
    assert opened.flow.transport == "TLS"
    bob.send(opened.flow, b"hi")
    alice.transports.transmit(CloseFlow(flow, "done"))
    await asyncio.sleep(1)
    assert bob.received == b"hello"
    assert bob.reasons == ["the peer closed the connection"]
    assert alice.reasons == ["done"]
    assert not bob.transports.census.handshakes


@virtual
async def test_one_connection_never_serves_two_domains(alice, bob, authority):
    await secure(alice, bob, authority, "example.com", "example.org")
    first = await alice.open("TLS")
    again = await alice.open("TLS", token="u")
    other = await alice.open("TLS", token="v", name="example.org")
    assert again == first
    assert other.number != first.number
    assert other.identity == "example.org"
    assert await alice.open("TLS", token="w", name="example.net") is None
    assert "certificate is for" in alice.reasons[-1]


@virtual
async def test_a_target_without_a_domain_is_verified_by_its_address(alice, bob, authority):
    await secure(alice, bob, authority, BOB)
    assert (await alice.open("TLS", name="")).identity == BOB


@virtual
async def test_a_wrong_name_ends_before_a_byte_is_sent(alice, bob, authority):
    await secure(alice, bob, authority, "example.org")
    assert await alice.open("TLS") is None
    assert alice.told == [
        FlowLost(None, "the certificate is for example.org, not for example.com", "t")
    ]
    assert alice.transports.counters["tls_failed"] == 1
    await asyncio.sleep(6)
    assert bob.received == b""
    assert not bob.transports.connections


@virtual
async def test_a_domain_that_fits_no_handshake_is_lost(alice, bob, authority):
    await secure(alice, bob, authority, "example.com")
    assert await alice.open("TLS", name=".example.com") is None
    assert "server name" in alice.reasons[0]


@virtual
async def test_a_handshake_has_a_deadline(alice, bob, authority):
    await secure(alice, bob, authority, "example.com")
    loop = asyncio.get_running_loop()
    await loop.create_connection(asyncio.Protocol, BOB, 5060)
    await asyncio.sleep(9)
    assert bob.transports.census.handshakes.total() == 1
    await asyncio.sleep(2)
    assert not bob.transports.census.handshakes
    assert not bob.transports.connections
    assert not bob.told
    assert bob.transports.counters["connections_expired"] == 1


@virtual
async def test_a_server_that_says_nothing_is_given_up(alice, bob):
    await bob.listen("tcp")
    assert await alice.open("TLS") is None
    await asyncio.sleep(11)
    assert alice.reasons == ["TLS handshake: no end in time"]


@virtual
async def test_handshakes_in_flight_are_bounded(alice, bob, authority):
    await secure(alice, bob, authority, "example.com")
    loop = asyncio.get_running_loop()
    for _ in range(9):
        await loop.create_connection(asyncio.Protocol, BOB, 5060, local_addr=(ALICE, 0))
    await asyncio.sleep(1)
    assert bob.transports.counters["handshakes_refused_source"] == 1
    assert len(bob.transports.connections) == 8


@virtual
async def test_what_is_no_tls_is_closed(alice, bob, authority):
    await secure(alice, bob, authority, "example.com")
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, BOB, 5060)
    transport.write(b"REGISTER sip:example.com SIP/2.0\r\n\r\n")
    await asyncio.sleep(1)
    assert bob.transports.counters["tls_failed"] == 1
    assert not bob.told
    assert not bob.transports.connections


@virtual
async def test_a_broken_record_ends_the_connection(alice, bob, authority):
    await secure(alice, bob, authority, "example.com")
    flow = await alice.open("TLS")
    alice.transports._by_number[flow.number]._transport.write(b"\x17\x03\x03\x00\x05wrong")
    await asyncio.sleep(1)
    assert "TLS:" in bob.reasons[0]


@virtual
async def test_what_is_sent_after_our_end_of_tls_breaks_the_connection(alice, bob, authority):
    await secure(alice, bob, authority, "example.com")
    flow = await alice.open("TLS")
    alice.transports._by_number[flow.number]._tls.close()
    alice.send(flow, b"more")
    await asyncio.sleep(1)
    assert "TLS:" in alice.reasons[0]


# All together


@virtual
async def test_listening_fails_in_clear_words(alice, bob):
    await bob.listen("udp")
    await bob.listen("tcp")
    with pytest.raises(TransportError, match=r"^UDP 192.0.2.2:5060: the port is in use$"):
        await alice.listen("udp")
    with pytest.raises(TransportError, match=r"^TCP 192.0.2.2:5060: the port is in use$"):
        await alice.listen("tcp")
    with pytest.raises(TransportError, match="certificate"):
        await alice.listen("tls")
    with pytest.raises(TransportError, match="no such transport: sctp"):
        await alice.listen("sctp")


@virtual
async def test_nothing_is_opened_after_close(alice, bob):
    await bob.listen("tcp")
    flow = await alice.open("TCP")
    await alice.leave()
    assert alice.reasons == ["closed"]
    alice.transports.open_flow("late", Target("TCP", BOB, 5060))
    assert alice.of(FlowLost)[-1].token == "late"
    assert flow


@virtual
async def test_closing_while_connecting_leaves_nothing(alice, bob):
    await bob.listen("tcp")
    alice.transports.open_flow("t", Target("TCP", BOB, 5060))
    await alice.leave()
    assert alice.told == [FlowLost(None, "closed", "t")]


@virtual
async def test_a_connection_given_up_while_it_is_made_is_aborted(alice, bob):
    connection = StreamConnection(bob.transports)
    connection.abort("too late")
    transport = SlowTransport()
    connection.connection_made(transport)
    assert transport.state == "aborted"


@virtual
async def test_stopping_to_accept_keeps_what_stands(alice, bob):
    await bob.listen("tcp")
    flow = await alice.open("TCP")
    bob.transports.stop_accepting()
    bob.transports.stop_accepting()
    alice.send(flow, b"still here")
    await asyncio.sleep(1)
    assert bob.received == b"still here"
    assert await alice.open("TCP", token="u", host=ALICE) is None


@virtual
async def test_a_listener_that_was_never_opened_closes(alice, bob):
    StreamListener(bob.transports).close()


@virtual
async def test_unusable_authorities_lose_the_flow(alice, bob):
    def broken():
        raise TransportError("cannot load certificates")

    alice.transports._client_tls = broken
    assert await alice.open("TLS") is None
    assert alice.reasons == ["cannot load certificates"]


@virtual
async def test_the_systems_authorities_are_the_default(alice, bob):
    assert alice.transports._client_tls() is alice.transports._client_tls()


class Crowded(SipTransports):
    """Somebody else takes for TCP the first numbers that the kernel gives us for UDP."""

    def __init__(self, numbers):
        super().__init__(lambda _: None)
        self.others = []
        self.left = numbers

    async def listen(self, transport, host, port, **more):
        local = await super().listen(transport, host, port, **more)
        if transport == "UDP" and self.left:
            self.left -= 1
            other = socket.create_server((host, local.port))
            self.others.append(other)
        return local


async def test_any_port_is_one_that_is_free_for_all_transports(leaks):
    transports = Crowded(3)
    found = await transports.listen_together(["UDP", "TCP"], "127.0.0.1", 0)

    assert found["UDP"] == found["TCP"] == transports.listeners["TCP"]
    assert found["UDP"].port not in [other.getsockname()[1] for other in transports.others]
    for other in transports.others:
        other.close()
    transports.close()
    await transports.wait_closed()


async def test_a_given_port_that_is_half_taken_is_refused_and_released(leaks):
    transports = Crowded(1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TransportError, match="in use"):
            await transports.listen_together(["TCP"], "127.0.0.1", port)
    with pytest.raises(TransportError, match="in use"):
        await transports.listen_together(["UDP", "TCP"], "127.0.0.1", port)

    assert transports.listeners == {}
    transports.others.pop().close()
    assert await transports.listen_together(["UDP", "TCP"], "127.0.0.1", port)
    transports.close()
    await transports.wait_closed()
