from __future__ import annotations

import tracemalloc

import pytest

from voip.machine import Counters, Flow
from voip.sip.admission import Admission, AdmissionSettings, Verdict
from voip.types import HostPort

LOCAL = HostPort("192.0.2.1", 5060)
INVITE = b"INVITE sip:bob@example.com SIP/2.0\r\nVia: x\r\n\r\n"
ADMIT, DROP, SHED = Verdict.ADMIT, Verdict.DROP, Verdict.SHED


def flow(host: str = "198.51.100.7") -> Flow:
    return Flow("UDP", LOCAL, HostPort(host, 5060))


def doorkeeper(**kwargs: object) -> Admission:
    return Admission(AdmissionSettings(**kwargs))  # type: ignore[arg-type]


def flood(
    door: Admission, count: int, host: str = "198.51.100.7", now: float = 0.0, data: bytes = INVITE
) -> list[Verdict]:
    return [door.admit(flow(host), data, now) for _ in range(count)]


@pytest.mark.parametrize(
    "data",
    [
        INVITE,
        b"\r\n\r\n" + INVITE,
        b"SIP/2.0 200 OK\r\n\r\n",
        b"SIP/2.0 4294967301 x\r\n\r\n",
        b"OPTIONS sip:a SIP/7.0\r\n\r\n",
        b"OPTIONS sip:a SIP/2.0  \r\n\r\n",
        b"invite sip:a sip/2.0\r\n\r\n",
    ],
)
def test_admits_what_looks_like_sip(data: bytes):
    assert Admission().admit(flow(), data, 0.0) is ADMIT


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "keep_alive"),
        (b"\r\n\r\n", "keep_alive"),
        (b"\r\n" * 40, "keep_alive"),
        (b"\r\n" * 40 + INVITE, "not_sip"),
        (b"GET / HTTP/1.1\r\n\r\n", "not_sip"),
        (b"\x00\x01\x00\x00\x21\x12\xa4\x42", "not_sip"),
        (b"\x16\x03\x01 SIP/2.0", "not_sip"),
        (INVITE.replace(b"\r\n", b"\n"), "not_sip"),
        (b"x" * 9000 + INVITE, "not_sip"),
        (INVITE + b"x" * 65_536, "too_large"),
    ],
)
def test_drops_and_counts_what_cannot_be_sip_from_whomever(data: bytes, reason: str):
    for host in ("198.51.100.7", "127.0.0.1"):
        door = Admission()
        assert door.admit(flow(host), data, 0.0) is DROP
        assert door.counters == {f"admission.{reason}": 1}


def test_a_source_has_a_burst_and_then_a_rate():
    door = Admission()
    assert flood(door, 40) == [ADMIT] * 40
    assert flood(door, 1) == [SHED]
    assert flood(door, 30, now=1.0) == [ADMIT] * 20 + [SHED] * 10
    assert door.counters["admission.over_source_rate"] == 11


def test_other_sources_do_not_suffer():
    door = Admission()
    flood(door, 1000)
    assert flood(door, 40, host="203.0.113.1") == [ADMIT] * 40


def test_ten_answers_in_a_row_and_then_silence():
    door = Admission()
    flood(door, 40)
    assert flood(door, 30) == [SHED] * 10 + [DROP] * 20


def test_a_source_that_slows_down_is_heard_again():
    door = Admission()
    flood(door, 100)
    assert flood(door, 1, now=0.1) == [ADMIT]
    assert flood(door, 12, now=0.1)[-1] is DROP
    assert flood(door, 42, now=10.0) == [ADMIT] * 40 + [SHED] * 2


@pytest.mark.parametrize("data", [b"ACK sip:a SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"])
def test_no_answer_to_an_ack_or_a_response(data: bytes):
    door = Admission()
    flood(door, 40)
    assert flood(door, 3, data=data) == [DROP] * 3


def test_a_network_has_a_budget_too():
    door = Admission()
    verdicts = [door.admit(flow(f"198.51.100.{n % 250}"), INVITE, 0.0) for n in range(500)]
    assert verdicts.count(ADMIT) == 200
    assert door.counters["admission.over_network_rate"] == 300
    assert door.admit(flow("198.51.101.1"), INVITE, 0.0) is ADMIT


def test_ipv6_counts_by_64_and_48():
    door = Admission()
    verdicts = [door.admit(flow(f"2001:db8:1:2::{n:x}"), INVITE, 0.0) for n in range(1, 60)]
    assert verdicts.count(ADMIT) == 40
    verdicts = [door.admit(flow(f"2001:db8:1:{n:x}::1"), INVITE, 0.0) for n in range(3, 300)]
    assert verdicts.count(ADMIT) == 160
    assert door.admit(flow("2001:db8:2::1"), INVITE, 0.0) is ADMIT


def test_one_address_under_two_spellings_is_one_source():
    door = Admission()
    flood(door, 40, host="::ffff:198.51.100.7")
    assert flood(door, 1) == [SHED]
    assert door.remembered == 1


def test_all_strangers_together_have_a_budget():
    door = doorkeeper(total_rate=10.0, total_burst=20.0)
    verdicts = [door.admit(flow(f"10.{n}.0.1"), INVITE, 0.0) for n in range(200)]
    assert verdicts.count(ADMIT) == 20
    # Answers to sources that may be forged have a budget of their own.
    assert verdicts.count(SHED) == 50
    assert door.counters["admission.over_total_rate"] == 180
    assert door.counters["admission.shed_silently"] == 130


@pytest.mark.parametrize(
    "host",
    ["127.0.0.66", "::1", "::ffff:127.0.0.1", "192.0.2.99", "::ffff:192.0.2.99", "2001:DB8::5"],
)
def test_loopback_and_peers_are_exempt(host: str):
    door = doorkeeper(peers=("192.0.2.99", "2001:db8:0::5"))
    assert flood(door, 500, host=host) == [ADMIT] * 500
    assert door.trusted(host)
    assert door.remembered == 0


def test_the_far_end_of_a_dialog_is_welcome_while_it_lasts():
    door = Admission()
    flood(door, 100)
    door.welcome("198.51.100.7")
    door.welcome("198.51.100.7")
    assert flood(door, 100) == [ADMIT] * 100
    door.dismiss("198.51.100.7")
    assert door.trusted("198.51.100.7")
    door.dismiss("198.51.100.7")
    door.dismiss("198.51.100.7")
    assert flood(door, 1) == [DROP]
    assert not door.trusted("198.51.100.7")


def test_can_be_switched_off():
    door = doorkeeper(enabled=False)
    assert flood(door, 500) == [ADMIT] * 500
    assert all(door.take_invite(flow()) for _ in range(500))
    assert door.take_transaction(flow()) is True


def test_forged_sources_keep_the_tables_bounded():
    door = doorkeeper(max_sources=1000, total_rate=1e9, total_burst=1e9)
    for n in range(1000):
        door.admit(flow(f"{n >> 8}.{n & 255}.0.1"), INVITE, 0.0)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(20_000):
        door.admit(flow(f"{n >> 16}.{n >> 8 & 255}.{n & 255}.2"), INVITE, n * 1e-5)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert door.remembered == 1000
    assert grown < 500_000


def test_the_source_heard_longest_ago_makes_room():
    door = doorkeeper(max_sources=2)
    flood(door, 41, host="10.0.0.1")
    flood(door, 1, host="10.1.0.1")
    flood(door, 1, host="10.0.0.1")
    flood(door, 1, host="10.2.0.1")
    assert flood(door, 1, host="10.0.0.1") == [SHED]
    assert flood(door, 40, host="10.1.0.1") == [ADMIT] * 40


def test_a_clock_that_stands_still_or_goes_back_gives_no_tokens():
    door = Admission()
    flood(door, 40, now=10.0)
    assert flood(door, 1, now=5.0) == [SHED]


def test_limits_pending_invites_of_a_stranger():
    door = Admission()
    assert [door.take_invite(flow()) for _ in range(51)] == [True] * 50 + [False]
    assert door.take_invite(flow("203.0.113.1"))
    assert all(door.take_invite(flow("127.0.0.1")) for _ in range(100))
    door.give_invite(flow())
    assert door.take_invite(flow())
    assert door.counters["admission.pending_invites"] == 1
    for _ in range(60):
        door.give_invite(flow())
    assert [door.take_invite(flow()) for _ in range(51)].count(True) == 50


def test_limits_transactions_of_strangers_and_of_the_trusted_apart():
    door = doorkeeper(max_transactions=2, max_trusted_transactions=3)
    assert [door.take_transaction(flow()) for _ in range(3)] == [False, False, None]
    assert [door.take_transaction(flow("127.0.0.1")) for _ in range(4)] == [True, True, True, None]
    door.give_transaction(False)
    assert door.take_transaction(flow()) is False
    door.give_transaction(True)
    assert door.take_transaction(flow("::1")) is True
    assert door.counters["admission.transactions"] == 2


def test_counts_into_the_counters_it_is_given():
    counters = Counters()
    Admission(counters=counters).admit(flow(), b"x", 0.0)
    assert counters == {"admission.not_sip": 1}
