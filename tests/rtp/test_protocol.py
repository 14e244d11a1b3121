"""The RTP multiplexer: calls by hand without a loop, shared and own ports in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from voip.errors import LocalProtocolError, ParseError, PortsExhaustedError, TransportError
from voip.rtp import RTP, RealtimeTransportProtocol, RTPPacket
from voip.rtp.wires import MediaSocket, OwnSocket, SharedSocket
from voip.stun import BINDING, SUCCESS, StunMessage
from voip.testing.loop import run_virtual
from voip.types import HostPort

A, B = ("192.0.2.1", 4000), ("192.0.2.1", 4002)
HOST = "192.0.2.99"
STUN = ("192.0.2.3", 3478)


def packet(sequence_number=1):
    return bytes(RTPPacket(0, sequence_number, 160, 7, b"x" * 160))


RTCP = b"\x80\xc8\x00\x06" + bytes(24)
BINDING_REQUEST = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
DTLS_HELLO = b"\x16\xfe\xfd" + bytes(20)


class Leg:
    """What a leg made by hand needs."""

    srtp = None

    def __init__(self):
        self.packets = []

    def packet_received(self, packet, addr):
        self.packets.append((packet.sequence_number, addr))


class Media:
    """What a plane makes of a leg."""

    def __init__(self):
        self.rtp = []
        self.rtcp = []
        self.lost = []

    def receive(self, data, addr, now):
        self.rtp.append((data, addr, now))

    def unreachable(self, addr, now):
        self.lost.append(addr)

    def receive_rtcp(self, data, addr, now):
        self.rtcp.append((data, addr, now))


# By hand, without a loop


def test_a_registered_leg_gets_what_its_address_sends():
    rtp = RealtimeTransportProtocol()
    leg, other = Leg(), Leg()
    rtp.register_call(A, leg)
    rtp.register_call(B, other)
    rtp.datagram_received(packet(1), A)
    rtp.datagram_received(packet(2), B)
    assert leg.packets == [(1, A)]
    assert other.packets == [(2, B)]
    assert rtp.calls == {A: leg, B: other}


def test_an_ipv6_source_is_an_address_and_a_port():
    rtp = RTP()
    leg = Leg()
    rtp.register_call(("2001:db8::1", 4000, 0, 0), leg)
    rtp.datagram_received(packet(), ("2001:db8::1", 4000, 0, 0))
    assert leg.packets == [(1, ("2001:db8::1", 4000))]


def test_the_catch_all_gets_the_rest():
    rtp = RTP()
    leg, rest = Leg(), Leg()
    rtp.register_call(None, rest)
    rtp.register_call(A, leg)
    rtp.datagram_received(packet(), A)
    rtp.datagram_received(packet(), B)
    assert leg.packets == [(1, A)]
    assert rest.packets == [(1, B)]


def test_unregistering_is_silent_when_there_is_nothing():
    rtp = RTP()
    rtp.register_call(A, Leg())
    rtp.unregister_call(A)
    rtp.unregister_call(A)
    rtp.unregister_call(None)
    rtp.datagram_received(packet(), A)
    assert rtp.calls == {}
    assert rtp.counters["rtp_unknown_source"] == 1


def test_an_address_that_a_live_call_holds_is_refused():
    rtp = RTP()
    leg = Leg()
    rtp.register_call(A, leg)
    rtp.register_call(A, leg)
    with pytest.raises(LocalProtocolError, match=r"192\.0\.2\.1:4000"):
        rtp.register_call(A, Leg())
    rtp.register_call(None, leg)
    with pytest.raises(LocalProtocolError, match="catch-all"):
        rtp.register_call(None, Leg())
    leg._ended = "over"
    heir = Leg()
    rtp.register_call(A, heir)
    assert rtp.calls[HostPort(*A)] is heir


@pytest.mark.parametrize(
    ("data", "counter"),
    [
        (b"", "media_unknown"),
        (b"\x80", "media_unknown"),
        (b"\xff" * 20, "media_unknown"),
        (BINDING_REQUEST, "media_stun"),
        (DTLS_HELLO, "media_dtls"),
        (RTCP, "rtcp_unknown_source"),
        (b"\x80\x00short", "rtp_malformed"),
        (b"\x80" + bytes(8192), "datagram_too_long"),
    ],
)
def test_what_is_no_rtp_is_counted(data, counter):
    rtp = RTP()
    leg = Leg()
    rtp.register_call(A, leg)
    rtp.datagram_received(data, A)
    assert rtp.counters == {counter: 1}
    assert not leg.packets


class Keys:
    def __init__(self, error=None):
        self.error = error

    def unprotect(self, data):
        if self.error is not None:
            raise self.error
        return data[4:]


def test_an_encrypted_leg_gets_what_was_decrypted():
    rtp = RTP()
    leg = Leg()
    leg.srtp = Keys()
    rtp.register_call(A, leg)
    rtp.datagram_received(b"\x80\x00\x00\x00" + packet(5), A)
    assert leg.packets == [(5, A)]


def test_what_is_not_authentic_is_counted_and_dropped():
    rtp = RTP()
    leg = Leg()
    leg.srtp = Keys(LocalProtocolError("a wrong tag"))
    rtp.register_call(A, leg)
    rtp.datagram_received(packet(), A)
    assert rtp.counters == {"srtp_refused": 1}
    leg.srtp = Keys(ParseError("too short"))
    rtp.datagram_received(packet(), A)
    assert rtp.counters["rtp_malformed"] == 1


def test_a_failing_hook_costs_the_next_packet_nothing(caplog):
    rtp = RTP()
    leg, seen = Leg(), []

    def fail(packet, addr):
        seen.append(packet.sequence_number)
        raise ValueError("the hook")

    leg.packet_received = fail
    rtp.register_call(A, leg)
    rtp.datagram_received(packet(1), A)
    rtp.datagram_received(packet(2), A)
    assert seen == [1, 2]
    assert rtp.counters["receiver_failed"] == 2
    assert "could not be handled" in caplog.text


class Transport:
    """An asyncio datagram transport made by hand."""

    def __init__(self, sockname=(HOST, 5004)):
        self.sent = []
        self.info = {"sockname": sockname}
        self.closed = False

    def get_extra_info(self, name, default=None):
        return self.info.get(name, default)

    def sendto(self, data, addr=None):
        self.sent.append((data, addr))

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True


def test_sends_through_the_transport_that_it_was_given():
    rtp = RTP()
    rtp.send(b"too early", A)
    transport = Transport()
    rtp.connection_made(transport)
    rtp.send(b"rtp", A)
    rtp.send_rtcp(b"rtcp", A)
    assert transport.sent == [(b"rtp", A), (b"rtcp", A)]
    assert rtp.counters == {"send_after_close": 1}
    rtp.error_received(OSError("refused"))
    assert rtp.counters["receive_error"] == 1
    transport.closed = True
    rtp.connection_lost(None)
    rtp.send(b"too late", A)
    assert rtp.counters["send_after_close"] == 2
    rtp.close()
    assert rtp.closed


@pytest.mark.parametrize("error", [OSError("down"), ValueError("connected elsewhere")])
def test_a_transport_that_fails_is_counted(error):
    rtp = RTP()
    transport = Transport()

    def sendto(data, addr=None):
        raise error

    transport.sendto = sendto
    rtp.connection_made(transport)
    rtp.send(b"rtp", A)
    assert rtp.counters == {"send_error": 1}


def test_the_public_address_is_the_local_one_when_stun_is_off():
    async def main():
        rtp = RTP()
        waiting = asyncio.ensure_future(rtp.public_address)
        await asyncio.sleep(0)
        rtp.connection_made(Transport())
        return await waiting, await rtp.public_address

    assert run_virtual(main()) == ((HOST, 5004), (HOST, 5004))


@pytest.mark.parametrize(
    ("sockname", "port"), [(("0.0.0.0", 5004), 5004), (("::", 5004), 5004), (None, 0)]
)
def test_the_public_address_is_one_that_can_be_dialled(sockname, port):
    async def main():
        rtp = RTP()
        rtp.connection_made(Transport(sockname))
        return await rtp.public_address

    host, found = run_virtual(main())
    assert host not in ("0.0.0.0", "::")
    assert found == port


# In virtual time


class House:
    """A multiplexer in virtual time, and a far end."""

    def __init__(self, **options):
        self.ticks = []
        self.rtp = RTP(ports=options.pop("ports", range(10000, 10008)), plane=self, **options)
        self.heard = []
        self.far = None

    def tick(self, now):
        self.ticks.append(now)

    def deadline(self):
        return None  # every tick is wanted

    async def open(self, host=HOST, port=None):
        self.local = await self.rtp.listen(host, port)
        await asyncio.sleep(0)
        return self.local

    async def dial_in(self, local=A):
        """Open a far end at an address."""
        house = self

        class Far(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                house.heard.append((data, addr, local))

        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(Far, local_addr=local)
        return transport

    def share(self, remote=A, signalling_ip=None):
        remote = HostPort(*remote)
        return self.rtp.reserve(HOST, remote=remote, signalling_ip=signalling_ip or remote.host)


def virtual(test=None, **options):
    def decorate(test):
        def run():
            async def main():
                house = House(**options)
                try:
                    await test(house)
                finally:
                    house.rtp.close()
                    await asyncio.sleep(0)
                    if house.rtp.ports is not None:
                        assert house.rtp.ports.held == 0
                    assert asyncio.get_running_loop().ether.open_sockets == 0 or house.far

            run_virtual(main())

        return run

    return decorate if test is None else decorate(test)


@virtual
async def test_listens_on_an_even_port_with_the_odd_one_for_rtcp(house):
    assert await house.open() == (HOST, 10000)
    assert house.rtp._rtcp.address == (HOST, 10001)
    assert await house.rtp.public_address == (HOST, 10000)


@virtual(ports=None)
async def test_listens_on_the_port_that_it_is_told(house):
    assert await house.open(port=7000) == (HOST, 7000)
    assert house.share().rtcp_local == (HOST, 7001)


@virtual(ports=None)
async def test_an_odd_port_serves_rtcp_as_well(house):
    await house.open(port=7001)
    shared = house.share()
    assert shared.rtcp_local == shared.local == (HOST, 7001)


@virtual(ports=None)
async def test_an_rtcp_port_that_is_in_use_is_done_without(house):
    house.far = await house.dial_in((HOST, 7001))
    await house.open(port=7000)
    assert house.share().rtcp_local == (HOST, 7000)


@virtual(ports=None)
async def test_a_port_in_use_has_clear_words(house):
    house.far = await house.dial_in((HOST, 7000))
    with pytest.raises(TransportError, match="7000: the port is in use"):
        await house.open(port=7000)


@virtual
async def test_a_call_that_can_be_told_apart_shares_the_socket(house):
    local = await house.open()
    shared = house.share()
    assert isinstance(shared, SharedSocket)
    assert shared.shared
    assert shared.local == local
    assert shared.rtcp_local == (HOST, 10001)
    assert shared.link is shared
    assert await shared.public_address() == local


@virtual
async def test_every_other_call_has_ports_of_its_own(house):
    await house.open()
    house.share()
    house.rtp.register_call(B, Leg())
    others = [
        house.rtp.reserve(HOST),  # an offer of ours: nothing is known yet
        house.share(),  # a second call to the same address
        house.share(("10.0.0.1", 4000), "192.0.2.1"),  # behind a NAT
    ]
    assert all(isinstance(other, OwnSocket) and not other.shared for other in others)
    assert [other.local for other in others] == [(HOST, port) for port in (10002, 10004, 10006)]
    assert others[0].rtcp_local == (HOST, 10003)
    with pytest.raises(PortsExhaustedError):
        house.share(B)  # held by a leg that was registered by hand
    others[1].close()
    others[1].close()
    assert house.share(B).local == (HOST, 10004)


@virtual
async def test_an_address_on_hold_or_of_the_other_family_is_not_shared(house):
    await house.open()
    assert not house.share(("0.0.0.0", 4000)).shared
    six = house.rtp.reserve(
        "2001:db8::99", remote=HostPort("2001:db8::1", 4000), signalling_ip="2001:db8::1"
    )
    assert not six.shared
    assert six.local == ("2001:db8::99", 10004)


@virtual
async def test_without_a_shared_socket_every_call_has_its_own(house):
    assert not house.share().shared


@virtual
async def test_a_port_of_others_is_skipped(house):
    house.far = await house.dial_in((HOST, 10003))
    await house.open()
    assert house.rtp.reserve(HOST).local == (HOST, 10004)


@virtual
async def test_packets_reach_the_call_whose_address_sent_them(house):
    local = await house.open()
    first, second = Media(), Media()
    house.share(A).bind(first)
    house.share(B).bind(second)
    far, near = await house.dial_in(A), await house.dial_in(B)
    far.sendto(packet(1), local)
    near.sendto(packet(2), local)
    far.sendto(RTCP, local)  # multiplexed
    await asyncio.sleep(1)
    assert [(data, addr) for data, addr, _ in first.rtp] == [(packet(1), A)]
    assert first.rtp[0][2] <= house.rtp._now()
    assert [data for data, _, _ in second.rtp] == [packet(2)]
    assert [data for data, _, _ in first.rtcp] == [RTCP]
    far.close()
    near.close()


@virtual
async def test_rtcp_reaches_its_call_on_the_odd_port(house):
    local = await house.open()
    media, other = Media(), Media()
    house.share(A).bind(media)
    house.share(("192.0.2.5", 4000)).bind(other, remote_rtcp=HostPort("192.0.2.5", 9000))
    sources = [("192.0.2.1", 4001), ("192.0.2.1", 5555), ("192.0.2.5", 9000), ("192.0.2.6", 1)]
    fars = [await house.dial_in(source) for source in sources]
    for far in fars:
        far.sendto(RTCP, (HOST, local.port + 1))
    fars[0].sendto(packet(), (HOST, local.port + 1))
    await asyncio.sleep(1)
    assert [addr for _, addr, _ in media.rtcp] == sources[:2]
    assert [addr for _, addr, _ in other.rtcp] == sources[2:3]
    assert house.rtp.counters == {"rtcp_unknown_source": 1, "rtcp_unexpected": 1}
    for far in fars:
        far.close()


@virtual
async def test_the_only_call_of_an_ip_may_be_behind_a_nat(house):
    local = await house.open()
    media = Media()
    house.share(A).bind(media)
    far, stranger = await house.dial_in(("192.0.2.1", 61000)), await house.dial_in(("192.0.2.2", 1))
    far.sendto(packet(), local)
    stranger.sendto(packet(), local)
    await asyncio.sleep(1)
    assert [addr for _, addr, _ in media.rtp] == [("192.0.2.1", 61000)]
    assert house.rtp.counters == {"rtp_unknown_source": 1}
    far.close()
    stranger.close()


@virtual
async def test_a_shared_address_cannot_be_registered_by_hand(house):
    await house.open()
    house.share(A)
    with pytest.raises(LocalProtocolError):
        house.rtp.register_call(A, Leg())


@virtual(ports=None)
async def test_with_one_port_what_cannot_be_told_apart_is_dropped_and_counted(house):
    local = await house.open(port=7000)
    first, second = Media(), Media()
    one, two = house.share(A), house.share(A)
    assert one.shared
    assert two.shared
    one.bind(first)
    two.bind(second)
    far = await house.dial_in(A)
    far.sendto(packet(), local)
    await asyncio.sleep(1)
    assert not first.rtp
    assert not second.rtp
    assert house.rtp.counters == {"rtp_contested_source": 1}
    two.move(HostPort(*B))
    far.sendto(packet(), local)
    await asyncio.sleep(1)
    assert len(first.rtp) == 1
    far.close()


@virtual(ports=None)
async def test_with_one_port_and_no_socket_no_call_can_be_had(house):
    with pytest.raises(TransportError, match="not listening"):
        house.rtp.reserve(HOST)


@virtual
async def test_a_call_sends_from_where_it_listens(house):
    await house.open()
    far = await house.dial_in(A)
    shared, own = house.share(B), house.rtp.reserve(HOST)
    for link in (shared.link, own.link):
        link.send(b"rtp", A)
        link.send_rtcp(b"rtcp", A)
    await asyncio.sleep(1)
    assert [(data, addr[1]) for data, addr, _ in house.heard] == [
        (b"rtp", 10000),
        (b"rtcp", 10001),
        (b"rtp", 10002),
        (b"rtcp", 10003),
    ]
    shared.close()
    own.close()
    shared.send(b"late", A)
    own.send(b"late", A)
    shared.send_rtcp(b"late", A)
    await asyncio.sleep(1)
    assert len(house.heard) == 4
    far.close()


@virtual
async def test_an_own_port_hands_on_rtp_and_rtcp(house):
    await house.open()
    own = house.rtp.reserve(HOST)
    far = await house.dial_in(A)
    far.sendto(packet(), own.local)
    await asyncio.sleep(1)
    media = Media()
    own.bind(media, remote=HostPort(*A))
    assert own.remote_rtcp == (A[0], A[1] + 1)
    for data in (packet(2), RTCP, BINDING_REQUEST, DTLS_HELLO):
        far.sendto(data, own.local)
    far.sendto(RTCP, own.rtcp_local)
    far.sendto(packet(), own.rtcp_local)
    await asyncio.sleep(1)
    assert [(data, addr) for data, addr, _ in media.rtp] == [(packet(2), A)]
    assert len(media.rtcp) == 2
    assert house.rtp.counters == {
        "rtp_early": 1,
        "media_stun": 1,
        "media_dtls": 1,
        "rtcp_unexpected": 1,
    }
    far.close()


@virtual
async def test_unreachable_media_is_counted(house):
    await house.open()
    own = house.rtp.reserve(HOST)
    own._lost(HostPort(*A), "connection refused")
    house.rtp._lost_remote(HostPort(*A), "connection refused")
    assert house.rtp.counters == {"media_unreachable": 2}


@virtual
async def test_a_call_is_told_that_its_media_reaches_nobody(house):
    await house.open()
    own, shared, other = house.rtp.reserve(HOST), house.share(), house.share()
    calls = Media(), Media(), Media()
    own.bind(calls[0], remote=HostPort(*A))
    shared.bind(calls[1], remote=HostPort(*A))
    other.bind(calls[2], remote=HostPort(*B))
    own._lost(HostPort(*A), "connection refused")
    assert [len(media.lost) for media in calls] == [1, 0, 0]
    house.rtp._lost_remote(HostPort(*A), "connection refused")
    house.rtp._lost_remote(HostPort("192.0.2.9", 9), "connection refused")
    assert [media.lost for media in calls] == [[A], [A], []]


@virtual
async def test_ticks_come_while_calls_have_media(house):
    await house.open()
    shared, own, idle = house.share(), house.rtp.reserve(HOST), house.rtp.reserve(HOST)
    await asyncio.sleep(1)
    assert not house.ticks
    shared.bind(Media())
    shared.bind(Media())
    own.bind(Media())
    await asyncio.sleep(1.001)
    assert len(house.ticks) == 200
    shared.close()
    idle.close()
    await asyncio.sleep(1)
    assert len(house.ticks) == 400
    own.close()
    own.bind(Media())
    await asyncio.sleep(1)
    assert len(house.ticks) == 400


@virtual
async def test_closing_takes_every_call_along(house):
    await house.open()
    house.share().bind(Media())
    own = house.rtp.reserve(HOST)
    own.bind(Media())
    house.rtp.register_call(B, Leg())
    house.rtp.close()
    assert own.closed
    assert not house.rtp.calls
    assert not house.rtp.ticker.running


@virtual
async def test_a_remote_without_a_next_port_has_no_rtcp(house):
    own = house.rtp.reserve(HOST, remote=HostPort("192.0.2.1", 65535))
    own.bind(Media())
    assert own.remote_rtcp is None


def test_the_base_leaves_the_wire_to_others():
    class Owner:
        counters = Counter()

    base = MediaSocket(Owner(), HostPort(*A), HostPort(*B))
    with pytest.raises(NotImplementedError):
        base.send(b"", A)
    with pytest.raises(NotImplementedError):
        base.send_rtcp(b"", A)
    with pytest.raises(NotImplementedError):
        run_virtual(base.public_address())


@virtual
async def test_an_address_that_is_not_ours_is_no_port_in_use(house):
    ether = asyncio.get_running_loop().ether
    original = ether.open_datagram

    def refuse(protocol, local, remote):
        if local.port % 2:
            raise OSError(99, "Cannot assign requested address")
        return original(protocol, local, remote)

    ether.open_datagram = refuse
    with pytest.raises(TransportError, match="cannot assign"):
        house.rtp.reserve(HOST)
    ether.open_datagram = original
    await asyncio.sleep(0)
    assert house.rtp.ports.held == 0


# STUN


class StunServer(asyncio.DatagramProtocol):
    """Answers with the source's port under a public IP."""

    def __init__(self):
        self.asked = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.asked.append(addr)
        response = StunMessage(BINDING, SUCCESS, StunMessage.parse(data).transaction_id)
        response.add_mapped(HostPort("203.0.113.9", addr[1] + 40000))
        self.transport.sendto(bytes(response), addr)


def with_stun(test):
    async def main():
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(StunServer, local_addr=STUN)
        house = House(stun_server_address=STUN)
        try:
            await test(house, server)
        finally:
            house.rtp.close()
            transport.close()
            await asyncio.sleep(0)

    return lambda: run_virtual(main())


@with_stun
async def test_stun_tells_the_public_address_of_the_shared_socket(house, server):
    await house.open()
    assert await house.rtp.public_address == ("203.0.113.9", 50000)
    assert await house.share().public_address() == ("203.0.113.9", 50000)


@with_stun
async def test_stun_is_asked_from_each_port_once(house, server):
    await house.open()
    own = house.rtp.reserve(HOST)
    both = await asyncio.gather(own.public_address(), own.public_address())
    assert both == [("203.0.113.9", 50002)] * 2
    assert server.asked == [(HOST, 10000), (HOST, 10002)]


@with_stun
async def test_whoever_waits_for_an_address_is_let_go_when_the_call_ends(house, server):
    await house.open()
    server.datagram_received = lambda data, addr: None
    own = house.rtp.reserve(HOST)
    waiting = asyncio.ensure_future(own.public_address())
    await asyncio.sleep(0.1)
    own.close()
    assert await waiting == own.local


@with_stun
async def test_an_adopted_transport_asks_as_well(house, server):
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(lambda: house.rtp, local_addr=(HOST, 6000))
    assert await house.rtp.public_address == ("203.0.113.9", 46000)


@virtual(stun_server_address=STUN)
async def test_a_silent_stun_server_leaves_the_local_address(house):
    await house.open()
    assert await house.rtp.public_address == (HOST, 10000)
    assert house.rtp.counters["stun_failed"] == 1
    own = house.rtp.reserve(HOST)
    assert await own.public_address() == own.local


@virtual(stun_server_address=STUN)
async def test_closing_ends_the_query(house):
    await house.open()
    house.rtp.close()
    await asyncio.sleep(60)
    assert not house.rtp.counters


@virtual(stun_server_address=("nowhere.test", 3478))
async def test_an_unknown_stun_server_has_clear_words(house):
    with pytest.raises(TransportError, match="STUN server nowhere"):
        await house.open()
