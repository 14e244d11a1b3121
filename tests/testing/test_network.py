from __future__ import annotations

import pytest

from voip.testing import NAT, Link, Network
from voip.types import HostPort

A, B = HostPort("192.0.2.1", 5060), HostPort("192.0.2.2", 5060)


def arrivals(network, count=1000, source=A, target=B):
    return [network.route(source, target, float(n)) for n in range(count)]


def test_a_plain_link_delivers_once_after_its_delay():
    (delivery,) = Network(Link(delay=0.02)).route(A, B, 5.0)
    assert delivery == (5.02, A, B)


def test_the_same_seed_throws_the_same_dice_and_another_does_not():
    link = Link(loss=0.3, duplication=0.2, reorder=0.2, jitter=0.01)
    first, second = (arrivals(Network(link, seed=4)) for _ in range(2))
    assert first == second != arrivals(Network(link, seed=5))


@pytest.mark.parametrize("loss", [0.1, 0.5])
def test_loses_the_share_it_is_told_to(loss):
    network = Network(Link(loss=loss), seed=1)
    lost = sum(not d for d in arrivals(network, 10_000))
    assert lost == network.counters["lost"] == pytest.approx(10_000 * loss, rel=0.06)


def test_duplicates_and_reorders():
    network = Network(Link(duplication=0.25, reorder=0.5, reorder_delay=2.0), seed=2)
    seen = arrivals(network)
    assert sum(len(d) == 2 for d in seen) == network.counters["duplicated"] > 200
    order = [d[0].at for d in seen]
    assert order != sorted(order)
    assert network.counters["reordered"] > 400


def test_jitter_stays_within_its_bound():
    delays = [d[0].at - n for n, d in enumerate(arrivals(Network(Link(delay=1, jitter=0.5))))]
    assert 1.0 <= min(delays) < 1.05
    assert 1.45 < max(delays) <= 1.5


def test_bursts_lose_runs_of_datagrams():
    network = Network(Link(burst_enter=0.02, burst_leave=0.2), seed=3)
    pattern = "".join("." if d else "#" for d in arrivals(network, 5000))
    runs = [len(run) for run in pattern.split(".") if run]
    assert 3.5 < sum(runs) / len(runs) < 6.5


def test_a_pair_may_have_a_link_of_its_own_in_one_direction():
    network = Network(Link(loss=1.0))
    network.set_link(A.host, B.host, Link(), both=False)
    assert network.route(A, B, 0.0)
    assert not network.route(B, A, 0.0)
    network.set_link(B.host, A.host, Link(delay=3))
    assert network.delay(A.host, B.host) == network.delay(B.host, A.host) == 3
    network.set_default(Link())
    assert network.route(A, HostPort("192.0.2.9", 1), 0.0)


def test_nothing_reaches_a_host_that_is_cut_off_until_it_is_mended():
    network = Network()
    network.cut(B.host)
    assert not network.route(A, B, 0.0)
    assert not network.route(B, A, 0.0)
    assert network.counters["unreachable"] == 2
    network.mend(B.host)
    assert network.route(A, B, 0.0)


INSIDE = HostPort("10.0.0.5", 5060)


def test_a_nat_rewrites_the_source_and_lets_answers_in():
    network = Network()
    network.add_nat(NAT("203.0.113.1", {INSIDE.host}))
    (out,) = network.route(INSIDE, B, 0.0)
    assert out.source.host == "203.0.113.1"
    (back,) = network.route(B, out.source, 1.0)
    assert back.target == INSIDE
    assert not network.route(A, out.source, 1.0), "A was never sent to"
    assert network.counters["closed_by_nat"] == 1


def test_a_binding_closes_after_its_lifetime_and_another_port_opens():
    network = Network()
    network.add_nat(NAT("203.0.113.1", {INSIDE.host}, lifetime=30))
    (out,) = network.route(INSIDE, B, 0.0)
    assert not network.route(B, out.source, 31.0)
    (again,) = network.route(INSIDE, B, 32.0)
    assert again.source != out.source


def test_a_symmetric_nat_gives_each_peer_a_port_of_its_own():
    network = Network()
    nat = network.add_nat(NAT("203.0.113.1", {INSIDE.host}, symmetric=True))
    (one,) = network.route(INSIDE, A, 0.0)
    (two,) = network.route(INSIDE, B, 0.0)
    assert one.source != two.source
    assert not network.route(B, one.source, 0.0)
    nat.rebind()
    assert not network.route(A, one.source, 0.0)
    (three,) = network.route(INSIDE, A, 0.0)
    assert three.source != one.source


def test_hosts_behind_the_same_nat_see_each_other_plainly():
    network = Network()
    network.add_nat(NAT("203.0.113.1", {INSIDE.host, "10.0.0.6"}))
    (delivery,) = network.route(INSIDE, HostPort("10.0.0.6", 5060), 0.0)
    assert delivery.source == INSIDE
