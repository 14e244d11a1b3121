"""Hosts become targets in order; names cost nobody else anything."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from voip.machine import Resolve, Target
from voip.sip.resolver import Resolver, system_lookup


class Names:
    """A name server that answers when it is told to."""

    def __init__(self, **addresses):
        self.addresses = addresses
        self.asked = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, host):
        self.asked.append(host)
        assert self.gate.wait(10)
        try:
            return self.addresses[host]
        except KeyError:
            raise OSError(-2, "Name or service not known") from None


class Asked:
    """Collects answers."""

    def __init__(self, resolver):
        self.resolver = resolver
        self.answers = {}
        self.news = asyncio.Event()

    def __call__(self, token, host="a.test", port=None, transport=None, *, secure=False):
        def feed(resolved):
            assert resolved.token == token
            self.answers[token] = resolved
            self.news.set()

        self.resolver.resolve(Resolve(token, host, port, transport, secure), feed)
        return self.answers.get(token)

    async def answer(self, token):
        async with asyncio.timeout(10):
            while token not in self.answers:
                self.news.clear()
                await self.news.wait()
        return self.answers[token]


@pytest.fixture
async def names():
    names = Names(**{"a.test": ["192.0.2.1", "2001:db8::1"]})
    yield names
    names.gate.set()


@pytest.fixture
async def ask(names):
    resolver = Resolver(lookup=names)
    yield Asked(resolver)
    resolver.close()


async def test_a_literal_is_answered_at_once(ask):
    assert ask(1, "192.0.2.7").targets == (
        Target("UDP", "192.0.2.7", 5060, "192.0.2.7"),
        Target("TCP", "192.0.2.7", 5060, "192.0.2.7"),
    )


async def test_a_bracketed_literal_loses_its_brackets(ask):
    assert ask(1, "[2001:db8::7]", 5070, "TCP").targets == (
        Target("TCP", "2001:db8::7", 5070, "2001:db8::7"),
    )


@pytest.mark.parametrize(
    ("transport", "secure", "expected"),
    [
        (None, False, [("UDP", 5060), ("TCP", 5060)]),
        ("UDP", False, [("UDP", 5060)]),
        ("tcp", False, [("TCP", 5060)]),
        ("TLS", False, [("TLS", 5061)]),
        (None, True, [("TLS", 5061)]),
        ("TCP", True, [("TLS", 5061)]),  # RFC 5630 §3.1.3
        ("TLS", True, [("TLS", 5061)]),
        ("UDP", True, []),  # a sips URI never goes over UDP
        ("SCTP", False, []),
    ],
)
async def test_transports_and_default_ports(ask, transport, secure, expected):
    targets = ask(1, "192.0.2.7", None, transport, secure=secure).targets
    assert [(target.transport, target.port) for target in targets] == expected


async def test_a_refused_transport_says_why(ask):
    assert "sips" in ask(1, "192.0.2.7", None, "UDP", secure=True).reason


async def test_a_name_gives_every_address_and_keeps_the_domain(ask):
    assert ask(1, "A.test.", 5062) is None
    answer = await ask.answer(1)
    assert answer.targets == (
        Target("UDP", "192.0.2.1", 5062, "A.test."),
        Target("UDP", "2001:db8::1", 5062, "A.test."),
        Target("TCP", "192.0.2.1", 5062, "A.test."),
        Target("TCP", "2001:db8::1", 5062, "A.test."),
    )


async def test_one_look_up_serves_all_who_wait_and_those_who_come_later(ask, names):
    names.gate.clear()
    ask(1)
    ask(2, transport="TCP")
    names.gate.set()
    await ask.answer(1)
    assert len((await ask.answer(2)).targets) == 2
    assert ask(3).targets
    assert names.asked == ["a.test"]


async def test_a_failure_has_the_systems_words_and_is_kept_for_a_while(ask, names):
    ask(1, "b.test")
    answer = await ask.answer(1)
    assert answer.targets == ()
    assert answer.reason == "b.test: Name or service not known"
    assert ask(2, "b.test").reason == answer.reason
    assert names.asked == ["b.test"]


async def test_a_name_without_addresses_is_a_failure(ask, names):
    names.addresses["c.test"] = []
    ask(1, "c.test")
    assert (await ask.answer(1)).reason == "c.test: no addresses"


async def test_what_is_old_is_asked_again(ask, names):
    ask.resolver.cache_seconds = 0.0
    ask(1)
    await ask.answer(1)
    assert ask(2) is None
    await ask.answer(2)
    assert names.asked == ["a.test", "a.test"]


async def test_the_cache_is_bounded(ask):
    ask.resolver._cache.update({str(n): (1e9, (), "") for n in range(1024)})
    ask(1)
    await ask.answer(1)
    assert list(ask.resolver._cache) == ["a.test"]


@pytest.mark.parametrize(
    "host",
    ["", "x" * 254, "exämple.test", "caller.invalid", "2130706433", "127.1", "0x7f.0x1", "a.0x7F"],
)
async def test_what_is_no_name_is_never_looked_up(ask, names, host):
    answer = ask(1, host)
    assert answer.targets == ()
    assert answer.reason
    assert not names.asked
    assert ask.resolver.counters["names_refused"] == 1


async def test_a_slow_name_server_is_not_waited_for(names):
    names.gate.clear()
    resolver = Resolver(lookup=names, timeout=0.01)
    ask = Asked(resolver)
    ask(1)
    assert "no answer" in (await ask.answer(1)).reason
    assert resolver.counters["queries_timed_out"] == 1
    names.gate.set()
    ask(2, "192.0.2.1")
    resolver.timeout = 10
    ask(3)  # the late answer, or a new one
    assert (await ask.answer(3)).targets
    resolver.close()


async def test_few_threads_and_a_bounded_queue(names):
    names.gate.clear()
    resolver = Resolver(lookup=names, threads=1, queue=2)
    ask = Asked(resolver)
    for number in range(5):
        ask(number, f"n{number}.test")
    assert "too many" in ask.answers[3].reason
    assert sorted(ask.answers) == [3, 4]
    assert resolver.counters["queries_refused"] == 2
    names.gate.set()
    for number in range(3):
        await ask.answer(number)
    assert names.asked == ["n0.test", "n1.test", "n2.test"]
    resolver.close()


async def test_a_query_that_timed_out_in_the_queue_is_not_sent(names):
    names.gate.clear()
    resolver = Resolver(lookup=names, threads=1, timeout=0.01)
    ask = Asked(resolver)
    ask(1, "first.test")
    ask(2, "second.test")
    await ask.answer(2)
    names.gate.set()
    resolver.timeout = 10
    ask(3, "third.test")
    await ask.answer(3)
    assert names.asked == ["first.test", "third.test"]
    resolver.close()


async def test_a_name_that_no_name_server_can_be_asked_is_a_failure(ask, names):
    def lookup(host):
        raise UnicodeError("label too long")

    resolver = Resolver(lookup=lookup)
    ask = Asked(resolver)
    ask(1, "a" * 64 + ".test")
    assert "label too long" in (await ask.answer(1)).reason


async def test_nobody_is_answered_after_close(ask, names):
    names.gate.clear()
    ask(1)
    ask.resolver.close()
    ask.resolver.close()
    names.gate.set()
    assert ask(2).reason
    assert 1 not in ask.answers


def test_a_look_up_that_ends_after_its_loop_is_dropped():
    names = Names()
    names.gate.clear()

    async def main():
        Asked(Resolver(lookup=names))(1)

    asyncio.run(main())
    names.gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("resolve "):
            thread.join(5)
            assert not thread.is_alive()


def test_the_system_knows_literals_and_itself(monkeypatch):
    assert system_lookup("127.0.0.1") == ["127.0.0.1"]
    found = [(0, 0, 0, "", ("192.0.2.1", 0)), (0, 0, 0, "", ("192.0.2.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)
    assert system_lookup("twice.test") == ["192.0.2.1"]
