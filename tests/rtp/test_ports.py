"""Port pairs come in order, wrap round, skip what is in use, and are given back once."""

from __future__ import annotations

import pytest

from voip.errors import PortsExhaustedError, TransportError
from voip.rtp.ports import MediaPorts


def free(port):
    return True


def test_even_ports_in_order_then_round():
    ports = MediaPorts(range(10000, 10006))
    assert ports.capacity == 3
    assert [ports.take(free) for _ in range(3)] == [10000, 10002, 10004]
    assert ports.held == 3
    ports.give_back(10002)
    assert ports.take(free) == 10002


def test_a_port_that_was_given_back_comes_after_the_others():
    ports = MediaPorts(range(10000, 10006))
    ports.give_back(ports.take(free))
    assert [ports.take(free) for _ in range(3)] == [10002, 10004, 10000]


def test_ports_of_others_are_skipped():
    ports = MediaPorts(range(10000, 10008))
    taken = {10000, 10004}
    assert [ports.take(lambda port: port not in taken) for _ in range(2)] == [10002, 10006]


def test_an_odd_start_is_rounded_up_and_a_half_pair_left_out():
    ports = MediaPorts(range(10001, 10005))
    assert ports.capacity == 1
    assert ports.take(free) == 10002


def test_exhausted_by_us_asks_nobody():
    ports = MediaPorts(range(10000, 10002))
    ports.take(free)
    asked = []
    with pytest.raises(PortsExhaustedError, match="10000–10001"):
        ports.take(lambda port: asked.append(port) or True)
    assert not asked


def test_exhausted_by_others_asks_each_once():
    ports = MediaPorts(range(10000, 10006))
    asked = []
    with pytest.raises(PortsExhaustedError):
        ports.take(lambda port: asked.append(port) or False)
    assert asked == [10000, 10002, 10004]
    assert ports.take(free) == 10000


def test_a_bind_that_fails_for_good_takes_nothing():
    ports = MediaPorts(range(10000, 10006))

    def bind(port):
        raise TransportError("not ours")

    with pytest.raises(TransportError):
        ports.take(bind)
    assert ports.held == 0


def test_giving_back_twice_is_a_bug():
    ports = MediaPorts(range(10000, 10006))
    port = ports.take(free)
    ports.give_back(port)
    with pytest.raises(KeyError):
        ports.give_back(port)


@pytest.mark.parametrize(
    "wrong",
    [
        range(10000, 10001),
        range(10001, 10003),
        range(10, 20),
        range(65534, 65538),
        range(2000, 3000, 2),
    ],
)
def test_a_range_without_pairs_is_refused(wrong):
    with pytest.raises(ValueError, match="no even and odd ports"):
        MediaPorts(wrong)


def test_the_last_port_may_be_used():
    assert MediaPorts(range(65534, 65536)).take(free) == 65534
