"""The shared socket's tables: exact addresses first, one call behind a NAT, never a guess."""

from __future__ import annotations

from collections import Counter

import pytest

from voip.rtp.packet import RTPPacket
from voip.rtp.sharing import SharedCalls, deliver_by_hand, is_live
from voip.rtp.wires import SharedSocket
from voip.types import HostPort

LOCAL = HostPort("192.0.2.99", 10000)


class Owner:
    """Stands where the multiplexer stands."""

    def __init__(self):
        self.counters = Counter()
        self.calls = SharedCalls(self.counters)

    def bound(self, media_socket):
        pass

    def moved(self, media_socket):
        self.calls.file(media_socket)

    def released(self, media_socket):
        self.calls.remove(media_socket)

    def call(self, remote, signalling_ip=None, media=None):
        shared = SharedSocket(self, LOCAL, HostPort(LOCAL.host, 10001))
        shared.signalling_ip = signalling_ip
        shared.media = media
        shared.move(remote)
        return shared


class Media:
    def receive(self, data, addr, now):
        """Take RTP."""

    def receive_rtcp(self, data, addr, now):
        """Take RTCP."""


@pytest.fixture
def owner():
    return Owner()


A, B = HostPort("192.0.2.1", 4000), HostPort("192.0.2.1", 4002)


def test_an_address_that_an_sdp_names_is_its_calls(owner):
    media = Media()
    owner.call(A, A.host, media)
    assert owner.calls.media[A] is media
    assert owner.calls.media[("192.0.2.1", 4000)] is media
    assert owner.calls.media_rtcp[HostPort("192.0.2.1", 4001)] is media
    assert owner.calls.holds(A)
    assert len(owner.calls) == 1


def test_an_ended_call_leaves_nothing(owner):
    call = owner.call(A, A.host, Media())
    owner.calls.only_call_at((A.host, 9))
    call.close()
    owner.calls.remove(call)
    calls = owner.calls
    tables = (
        calls.media,
        calls.media_rtcp,
        calls._by_rtp,
        calls._by_rtcp,
        calls._by_ip,
        calls._by_named_ip,
    )
    assert not any((*tables, calls._claims, len(calls)))
    assert not calls.holds(A)


def test_a_call_that_moves_takes_its_packets_along(owner):
    media = Media()
    call = owner.call(A, A.host, media)
    call.move(B, HostPort("192.0.2.5", 77))
    assert owner.calls.media == {B: media}
    assert owner.calls.media_rtcp == {HostPort("192.0.2.5", 77): media}


def test_a_call_without_media_yet_has_its_packets_counted(owner):
    owner.call(A, A.host)
    nobody = owner.calls.media[A]
    nobody.receive(b"", A, 0.0)
    nobody.receive_rtcp(b"", A, 0.0)
    assert owner.counters["rtp_early"] == 2


@pytest.mark.parametrize("remote", [None, HostPort("0.0.0.0", 4000), HostPort("::", 4000)])
def test_a_call_without_an_address_is_reached_by_nobody(owner, remote):
    owner.call(remote, None, Media())
    assert not owner.calls.media
    assert owner.calls.only_call_at(("192.0.2.1", 4000)) is None


def test_two_calls_that_name_one_address_both_lose_its_packets(owner, caplog):
    first, second = Media(), Media()
    one = owner.call(A, A.host, first)
    two = owner.call(A, A.host, second)
    owner.calls.media[A].receive(b"", A, 0.0)
    owner.calls.media[A].receive_rtcp(b"", A, 0.0)
    assert owner.counters["rtp_contested_source"] == 2
    assert caplog.text.count("two calls") == 1
    one.close()
    assert owner.calls.media[A] is second
    two.close()
    assert not owner.calls.media


def test_the_only_call_from_an_ip_may_send_from_another_port(owner):
    media = Media()
    owner.call(A, A.host, media)
    assert owner.calls.only_call_at((A.host, 9999)) is media
    assert owner.calls.only_call_at(("192.0.2.2", 9999)) is None


def test_the_signalling_ip_counts_too(owner):
    media = Media()
    owner.call(HostPort("10.0.0.1", 4000), "192.0.2.7", media)
    assert owner.calls.only_call_at(("192.0.2.7", 5)) is media
    assert owner.calls.only_call_at(("::ffff:192.0.2.7", 5)) is media


def test_with_two_calls_from_an_ip_nothing_is_guessed(owner):
    owner.call(A, A.host, Media())
    owner.call(B, B.host, Media())
    assert owner.calls.only_call_at((A.host, 9999)) is None
    assert owner.counters["rtp_contested_source"] == 1


def test_a_claim_outlives_the_arrival_of_a_second_call(owner):
    media = Media()
    owner.call(A, A.host, media)
    owner.calls.only_call_at((A.host, 9999))
    owner.call(B, B.host, Media())
    assert owner.calls.only_call_at((A.host, 9999)) is media
    assert owner.calls.holds((A.host, 9999))


def test_claims_are_few(owner):
    owner.call(A, A.host, Media())
    for port in range(1000, 1010):
        owner.calls.only_call_at((A.host, port))
    assert len(owner.calls._claims) == 4


def test_what_an_sdp_names_is_stronger_than_a_claim(owner):
    first, second = Media(), Media()
    one = owner.call(A, A.host, first)
    owner.calls.only_call_at(B)
    owner.call(B, B.host, second)
    assert owner.calls.media[B] is second
    one.close()
    assert owner.calls.media[B] is second


def test_a_call_costs_the_same_among_thousands(owner):
    calls = [owner.call(HostPort(f"10.0.{n // 250}.{n % 250}", 4000)) for n in range(5000)]
    assert len(owner.calls.media) == 5000
    for call in calls:
        call.close()
    assert not owner.calls.media


def test_naming_what_is_anothers_takes_nothing_from_it(owner):
    media, thief = Media(), Media()
    owner.call(A, A.host, media)
    for named in (A, B):
        owner.call(named, "198.51.100.66", thief)
    assert owner.calls.media[A] is media
    assert owner.calls.only_call_at((A.host, 9)) is media


def test_what_only_a_description_names_is_still_found(owner):
    media = Media()
    owner.call(A, "198.51.100.66", media)
    assert owner.calls.only_call_at((A.host, 9)) is media


class Hooks:
    def __init__(self):
        self.in_a_row = {"packet_received": 3}


class Leg:
    """What a leg of ours has, as far as a packet by hand goes."""

    def __init__(self, error=None):
        self.error = error
        self.packets = []
        self.failures = []
        self.hooks = Hooks()

    def packet_received(self, packet, addr):
        if self.error is not None:
            raise self.error
        self.packets.append((packet.sequence_number, addr))

    def _frame_failed(self, name, error):
        self.failures.append((name, error))


DATA = bytes(RTPPacket(0, 7, 160, 7, b"x" * 160))


def test_a_leg_by_hand_gets_its_packet_and_its_failures_are_no_longer_in_a_row():
    leg, counters = Leg(), Counter()
    deliver_by_hand(leg, DATA, A, counters)
    assert leg.packets == [(7, A)]
    assert not leg.hooks.in_a_row
    assert not counters


def test_a_leg_whose_call_is_over_gets_nothing():
    leg, counters = Leg(), Counter()
    leg._ended = "over"
    assert not is_live(leg)
    deliver_by_hand(leg, DATA, A, counters)
    assert not leg.packets
    assert counters == {"rtp_after_the_end": 1}


def test_a_failing_hook_of_a_leg_by_hand_is_the_legs_own_affair():
    error = ValueError("the hook")
    leg, counters = Leg(error), Counter()
    deliver_by_hand(leg, DATA, A, counters)
    assert leg.failures == [("packet_received", error)]
    assert leg.hooks.in_a_row
