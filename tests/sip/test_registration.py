from __future__ import annotations

import heapq
import random

import pytest

from voip.machine import Entropy
from voip.sip.account import Account
from voip.sip.messages import Request, Response
from voip.sip.registration import (
    BindingExpired,
    Registered,
    Registration,
    RegistrationRefused,
    RegistrationSettings,
    RegistrationState,
    Unregistered,
)
from voip.sip.types import SipURI

CONTACT = "<sip:alice@192.0.2.1:5060>"


def seeded(seed: int = 1) -> Entropy:
    return random.Random(seed).randbytes


def registration(seed: int = 1, **kwargs: object) -> Registration:
    account = Account("sip:alice@example.com", password="secret")
    return Registration(account, entropy=seeded(seed), **kwargs)  # type: ignore[arg-type]


def response(status: int = 200, reason: str = "OK", *headers: tuple[str, str]) -> Response:
    return Response(status, reason, [("CSeq", "1 REGISTER"), *headers])


def granted(seconds: int) -> Response:
    return response(200, "OK", ("Contact", f"{CONTACT};expires={seconds}"))


def drained(machine: Registration) -> list[Request]:
    return machine.outgoing()


def bound(seconds: int = 3600, now: float = 0.0, seed: int = 1, **kwargs: object) -> Registration:
    machine = registration(seed, **kwargs)
    machine.start(now)
    drained(machine)
    machine.response_received(granted(seconds), now)
    (event,) = machine.events()
    assert event == Registered(machine, seconds)
    return machine


def due(machine: Registration) -> float:
    deadline = machine.deadline()
    assert deadline is not None
    return deadline.at


def refused(machine: Registration) -> RegistrationRefused:
    (event,) = machine.events()
    assert isinstance(event, RegistrationRefused)
    return event


def test_asks_for_a_binding():
    machine = registration(expires=600)
    assert machine.deadline() is None
    machine.start(0.0)
    (request,) = drained(machine)
    assert (request.method, request.raw_uri) == ("REGISTER", b"sip:example.com")
    assert request.to.tag is None
    assert str(request.from_.uri) == str(request.to.uri) == "sip:alice@example.com"
    assert len(request.from_.tag or "") == 16
    assert len(request.call_id) == 32
    assert request.cseq.number == 1
    assert request.expires == 600
    assert "Via" not in request.headers
    assert machine.deadline() is None
    machine.start(1.0)
    assert drained(machine) == []


@pytest.mark.parametrize("seconds", [1, 20, 60, 300, 3600, 100_000])
def test_refreshes_at_half_to_nine_tenths_of_what_was_granted(seconds: int):
    shares = []
    for seed in range(50):
        machine = bound(seconds, now=1000.0, seed=seed)
        deadline = machine.deadline()
        assert deadline is not None
        assert deadline.reason == "refresh"
        shares.append((deadline.at - 1000.0) / seconds)
    assert 0.5 <= min(shares) < max(shares) <= 0.9
    assert max(shares) - min(shares) > 0.2


def test_a_refresh_keeps_call_id_and_tag_and_counts_on():
    machine = registration()
    machine.start(0.0)
    (first,) = drained(machine)
    machine.response_received(granted(60), 0.0)
    machine.events()
    at = due(machine)
    machine.advance(at - 0.001)
    assert drained(machine) == []
    machine.advance(at)
    (second,) = drained(machine)
    assert (second.call_id, second.from_.tag) == (first.call_id, first.from_.tag)
    assert second.cseq.number == 2
    assert machine.state is RegistrationState.TRYING


def test_counts_on_from_what_challenges_used():
    machine = registration()
    machine.start(0.0)
    drained(machine)
    machine.response_received(Response(200, "OK", [("CSeq", "7 REGISTER")]), 0.0)
    machine.advance(due(machine))
    assert drained(machine)[0].cseq.number == 8


def test_a_success_pins_the_realm():
    machine = registration()
    machine.account._candidates.add("asterisk")
    machine.start(0.0)
    machine.response_received(granted(60), 0.0)
    assert "asterisk" in machine.account.realms


# What was granted


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 3600),
        ([("Expires", "120")], 120),
        ([("Contact", CONTACT)], 3600),
        ([("Contact", CONTACT), ("Expires", "120")], 120),
        ([("Contact", f"{CONTACT};expires=60"), ("Expires", "120")], 60),
        ([("Contact", f"<sip:x@203.0.113.1>;expires=7200, {CONTACT};expires=60")], 60),
        ([("Contact", f"<sip:x@203.0.113.1>;expires=30, {CONTACT};expires=60")], 60),
        ([("Contact", "<sip:x@203.0.113.1>;expires=30, <sip:y@203.0.113.2>;expires=50")], 30),
        ([("Contact", f'{CONTACT};expires="90"')], 90),
        ([("Contact", f"{CONTACT};expires=99999999999999")], 2**31 - 1),
        ([("Contact", f"{CONTACT};expires=\u0663")], 3600),
        ([("Contact", f"{CONTACT};expires")], 3600),
        ([("Contact", "<<"), ("Expires", "120")], 120),
        ([("Expires", "x")], 3600),
    ],
)
def test_reads_the_grant_for_its_own_contact(headers: list[tuple[str, str]], seconds: int):
    machine = registration(contact=SipURI.parse("sip:alice@192.0.2.1:5060"))
    machine.start(0.0)
    machine.response_received(response(200, "OK", *headers), 0.0)
    assert machine.events() == [Registered(machine, seconds)]


def test_a_grant_of_nothing_is_a_refusal():
    machine = registration()
    machine.start(0.0)
    machine.response_received(granted(0), 0.0)
    assert refused(machine).phrase == "no binding granted"
    assert 15.0 <= due(machine) <= 30.0


# 423, Retry-After, permanent refusals


def test_a_423_raises_the_expiry_and_asks_again_once():
    machine = registration(expires=60)
    machine.start(0.0)
    drained(machine)
    brief = response(423, "Interval Too Brief", ("Min-Expires", "1800"))
    machine.response_received(brief, 0.0)
    (request,) = drained(machine)
    assert request.expires == 1800
    assert machine.events() == []
    machine.response_received(response(423, "Still", ("Min-Expires", "3600")), 0.0)
    assert refused(machine).status == 423
    assert drained(machine) == []
    machine.advance(due(machine))
    (request,) = drained(machine)
    assert request.expires == 1800
    machine.response_received(response(200, "OK"), 100.0)
    assert machine.events() == [Registered(machine, 1800)]


@pytest.mark.parametrize("least", [None, "x", "60", "0", "86401", "99999999999"])
def test_a_423_that_makes_no_sense_backs_off(least: str | None):
    machine = registration(expires=60)
    machine.start(0.0)
    drained(machine)
    headers = [] if least is None else [("Min-Expires", least)]
    machine.response_received(response(423, "Brief", *headers), 0.0)
    assert refused(machine).status == 423
    assert drained(machine) == []


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120.0, 132.0),
        ("60 (in maintenance);duration=3600", 60.0, 66.0),
        ("18000", 3600.0, 3960.0),
        ("99999999999999999999", 3600.0, 3960.0),
        ("1", 15.0, 30.0),
        ("0", 15.0, 30.0),
        ("soon", 15.0, 30.0),
    ],
)
def test_honours_retry_after(value: str, least: float, most: float):
    machine = registration()
    machine.start(0.0)
    machine.response_received(response(503, "Busy", ("Retry-After", value)), 100.0)
    event = refused(machine)
    assert (event.status, event.phrase, event.retry_at) == (503, "Busy", due(machine))
    assert least <= due(machine) - 100.0 <= most


@pytest.mark.parametrize("status", [401, 403, 404, 407, 604])
def test_stops_and_tells_when_nothing_would_mend_it(status: int):
    machine = bound()
    machine.advance(due(machine))
    drained(machine)
    machine.response_received(response(status, "Wrong password"), 2000.0)
    event = refused(machine)
    assert (event.status, event.phrase, event.retry_at) == (status, "Wrong password", None)
    assert machine.state is RegistrationState.REFUSED
    assert machine.deadline() is None
    machine.start(3000.0)
    assert len(drained(machine)) == 1


@pytest.mark.parametrize("status", [302, 400, 408, 480, 500, 503, 504, 600])
def test_tries_again_after_what_may_pass(status: int):
    machine = registration()
    machine.start(0.0)
    drained(machine)
    machine.response_received(response(status, "Later"), 0.0)
    assert refused(machine).retry_at == due(machine)
    assert machine.deadline() == (due(machine), "retry")
    machine.advance(due(machine))
    assert len(drained(machine)) == 1


def test_backs_off_as_rfc_5626_says():
    for seed in range(20):
        machine = registration(seed)
        machine.start(0.0)
        now = 0.0
        for failure in range(12):
            machine.request_failed("timeout", now)
            event = refused(machine)
            assert (event.status, event.phrase) == (408, "timeout")
            longest = min(1800.0, 30.0 * 2**failure)
            assert longest / 2 <= due(machine) - now <= longest
            now = due(machine)
            machine.advance(now)
        machine.response_received(granted(60), now)
        machine.events()
        machine.stop(now)
        machine.response_received(granted(0), now)
        machine.start(now)
        machine.request_failed("timeout", now)
        assert due(machine) - now <= 30.0


# Flow lost


def test_registers_again_at_once_when_its_flow_is_lost():
    machine = bound()
    machine.flow_lost(100.0)
    assert len(drained(machine)) == 1
    assert machine.state is RegistrationState.TRYING


def test_a_restarted_registrar_has_us_back_within_five_seconds():
    for seed in range(100):
        machine = bound(seed=seed)
        back, now = 100.0 + seed, 100.0
        machine.flow_lost(now)
        while now < back:
            assert len(drained(machine)) == 1
            machine.request_failed("connection refused", now)
            machine.events()
            assert 2.0 <= due(machine) - now <= 4.7
            now = due(machine)
            machine.advance(now)
        assert now < back + 4.7
        machine.response_received(granted(60), now)
        assert machine.events() == [Registered(machine, 60)]


def test_the_quick_tries_end_after_minutes():
    machine = bound()
    machine.flow_lost(0.0)
    machine.request_failed("connection refused", 301.0)
    machine.events()
    assert 15.0 <= due(machine) - 301.0 <= 30.0


def test_a_flow_lost_while_waiting_and_while_trying():
    machine = bound()
    machine.advance(due(machine))
    drained(machine)
    machine.flow_lost(2000.0)
    assert drained(machine) == []
    machine.request_failed("connection reset", 2000.0)
    assert due(machine) - 2000.0 <= 4.7
    machine.flow_lost(2000.1)
    assert len(drained(machine)) == 1
    idle = registration()
    idle.flow_lost(0.0)
    assert drained(idle) == []


def test_no_two_clients_keep_step_after_an_outage():
    """500 clients whose registrar is away for a minute: at most 5 % of them in any 100 ms."""
    clients = [bound(seed=seed) for seed in range(500)]
    queue: list[tuple[float, int]] = []
    for number, client in enumerate(clients):
        client.flow_lost(0.0)
        client.request_failed("connection refused", 0.0)
        heapq.heappush(queue, (due(client), number))
    arrivals: list[float] = []
    while queue:
        now, number = heapq.heappop(queue)
        clients[number].advance(now)
        if now >= 60.0:
            arrivals.append(now)
            continue
        clients[number].request_failed("connection refused", now)
        heapq.heappush(queue, (due(clients[number]), number))
    slots = [int((at - 60.0) * 10) for at in arrivals]
    assert max(slots.count(slot) for slot in set(slots)) <= 25
    assert max(arrivals) <= 64.7


# Keeping it


# What timer E sends of one REGISTER over UDP (RFC 3261 §17.1.2.2), and when timer F ends it.
SENDS = (0.0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5)


@pytest.mark.parametrize(("seconds", "sends"), [(3600, SENDS[:1]), (300, SENDS), (60, SENDS)])
def test_a_day_with_a_fifth_of_the_answers_lost_never_lapses(
    seconds: int, sends: tuple[float, ...]
):
    for seed in range(10):
        machine = registration(seed)
        chance = random.Random(seed)
        machine.start(0.0)
        now, lost = 0.0, 0
        while now < 86_400.0:
            if drained(machine):
                delay = next((at for at in sends if chance.random() >= 0.2), None)
                lost += delay != 0.0
                now += 32.0 if delay is None else delay + 0.05
                machine.advance(now)
                if delay is None:
                    machine.request_failed("timeout", now)
                else:
                    machine.response_received(granted(seconds), now)
            now = max(now, due(machine))
            machine.advance(now)
            assert not [e for e in machine.events() if isinstance(e, BindingExpired)]
        assert lost > 0


def test_tells_once_when_the_binding_is_over():
    machine = bound(60)
    machine.advance(due(machine))
    machine.request_failed("timeout", 55.0)
    retry_at = refused(machine).retry_at
    assert retry_at is not None
    # A quarter of what is left of the binding, jittered.
    assert 55.6 <= retry_at <= 56.25
    machine.advance(due(machine))
    assert machine.deadline() == (60.0, "binding_expires")
    machine.advance(60.0)
    assert machine.events() == [BindingExpired(machine)]
    assert machine.expires_at is None
    machine.advance(61.0)
    assert machine.events() == []
    machine.response_received(granted(60), 62.0)
    assert machine.events() == [Registered(machine, 60)]


def test_a_long_sleep_renews_without_a_storm():
    machine = bound(600)
    machine.advance(10_000.0)
    assert machine.events() == [BindingExpired(machine)]
    assert len(drained(machine)) == 1
    assert machine.deadline() is None


# Leaving


def test_unregisters_with_expires_zero():
    machine = bound()
    machine.stop(10.0)
    (request,) = drained(machine)
    assert request.expires == 0
    assert machine.state is RegistrationState.LEAVING
    machine.stop(10.0)
    assert drained(machine) == []
    machine.response_received(response(), 10.1)
    assert machine.events() == [Unregistered(machine)]
    assert machine.deadline() is None
    assert machine.state is RegistrationState.IDLE


@pytest.mark.parametrize("waiting", [False, True])
def test_a_registrar_that_does_not_answer_the_goodbye_is_left_anyway(waiting: bool):
    machine = bound()
    if waiting:
        machine.advance(due(machine))
        machine.request_failed("timeout", 2000.0)
        machine.events()
    drained(machine)
    machine.stop(2001.0)
    assert drained(machine)[0].expires == 0
    machine.request_failed("timeout", 2033.0)
    assert machine.events() == [Unregistered(machine)]


def test_one_register_at_a_time_even_when_leaving():
    machine = registration()
    machine.start(0.0)
    drained(machine)
    machine.stop(0.1)
    assert drained(machine) == []
    assert machine.state is RegistrationState.STOPPING
    machine.response_received(granted(60), 0.2)
    assert drained(machine)[0].expires == 0
    machine.response_received(response(), 0.3)
    assert machine.events() == [Unregistered(machine)]


def test_a_lost_answer_may_still_have_made_a_binding():
    machine = registration()
    machine.start(0.0)
    drained(machine)
    machine.stop(0.1)
    machine.request_failed("timeout", 32.0)
    assert drained(machine)[0].expires == 0


def test_a_refused_registration_has_nothing_to_take_away():
    machine = registration()
    machine.start(0.0)
    drained(machine)
    machine.stop(0.1)
    machine.response_received(response(403, "No"), 0.2)
    assert drained(machine) == []
    assert machine.events() == [Unregistered(machine)]


def test_start_takes_back_a_stop():
    machine = registration()
    machine.start(0.0)
    machine.stop(0.1)
    machine.start(0.2)
    drained(machine)
    machine.response_received(granted(60), 0.3)
    assert machine.events() == [Registered(machine, 60)]


def test_start_while_leaving_registers_when_that_is_over():
    machine = bound()
    machine.stop(1.0)
    drained(machine)
    machine.start(1.1)
    assert drained(machine) == []
    machine.response_received(response(), 1.2)
    assert drained(machine)[0].expires == 3600
    assert machine.events() == [Unregistered(machine)]
    assert machine.state is RegistrationState.TRYING


def test_stop_takes_back_a_start_while_leaving():
    machine = bound()
    machine.stop(1.0)
    machine.start(1.1)
    machine.stop(1.2)
    drained(machine)
    machine.response_received(response(), 1.3)
    assert drained(machine) == []
    assert machine.state is RegistrationState.IDLE


def test_stop_without_a_start_is_nothing():
    machine = registration()
    machine.stop(0.0)
    assert drained(machine) == []
    assert machine.events() == []


# What is not expected


def test_counts_outcomes_of_no_request():
    machine = registration()
    machine.response_received(granted(60), 0.0)
    machine.request_failed("timeout", 0.0)
    assert machine.counters == {"registration.stray_response": 1, "registration.stray_failure": 1}
    assert machine.events() == []


def test_survives_a_response_without_cseq():
    machine = registration()
    machine.start(0.0)
    machine.response_received(Response(200, "OK", []), 0.0)
    assert machine.counters["registration.bad_cseq"] == 1
    assert machine.events() == [Registered(machine, 3600)]


def test_settings_and_repr():
    machine = registration(settings=RegistrationSettings(expires=90))
    machine.start(0.0)
    assert drained(machine)[0].expires == 90
    assert repr(machine) == "<Registration at 'example.com', trying>"
