"""Registrations on the wire: challenge, Contact, keep-alive, loss of the flow."""

from __future__ import annotations

import random

import pytest

from voip.machine import Flow, Resolved, Target
from voip.sip.account import Account
from voip.sip.registration import Registration
from voip.types import HostPort

CHALLENGE = 'Digest realm="example.com", nonce="n", algorithm=SHA-256, qop="auth"'


def begin(bench, aor="sip:me@127.0.0.1", **options):
    who = Account(aor, password="secret", **options)
    registration = Registration(who, entropy=random.Random(1).randbytes, expires=600)
    bench.do(lambda machine, now: machine.register(registration, now))
    return registration


def granted(bench, expires=600, request=None):
    request = request or bench.sent[-1]
    contact = request.headers["Contact"] + f";expires={expires}"
    return bench.reply(200, request, headers=[("Contact", contact)], contact=False)


def test_register_refresh_and_unregister(bench):
    registration = begin(bench)
    first = bench.sent[0]
    assert first.raw_uri == b"sip:127.0.0.1"
    assert str(first.contact.uri) == "sip:voip@127.0.0.9:5060"
    bench.reply(100)
    bench.reply(401, first, headers=[("WWW-Authenticate", CHALLENGE)])
    second = bench.sent[-1]
    assert "Authorization" in second.headers
    assert (second.cseq.number, second.call_id) == (2, first.call_id)
    granted(bench, 100)
    assert bench.told() == ["Registered"]
    assert bench.events[0].expires == 100
    bench.forget()
    while not bench.sent:
        bench.run(0.5)
    refresh = bench.sent[0]
    assert 50 <= bench.times[0] <= 90
    assert refresh.cseq.number == 3
    granted(bench, 100, refresh)
    bench.do(lambda machine, now: machine.unregister(registration, now))
    assert bench.sent[-1].headers["Expires"] == "0"
    bench.reply(200)
    assert bench.told()[-1] == "Unregistered"
    bench.settle()


def test_a_second_start_is_silent_and_an_unknown_one_cannot_stop(bench):
    registration = begin(bench)
    bench.do(lambda machine, now: machine.register(registration, now))
    assert bench.names() == ["REGISTER"]
    other = Registration(registration.account, entropy=random.Random(2).randbytes)
    bench.do(lambda machine, now: machine.unregister(other, now))
    assert bench.names() == ["REGISTER"]


@pytest.mark.parametrize("status", [403, 404])
def test_being_refused_is_told_with_the_registrars_words(bench, status):
    begin(bench)
    bench.reply(status)
    assert bench.events[-1].status == status
    bench.settle()


def test_nobody_answers(bench):
    begin(bench)
    bench.run(32)
    assert bench.told() == ["RegistrationRefused"]
    assert bench.events[0].status == 408


def test_a_nat_is_kept_open_over_udp(bench):
    begin(bench)
    granted(bench)
    bench.forget()
    bench.run(60)
    assert bench.raw == [b"\r\n\r\n"] * 2


def test_no_keep_alive_when_it_is_off(kit):
    bench = kit.Bench(udp_keep_alive=0)
    begin(bench)
    granted(bench)
    bench.forget()
    bench.run(60)
    assert bench.raw == []


def test_a_lost_connection_registers_again_at_once(kit):
    bench = kit.Bench("TCP")
    begin(bench, "sip:me@127.0.0.1;transport=tcp")
    granted(bench)
    flow = bench.flows[-1]
    assert bench.machine.core.streams[flow].kept_alive
    bench.forget()
    bench.lose(flow)
    assert bench.names() == ["REGISTER"]
    assert bench.flows[-1] != flow
    granted(bench)
    assert bench.told() == ["Registered"]


def test_the_loss_of_another_connection_changes_nothing(kit):
    bench = kit.Bench("TCP")
    begin(bench, "sip:me@127.0.0.1;transport=tcp")
    granted(bench)
    bench.forget()
    bench.lose()
    assert bench.names() == []


def test_a_new_flow_takes_the_place_of_the_old_one(bench):
    registration = begin(bench)
    granted(bench)
    bench.forget()
    binding = bench.machine._bindings[registration]
    old = binding.flow
    bench.lose(old, "port unreachable")
    assert binding.flow is None
    granted(bench)
    assert binding.flow == old


def test_the_outbound_proxy_is_asked(bench):
    begin(bench, "sip:me@example.com", outbound_proxy=("127.0.0.5", 5060))
    assert bench.asked[0].host == "127.0.0.5"
    assert bench.sent[0].raw_uri == b"sip:example.com"


def welcome(bench, host="192.0.2.1"):
    return bench.machine.core.admission.trusted(host)


@pytest.fixture
def far(kit):
    """A bench whose registrar is no loopback address."""
    bench = kit.Bench()
    bench.flow = Flow("UDP", kit.OURS, HostPort("192.0.2.1", 5060))
    return bench


def begin_far(bench):
    bench.answers_resolve = False
    registration = begin(bench, "sip:me@example.com")
    resolve(bench)
    return registration


def resolve(bench):
    bench.feed(Resolved(bench.asked[-1].token, (Target("UDP", "192.0.2.1", 5060),)))


def refreshing(bench):
    asked = len(bench.asked)
    while len(bench.asked) == asked:
        bench.run(0.5)
    resolve(bench)


def test_a_registration_that_is_refused_at_once_leaves_nothing(far):
    begin_far(far)
    far.reply(404)
    assert not welcome(far)
    far.settle()


def test_a_refused_refresh_ends_what_kept_the_nat_open(far):
    begin_far(far)
    granted(far, 100)
    assert welcome(far)
    refreshing(far)
    far.reply(404)
    assert far.told() == ["Registered", "RegistrationRefused"]
    assert not welcome(far)
    far.forget()
    far.run(400)
    assert far.raw == []
    far.settle()


def test_a_refused_registration_heals_with_the_next_start(far):
    registration = begin_far(far)
    far.reply(403)
    far.do(lambda machine, now: machine.register(registration, now))
    resolve(far)
    granted(far)
    assert welcome(far)
    far.do(lambda machine, now: machine.unregister(registration, now))
    resolve(far)
    far.reply(200)
    assert not welcome(far)
    far.settle()


def test_a_registration_that_tries_again_keeps_its_flow(far):
    registration = begin_far(far)
    granted(far, 100)
    refreshing(far)
    far.reply(500)
    assert far.events[-1].retry_at is not None
    assert welcome(far)
    far.forget()
    far.run(5)
    assert far.machine._bindings[registration].flow == far.flow


def test_a_connection_that_no_registration_needs_is_left_alone(kit):
    bench = kit.Bench("TCP")
    registration = begin(bench, "sip:me@127.0.0.1;transport=tcp")
    granted(bench)
    stream = bench.machine.core.streams[bench.flows[0]]
    bench.do(lambda machine, now: machine.unregister(registration, now))
    assert stream.kept_alive
    bench.reply(200)
    assert not stream.kept_alive
