"""A process that gets too little CPU: ticks come late, nothing that is there may be lost."""

import math
import random

import numpy as np
import pytest

from voip.audio import AudioCall
from voip.codecs import PCMU
from voip.media.plane import InlinePlane
from voip.rtp.packet import RTPPacket
from voip.rtp.source import RemoteSource, SourceRules
from voip.testing import leg
from voip.types import HostPort

REMOTE = HostPort("192.0.2.1", 40000)
START = 1000.0
TICK = 0.005
FRAME = 0.02
WAY = 0.003  # seconds from the source to our socket


class Hearing(AudioCall):
    """Keeps the number and the moment of each frame that was not made up."""

    def __post_init__(self):
        super().__post_init__()
        self.heard = []
        self.clock = None

    def decode_payload(self, payload):
        self.number = int.from_bytes(payload[:2], "big")
        return super().decode_payload(payload)

    def audio_received(self, *, audio, rms):
        if not self._made_up:
            self.heard.append((self.number, self.clock.now))


class Echoing(Hearing):
    """Says back each frame at once, its number in the level."""

    def audio_received(self, *, audio, rms):
        super().audio_received(audio=audio, rms=rms)
        if not self._made_up:
            assert self.play(np.full(160, self.number % 8 / 10 + 0.1, np.float32))


class Process:
    """A plane, and a loop that wakes up when it gets to.

    Args:
        reads_first: whether a loop reads its sockets before its ticks, as asyncio does, or has so
            many of them that those of our leg have their turn afterwards.
    """

    def __init__(self, call_class=Hearing, *, reads_first=True):
        self.now = START
        self.reads_first = reads_first
        self.plane = InlinePlane(random.Random(3).randbytes)
        self.leg = leg(call_class)
        self.leg.clock = self
        self.sent = []
        rules = SourceRules("strict", REMOTE, REMOTE.host, frozenset({0}))
        source = RemoteSource(rules)
        self.media = self.plane.adopt(self.leg, self, source=source, now=START)
        self.number = 0
        self.most_at_once = 0

    def send(self, data, addr):
        self.sent.append((self.now, RTPPacket.parse(data)))

    def send_rtcp(self, data, addr):
        """Reports do not matter here."""

    def close(self):
        """Nothing to close."""

    def read(self, until=math.inf):
        while self.number < until and START + WAY + FRAME * self.number <= self.now:
            number = self.number
            payload = number.to_bytes(2, "big") + bytes([0x90]) * 158
            packet = RTPPacket(0, number & 0xFFFF, number * 160, 9, payload)
            self.media.receive(bytes(packet), REMOTE, self.now)
            self.number += 1

    def wake(self, at, count):
        self.now = at
        if self.reads_first:
            self.read(count)
        before = len(self.sent)
        self.plane.tick(at)
        self.most_at_once = max(self.most_at_once, len(self.sent) - before)
        if not self.reads_first:
            self.read(count)

    def run(self, lateness, seconds=20.0, calm=2.0):
        """Let the source speak for `seconds`; ticks come late until `calm` before the end.

        Args:
            lateness: an iterator of seconds by which the next wake-up is late; what should have
                happened meanwhile has not.
        """
        count = round(seconds / FRAME)
        slot = 0
        while slot * TICK < seconds + 0.3:
            slot += 1
            late = next(lateness) if slot * TICK < seconds - calm else 0.0
            self.wake(START + slot * TICK + late, count)
            slot = math.floor((self.now - START) / TICK + 1e-6)
        return count

    def check(self, count, most_late):
        numbers = [number for number, _ in self.leg.heard]
        assert numbers == list(range(count))
        delays = [at - START - FRAME * number for number, at in self.leg.heard]
        assert max(delays) <= most_late + 0.15
        return max(delays[-50:])


def every_third(least, most, seed=2):
    rng = random.Random(seed)
    while True:
        yield from (0.0, 0.0, rng.uniform(least, most))


def now_and_then(length, every=0.7):
    wait = round(every / TICK)
    while True:
        yield from (*[0.0] * wait, length)


def always():
    while True:
        yield 0.0


def test_a_process_with_time_enough_hears_everything_45_ms_later():
    process = Process()
    count = process.run(always())
    assert process.check(count, 0.0) < 0.05
    assert process.most_at_once == 1
    assert not {"skipped", "late", "restarts"} & set(process.media.jitter.counters)


@pytest.mark.parametrize("seed", range(5))
def test_every_third_tick_30_to_60_ms_late_loses_nothing(seed):
    process = Process()
    count = process.run(every_third(0.03, 0.06, seed))
    assert process.check(count, 0.06) < 0.15
    assert process.most_at_once <= 4
    assert not {"skipped", "late", "restarts"} & set(process.media.jitter.counters)


@pytest.mark.parametrize("reads_first", [True, False])
@pytest.mark.parametrize("length", [0.01, 0.03, 0.05, 0.07, 0.08, 0.1, 0.14, 0.2, 0.28])
def test_stalls_lose_nothing_and_leave_no_delay(length, reads_first):
    process = Process(reads_first=reads_first)
    count = process.run(now_and_then(length))
    assert process.check(count, length) <= 0.07
    assert process.most_at_once <= 5
    assert not {"skipped", "late", "restarts"} & set(process.media.jitter.counters)


@pytest.mark.parametrize("length", [0.3, 0.4, 0.5])
def test_what_waits_in_the_socket_after_a_long_stall_is_heard_too(length):
    process = Process()
    count = process.run(now_and_then(length, every=3.0))
    assert process.check(count, length) <= 0.07
    assert process.most_at_once <= 5


def test_ticks_that_come_late_with_the_moments_they_were_due_at():
    """As a wheel makes up for them: in a row, while most packets are still in their sockets."""
    process = Process(reads_first=False)
    count = 1000
    slot = 0
    while slot < 4060:
        stalled = slot % 140 == 139
        process.now = START + TICK * (slot + (13 if stalled else 1))
        process.plane.clock = process.now  # another leg's packet was read
        while START + TICK * (slot + 1) <= process.now + 1e-9:
            slot += 1
            process.plane.tick(START + TICK * slot)
        process.read(count)
    assert process.check(count, 0.06) <= 0.12
    assert not {"skipped", "late", "restarts"} & set(process.media.jitter.counters)


@pytest.mark.parametrize("length", [0.6, 1.0, 5.0])
def test_who_falls_further_behind_than_half_a_second_goes_on_without_delay(length):
    process = Process()
    count = process.run(now_and_then(length, every=6.0), seconds=25.0)
    numbers = [number for number, _ in process.leg.heard]
    assert numbers == sorted(set(numbers))
    delays = [at - START - FRAME * number for number, at in process.leg.heard]
    assert max(delays[-50:]) <= 0.07
    stalls = 4 if length < 5.0 else 2
    assert count - len(numbers) <= stalls * (length / FRAME + 5)
    assert process.most_at_once <= 5


@pytest.mark.parametrize("reads_first", [True, False])
@pytest.mark.parametrize("length", [0.03, 0.05, 0.07])
def test_an_echo_says_everything_back_and_falls_no_further_behind(length, reads_first):
    process = Process(Echoing, reads_first=reads_first)
    count = process.run(now_and_then(length))
    said = [(at, packet) for at, packet in process.sent if set(packet.payload) != {0xFF}]
    levels = np.array([PCMU.decode(packet.payload, 8000)[80] for _, packet in said])
    assert np.round(levels * 10 - 1).astype(int).tolist() == [n % 8 for n in range(count)]
    assert process.leg._playout.queued == 0
    behind = [at - START - FRAME * number for number, (at, _) in enumerate(said)]
    assert max(behind[-50:]) <= 0.09
    assert process.most_at_once <= 5


def test_our_timestamps_follow_the_clock_through_a_stall():
    process = Process()
    process.run(now_and_then(0.2))
    first_at, first = process.sent[0]
    for at, packet in process.sent[-50:]:
        passed = (packet.timestamp - first.timestamp) % 2**32 / 8000
        assert passed == pytest.approx(at - first_at, abs=0.021)
    numbers = [packet.sequence_number for _, packet in process.sent]
    assert set(np.diff(numbers) % 65536) == {1}


def test_a_peer_that_fell_silent_is_not_waited_for():
    process = Process()
    process.run(every_third(0.03, 0.06), seconds=2.0, calm=0.0)
    rng = every_third(0.03, 0.06)
    frames = []
    process.leg.audio_received = lambda *, audio, rms: frames.append(audio.size)
    slot = 460
    while slot < 1460:
        process.wake(START + slot * TICK + next(rng), 0)
        slot = math.floor((process.now - START) / TICK + 1e-6) + 1
    assert sum(frames) / 16000 == pytest.approx(5.0, abs=0.4)
