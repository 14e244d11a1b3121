from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.rtp.packet import RTPPacket
from voip.rtp.source import RemoteSource, SourceRules, Verdict, may_send_to
from voip.types import HostPort

ACCEPT, HELD, DROP = Verdict.ACCEPT, Verdict.HELD, Verdict.DROP

SDP = HostPort("192.0.2.1", 5000)
SAME_IP = HostPort("192.0.2.1", 6000)
SIGNALLING = HostPort("198.51.100.7", 7000)
STRANGER = HostPort("203.0.113.66", 8000)


class Sender:
    """One peer that sends a packet every 20 ms."""

    def __init__(self, addr, ssrc=1, payload_type=0, first=65530):
        self.addr, self.ssrc, self.payload_type = addr, ssrc, payload_type
        self.numbers = itertools.count(first)

    def packet(self):
        number = next(self.numbers)
        return RTPPacket(
            self.payload_type, number & 0xFFFF, number * 160 & 0xFFFFFFFF, self.ssrc, b"x"
        )

    def send(self, source, now, count=1):
        """Send some packets; return the verdicts."""
        return [source.accept(self.packet(), self.addr, now + 0.02 * n) for n in range(count)]


def rules(mode="learn", sdp=SDP, payload_types=frozenset({0, 101}), **more):
    return SourceRules(mode, sdp, SIGNALLING.host, payload_types, **more)


def test_packets_from_the_sdp_address_are_accepted_at_once():
    source = RemoteSource(rules())
    assert Sender(SDP).send(source, 0, 3) == [ACCEPT] * 3
    assert source.locked == SDP
    assert source.released == []


@pytest.mark.parametrize(
    ("mode", "addr", "proves"),
    [
        ("strict", SDP, True),
        ("strict", SAME_IP, False),
        ("strict", SIGNALLING, False),
        ("strict", STRANGER, False),
        ("learn", SDP, True),
        ("learn", SAME_IP, True),
        ("learn", SIGNALLING, True),
        ("learn", STRANGER, False),
        ("anywhere", SDP, True),
        ("anywhere", SAME_IP, True),
        ("anywhere", SIGNALLING, True),
        ("anywhere", STRANGER, True),
    ],
)
def test_who_may_become_the_source(mode, addr, proves):
    source = RemoteSource(rules(mode))
    verdicts = Sender(addr).send(source, 0, 30)
    assert (ACCEPT in verdicts) == proves
    assert source.locked == (addr if proves else None)
    assert source.remote == (addr if proves else SDP)


def test_ten_packets_in_order_prove_and_what_was_held_comes_back():
    source = RemoteSource(rules())
    sender = Sender(SIGNALLING)
    sent = [sender.packet() for _ in range(10)]
    verdicts = [source.accept(packet, SIGNALLING, 0.02 * n) for n, packet in enumerate(sent)]
    assert verdicts == [HELD] * 9 + [ACCEPT]
    assert source.take_released() == sent[:9]
    assert source.take_released() == []
    assert sender.send(source, 1, 2) == [ACCEPT] * 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda packet: setattr(packet, "sequence_number", packet.sequence_number + 100 & 0xFFFF),
        lambda packet: setattr(packet, "sequence_number", packet.sequence_number - 3 & 0xFFFF),
        lambda packet: setattr(packet, "ssrc", 99),
        lambda packet: setattr(packet, "timestamp", packet.timestamp + (1 << 31) & 0xFFFFFFFF),
        lambda packet: setattr(packet, "timestamp", packet.timestamp - 8000 & 0xFFFFFFFF),
    ],
)
def test_a_break_in_the_order_starts_the_proof_anew(spoil):
    source = RemoteSource(rules())
    sender = Sender(SIGNALLING)
    sender.send(source, 0, 8)
    packet = sender.packet()
    spoil(packet)
    assert source.accept(packet, SIGNALLING, 0.2) is HELD
    assert ACCEPT not in sender.send(source, 0.3, 8)
    assert source.counters["rtp_candidate_restarts"] >= 1


def test_a_few_losses_do_not_break_the_proof():
    source = RemoteSource(rules())
    sender = Sender(SIGNALLING)
    for _ in range(9):
        assert sender.send(source, 0) == [HELD]
        sender.packet()
    assert sender.send(source, 0) == [ACCEPT]


def test_payload_types_that_were_not_negotiated_prove_nothing():
    source = RemoteSource(rules())
    assert Sender(SDP, payload_type=8).send(source, 0, 20) == [DROP] * 20
    assert source.locked is None
    assert source.counters["rtp_payload_type"] == 20
    assert (
        RemoteSource(rules(payload_types=frozenset())).accept(
            Sender(SDP, payload_type=8).packet(), SDP, 0
        )
        is ACCEPT
    )


# The race matrix (G1, G2): an attacker sprays before, during and after the real phone speaks.


@pytest.mark.parametrize("mode", ["strict", "learn", "anywhere"])
@pytest.mark.parametrize("head_start", [0, 5, 9])
def test_a_stranger_never_receives_a_call_whose_sdp_address_sends(mode, head_start):
    source = RemoteSource(rules(mode))
    attacker, phone = Sender(STRANGER, ssrc=666), Sender(SDP)
    assert ACCEPT not in attacker.send(source, 0, head_start)
    assert phone.send(source, 0.5, 1) == [ACCEPT]
    assert attacker.send(source, 0.6, 50) == [DROP] * 50
    assert source.destination() == SDP
    assert source.released == []


def test_the_sdp_address_wins_back_what_was_learnt():
    source = RemoteSource(rules("anywhere"))
    Sender(STRANGER).send(source, 0, 10)
    assert source.destination() == STRANGER
    assert Sender(SDP, ssrc=2).send(source, 1) == [ACCEPT]
    assert source.destination() == SDP
    assert Sender(STRANGER).send(source, 1, 50) == [DROP] * 50
    assert source.counters["rtp_source_changed"] == 1


def test_a_learnt_address_is_locked():
    source = RemoteSource(rules())
    Sender(SIGNALLING).send(source, 0, 10)
    assert Sender(SAME_IP, ssrc=2).send(source, 1, 50) == [DROP] * 50
    assert Sender(HostPort(SIGNALLING.host, 9999), ssrc=3).send(source, 1, 50) == [DROP] * 50
    assert source.destination() == SIGNALLING
    assert source.counters["rtp_source"] == 100


def test_a_stranger_beside_a_phone_behind_a_nat_gets_nothing():
    source = RemoteSource(rules())
    phone, attacker = Sender(SIGNALLING), Sender(STRANGER, ssrc=666)
    for step in range(30):
        assert attacker.send(source, step * 0.02) == [DROP]
        phone.send(source, step * 0.02)
    assert source.destination() == SIGNALLING


def test_the_sdps_ip_goes_before_the_signalling_ip():
    source = RemoteSource(rules())
    near, far = Sender(SAME_IP, ssrc=1), Sender(SIGNALLING, ssrc=2)
    far.send(source, 0, 9)
    near.send(source, 0.18, 1)
    assert far.send(source, 0.2, 3) == [HELD] * 3
    assert near.send(source, 0.3, 9)[-1] is ACCEPT
    assert source.locked == SAME_IP


def test_a_better_candidate_that_falls_silent_holds_nobody_up():
    source = RemoteSource(rules())
    Sender(SAME_IP).send(source, 0, 1)
    far = Sender(SIGNALLING, ssrc=2)
    verdicts = far.send(source, 0.1, 200)
    first = verdicts.index(ACCEPT)
    assert 90 <= first <= 100, "two seconds later"
    assert len(source.take_released()) == 9


def test_a_spray_from_many_ports_costs_four_candidates_and_is_counted():
    source = RemoteSource(rules())
    for port in range(20000, 20100):
        Sender(HostPort(SIGNALLING.host, port)).send(source, 0)
    assert source.counters["rtp_candidates"] == 96
    assert Sender(SAME_IP).send(source, 0, 10)[-1] is ACCEPT, "the SDP's IP makes room"


def test_silent_candidates_make_room():
    source = RemoteSource(rules())
    for port in range(20000, 20004):
        Sender(HostPort(SIGNALLING.host, port)).send(source, 0)
    assert Sender(SIGNALLING).send(source, 3, 10)[-1] is ACCEPT


def test_a_peer_without_an_sdp_address_is_learnt_by_its_signalling():
    source = RemoteSource(rules(sdp=None))
    assert source.destination() is None
    assert Sender(SIGNALLING).send(source, 0, 10)[-1] is ACCEPT
    assert source.destination() == SIGNALLING


# Re-offers


def test_a_new_sdp_address_forgets_what_was_learnt():
    source = RemoteSource(rules())
    Sender(SIGNALLING).send(source, 0, 10)
    moved = HostPort("192.0.2.50", 5000)
    source.renegotiated(rules(sdp=moved))
    assert source.locked is None
    assert source.destination() == moved
    assert Sender(moved).send(source, 1) == [ACCEPT]


def test_hold_and_resume_keep_the_learnt_address():
    source = RemoteSource(rules())
    phone = Sender(SIGNALLING)
    phone.send(source, 0, 10)
    source.renegotiated(rules())
    assert source.destination() == SIGNALLING
    assert phone.send(source, 1, 2) == [ACCEPT] * 2
    assert Sender(SAME_IP, ssrc=2).send(source, 1, 20) == [DROP] * 20


def test_hold_by_no_address_keeps_the_learnt_one():
    source = RemoteSource(rules())
    phone = Sender(SIGNALLING)
    phone.send(source, 0, 10)
    source.renegotiated(rules(sdp=None))
    assert phone.send(source, 1) == [ACCEPT]
    source.renegotiated(rules())
    assert source.destination() == SIGNALLING
    source.renegotiated(rules("strict"))
    assert source.locked is None


def test_a_nat_that_rebinds_with_a_reinvite_is_learnt_again():
    source = RemoteSource(rules())
    Sender(SIGNALLING).send(source, 0, 10)
    source.renegotiated(rules())
    moved = HostPort(SIGNALLING.host, 7777)
    assert Sender(moved).send(source, 1, 10) == [HELD] * 9 + [ACCEPT]
    assert source.destination() == moved


# Where ours goes


def test_an_unproven_address_gets_250_packets():
    source = RemoteSource(rules())
    assert [source.destination() for _ in range(260)] == [SDP] * 250 + [None] * 10
    assert source.counters["rtp_unproven_destination"] == 10
    Sender(SDP).send(source, 1)
    assert source.destination() == SDP


def test_the_signalling_source_needs_proof_too_until_it_acknowledged():
    source = RemoteSource(rules(sdp=HostPort(SIGNALLING.host, 5000), acknowledged=False))
    assert sum(source.destination() is not None for _ in range(260)) == 250
    source.rules.acknowledged = True
    assert source.destination() is not None


@pytest.mark.parametrize("more", [{"trusted": True}, {"sdp": HostPort(SIGNALLING.host, 5000)}])
def test_a_trusted_peer_and_the_signalling_source_need_no_proof(more):
    source = RemoteSource(rules(**more))
    assert all(source.destination() for _ in range(1000))


def test_an_address_that_must_not_be_sent_to_is_learnt_instead():
    source = RemoteSource(rules(sdp=HostPort("192.168.1.5", 5000)))
    assert source.remote is None
    assert source.destination() is None
    Sender(SIGNALLING).send(source, 0, 10)
    assert source.destination() == SIGNALLING


def test_a_refusal_stops_what_is_unproven_only():
    source = RemoteSource(rules())
    source.unreachable()
    assert source.destination() is None
    for one in (rules(trusted=True), rules(sdp=HostPort(SIGNALLING.host, 5000))):
        source = RemoteSource(one)
        source.unreachable()
        assert source.destination() is not None
    source = RemoteSource(rules())
    Sender(SDP).send(source, 0)
    source.unreachable()
    assert source.destination() == SDP


@pytest.mark.parametrize(
    ("host", "port", "origin", "allowed"),
    [
        ("198.51.100.9", 5000, "203.0.113.1", True),
        ("2001:db8::9", 5000, "203.0.113.1", True),
        ("198.51.100.9", 1023, "203.0.113.1", False),
        ("198.51.100.9", 80, "198.51.100.9", False),
        ("127.0.0.1", 5000, "203.0.113.1", False),
        ("127.0.0.1", 5000, "127.0.0.1", True),
        ("127.0.0.2", 5000, "127.0.0.1", True),
        ("::1", 5000, "127.0.0.1", True),
        ("::ffff:127.0.0.1", 5000, "203.0.113.1", False),
        ("64:ff9b::7f00:1", 5000, "203.0.113.1", False),
        ("2002:7f00:1::", 5000, "203.0.113.1", False),
        ("169.254.169.254", 5000, "203.0.113.1", False),
        ("169.254.169.254", 5000, "10.0.0.1", False),
        ("169.254.169.254", 5000, "127.0.0.1", False),
        ("169.254.1.1", 5000, "169.254.1.2", True),
        ("fe80::1", 5000, "2001:db8::1", False),
        ("10.0.0.1", 5000, "203.0.113.1", False),
        ("172.31.0.1", 5000, "203.0.113.1", False),
        ("172.32.0.1", 5000, "203.0.113.1", True),
        ("192.168.0.1", 5000, "10.0.0.1", True),
        ("192.168.0.1", 5000, "127.0.0.1", True),
        ("100.64.0.1", 5000, "203.0.113.1", False),
        ("fd00::1", 5000, "2001:db8::1", False),
        ("fd00::1", 5000, "fd00::2", True),
        ("203.0.113.1", 5000, "10.0.0.1", True),
        ("224.0.0.1", 5000, "224.0.0.1", False),
        ("::ffff:224.0.0.1", 5000, "203.0.113.1", False),
        ("ff02::1", 5000, "fe80::1", False),
        ("255.255.255.255", 5000, "203.0.113.1", False),
        ("240.0.0.1", 5000, "203.0.113.1", False),
        ("0.0.0.0", 5000, "127.0.0.1", False),
        ("0.1.2.3", 5000, "127.0.0.1", False),
        ("::", 5000, "::1", False),
        ("name.example", 5000, "203.0.113.1", False),
        ("198.51.100.9", 5000, "proxy.example", True),
        ("10.0.0.1", 5000, "proxy.example", False),
        ("10.0.0.1", 5000, None, True),
        ("224.0.0.1", 5000, None, False),
    ],
)
def test_the_address_policy(host, port, origin, allowed):
    assert may_send_to(HostPort(host, port), origin) is allowed


# RTCP

SDP_RTCP = HostPort(SDP.host, SDP.port + 1)


def test_rtcp_is_taken_from_its_sdp_address():
    source = RemoteSource(rules(sdp_rtcp=SDP_RTCP))
    assert source.accept_rtcp(SDP_RTCP)
    assert not source.accept_rtcp(STRANGER)
    assert source.remote_rtcp == SDP_RTCP
    assert source.counters["rtcp_source"] == 1


def test_the_rtcp_port_behind_a_nat_is_learnt_from_the_ip_of_the_rtp():
    source = RemoteSource(rules(sdp_rtcp=SDP_RTCP))
    behind = HostPort(SIGNALLING.host, 7001)
    assert not source.accept_rtcp(behind)
    Sender(SIGNALLING).send(source, 0, 10)
    assert source.remote_rtcp is None, "reports do not go where the media no longer goes"
    assert source.accept_rtcp(behind)
    assert source.accept_rtcp(behind)
    assert source.remote_rtcp == behind
    assert not source.accept_rtcp(HostPort(SIGNALLING.host, 7002))
    assert source.accept_rtcp(SDP_RTCP)
    assert source.accept_rtcp(behind)
    Sender(SDP, ssrc=2).send(source, 1)
    assert source.remote_rtcp == SDP_RTCP


def test_strict_rtcp_and_none():
    source = RemoteSource(rules("strict", sdp_rtcp=SDP_RTCP))
    Sender(SDP).send(source, 0)
    assert not source.accept_rtcp(SAME_IP)
    assert RemoteSource(rules()).remote_rtcp is None


def test_addresses_are_compared_in_one_spelling():
    source = RemoteSource(
        SourceRules("learn", HostPort("::ffff:192.0.2.1", 5000), "::ffff:198.51.100.7")
    )
    assert Sender(SDP).send(source, 0) == [ACCEPT]
    assert source.rules.signalling_ip == SIGNALLING.host


@given(
    st.lists(
        st.tuples(
            st.sampled_from([SDP, SAME_IP, SIGNALLING, STRANGER]),
            st.integers(0, 3),
            st.floats(0, 0.5),
        ),
        max_size=80,
    ),
    st.sampled_from(["strict", "learn"]),
)
def test_no_mixture_of_senders_hands_the_call_to_a_stranger(script, mode):
    source = RemoteSource(rules(mode))
    senders = {}
    now = 0.0
    for addr, ssrc, pause in script:
        now += pause
        sender = senders.setdefault((addr, ssrc), Sender(addr, ssrc=ssrc))
        [verdict] = sender.send(source, now)
        if addr == STRANGER:
            assert verdict is DROP
        if addr == SDP:
            assert verdict is ACCEPT
        if verdict is ACCEPT:
            assert source.locked == addr
            assert all(packet.ssrc == ssrc for packet in source.take_released())
        assert source.remote != STRANGER
