"""The jitter buffer, driven by a seeded network in media time."""

import itertools
import random
import time
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.media.jitter import Gap, JitterBuffer, JitterSettings
from voip.rtp.packet import RTPPacket

STEP = 160
FRAME = 0.02
START = 65_500  # sequence numbers wrap within the first packets
START_TICKS = 0xFFFF_FF00


def packet(number, *, step=STEP, ssrc=7, ticks=None, first=START, first_ticks=START_TICKS):
    ticks = number * step if ticks is None else ticks
    return RTPPacket(
        payload_type=0,
        sequence_number=(first + number) & 0xFFFF,
        timestamp=(first_ticks + ticks) & 0xFFFF_FFFF,
        ssrc=ssrc,
        payload=number.to_bytes(4, "big", signed=True),
    )


def number_of(played):
    return (
        int.from_bytes(played.payload, "big", signed=True)
        if isinstance(played, RTPPacket)
        else played
    )


@dataclass
class Network:
    """A seeded path of packets, and a receiver that pops every 20 ms.

    Attributes:
        loss: probability that a packet is lost; with `burst`, the probability that a burst begins.
        burst: mean length of a burst of losses (Gilbert model), 1 for independent losses.
        jitter: most extra delay in seconds, evenly spread.
        duplicates: probability that a packet comes twice.
        skew: how much faster the sender's clock runs, as a fraction.
        stalls: (begin, end) in seconds: what would arrive in between arrives at the end.
    """

    loss: float = 0.0
    burst: float = 1.0
    jitter: float = 0.0
    duplicates: float = 0.0
    skew: float = 0.0
    stalls: tuple = ()
    phase: float = 0.011
    seed: int = 1

    def arrivals(self, packets):
        rng = random.Random(self.seed)
        lost = False
        out = []
        for index, sent in packets:
            lost = rng.random() < (1 - 1 / self.burst if lost else self.loss)
            if lost:
                continue
            at = sent / (1 + self.skew) + rng.random() * self.jitter
            for begin, end in self.stalls:
                if begin <= at < end:
                    at = end
            out.append((at, index))
            if rng.random() < self.duplicates:
                out.append((at + rng.random() * 0.05, index))
        out.sort(key=lambda entry: entry[0])
        return out

    def run(self, seconds, buffer=None, *, make=packet, sent=None, quiet=False):
        """Return what was popped, the waits of what was played, and the buffer."""
        buffer = buffer or JitterBuffer(8000, STEP)
        buffer.quiet = quiet
        sent = sent or [(n, n * FRAME) for n in range(round(seconds / FRAME * (1 + self.skew)))]
        queue = self.arrivals(sent)
        popped, waits, arrived, at = [], [], {}, 0
        for tick in range(round(seconds / FRAME)):
            now = tick * FRAME + self.phase
            while at < len(queue) and queue[at][0] <= now:
                when, number = queue[at]
                arrived.setdefault(number, when)
                buffer.push(make(number), when)
                at += 1
            popped.append(number_of(buffer.pop()))
            if not isinstance(popped[-1], Gap):
                waits.append((popped[-1], now - arrived[popped[-1]]))
        return popped, waits, buffer


def played(popped):
    return [entry for entry in popped if not isinstance(entry, Gap)]


def test_a_clean_stream_comes_out_frame_exact():
    popped, waits, buffer = Network().run(60)
    assert popped[:2] == [Gap.FILLING, Gap.FILLING]
    assert popped[2:] == list(range(len(popped) - 2))
    assert max(wait for _, wait in waits) < 0.06
    assert buffer.counters == {"received": 3000}
    assert buffer.delay == pytest.approx(0.04)


@pytest.mark.parametrize("jitter", [0.005, 0.015, 0.02])
@pytest.mark.parametrize("phase", [0.0, 0.005, 0.0199])
def test_jitter_below_the_least_delay_never_slips(jitter, phase):
    popped, _, buffer = Network(jitter=jitter, phase=phase).run(120)
    heard = [entry for entry in popped if entry is not Gap.FILLING]
    assert heard == list(range(heard[0], heard[0] + len(heard)))
    assert heard[0] == 0
    assert not {"late", "lost", "skipped", "inserted"} & set(buffer.counters)


def test_a_lost_packet_costs_its_own_frame_and_no_delay():
    sent = [(n, n * FRAME) for n in range(500) if n not in (100, 200, 201)]
    popped, waits, buffer = Network().run(10, sent=sent)
    expected = [Gap.LOST if n in (100, 200, 201) else n for n in range(498)]
    assert popped[2:] == expected
    assert len({round(wait, 6) for _, wait in waits}) == 1
    assert buffer.counters["lost"] == 3


def test_reordered_packets_come_out_in_order():
    buffer = JitterBuffer(8000, STEP)
    order = [0, 2, 1, 3, 5, 4]
    for number in order:
        buffer.push(packet(number), number * FRAME)
    popped = [number_of(buffer.pop()) for _ in range(8)]
    assert popped[2:] == [0, 1, 2, 3, 4, 5]
    assert buffer.counters["reordered"] == 2


def test_duplicates_are_dropped_before_and_after_their_frame_was_played():
    buffer = JitterBuffer(8000, STEP)
    buffer.push(packet(0), 0.0)
    buffer.push(packet(0), 0.0)
    buffer.push(packet(1), 0.02)
    for _ in range(3):
        buffer.pop()
    buffer.push(packet(0), 0.06)
    buffer.push(packet(2), 0.06)
    assert [number_of(buffer.pop()) for _ in range(2)] == [1, 2]
    assert buffer.counters["duplicate"] == 2
    assert "late" not in buffer.counters


@pytest.mark.parametrize("jitter", [0.12, 0.2, 0.3])
def test_jitter_beyond_the_delay_grows_it_until_few_are_late(jitter):
    popped, _, buffer = Network(jitter=jitter).run(60)
    second_half = popped[len(popped) // 2 :]
    assert sum(entry is Gap.LOST for entry in second_half) < 0.03 * len(second_half)
    assert 0.6 * jitter <= buffer.delay <= jitter + 0.06
    assert played(popped) == sorted(set(played(popped)))


def test_delay_shrinks_again_when_the_jitter_is_over():
    calm = [(n, n * FRAME) for n in range(6000)]
    rng = random.Random(3)
    rough = [(n, t + (rng.random() * 0.15 if 5 < t < 25 else 0)) for n, t in calm]
    _, _, buffer = Network().run(90, sent=rough, quiet=True)
    assert buffer.counters["inserted"] >= 2
    assert buffer.delay <= 0.06


@pytest.mark.parametrize("skew", [200e-6, -200e-6])
def test_an_hour_with_a_skewed_clock_keeps_the_delay_within_one_frame(skew):
    _, waits, buffer = Network(skew=skew, jitter=0.004).run(3600)
    delays = [wait for _, wait in waits]
    # The phase between arrival and pop moves by a frame as the clocks drift past each other.
    assert max(delays) <= 0.04 + 2 * FRAME + 0.005
    assert min(delays) >= 0.04 - FRAME - 0.005
    moved = buffer.counters["skipped"] + buffer.counters["inserted"]
    assert 30 <= moved <= 40  # 0.72 s in 20 ms
    assert buffer.counters["late"] <= 2


def test_corrections_come_at_most_once_a_second():
    popped, _, _ = Network(skew=0.02).run(60)
    gaps = [
        index
        for index in range(3, len(popped))
        if isinstance(popped[index], int)
        and isinstance(popped[index - 1], int)
        and popped[index] != popped[index - 1] + 1
    ]
    assert gaps
    assert all(later - earlier >= 50 for earlier, later in itertools.pairwise(gaps))


@pytest.mark.parametrize("loss", [0.05, 0.15, 0.3])
def test_bursts_of_loss_leave_order_and_delay_alone(loss):
    network = Network(loss=loss / 3, burst=3.0, jitter=0.01, duplicates=0.02)
    popped, waits, buffer = network.run(120)
    assert played(popped) == sorted(set(played(popped)))
    assert max(wait for _, wait in waits) < 0.09
    assert not {"skipped", "inserted", "restarts"} & set(buffer.counters)
    arrived = {number for _, number in network.arrivals([(n, n * FRAME) for n in range(5990)])}
    assert len(arrived - set(played(popped))) <= 3


def test_a_stall_of_the_network_adds_no_lasting_delay():
    popped, waits, buffer = Network(stalls=((10.0, 10.3),)).run(30)
    assert waits[-1][1] == pytest.approx(waits[0][1])
    assert "restarts" not in buffer.counters
    assert sum(entry in (Gap.LOST, Gap.EMPTY) for entry in popped) < 20


def test_a_long_stall_adds_no_lasting_delay():
    _, waits, _ = Network(stalls=((10.0, 12.0),)).run(30)
    assert waits[-1][1] == pytest.approx(waits[0][1])


def test_a_longer_way_is_followed_within_a_tenth_of_a_second():
    sent = [(n, n * FRAME + (0.2 if n >= 500 else 0.0)) for n in range(1500)]
    popped, waits, buffer = Network().run(30, sent=sent)
    assert waits[-1][1] == pytest.approx(0.04, abs=0.021)
    assert sum(entry not in range(1500) for entry in popped) < 20
    assert buffer.counters["late"] <= 3


def test_a_pause_of_the_sender_is_silence_and_not_loss():
    spurts = [(n, n * FRAME) for n in range(100)] + [(n, n * FRAME + 3.0) for n in range(100, 200)]

    def make(number):
        ticks = number * STEP + (24000 if number >= 100 else 0)
        return packet(number, ticks=ticks)

    popped, waits, buffer = Network().run(8, sent=spurts, make=make)
    assert played(popped) == list(range(200))
    pause = popped[popped.index(99) + 1 : popped.index(100)]
    assert len(pause) == 150
    assert set(pause[5:]) == {Gap.EMPTY}
    assert len({round(wait, 6) for _, wait in waits}) == 1
    assert buffer.counters["lost"] <= 2 * 5


def test_a_short_pause_that_is_known_by_then_is_no_loss():
    buffer = JitterBuffer(8000, STEP, JitterSettings(least_delay=0.1))
    for number in range(4):
        buffer.push(packet(number, ticks=number * STEP + (STEP * 3 if number >= 2 else 0)), 0.0)
    popped = [number_of(buffer.pop()) for _ in range(12)]
    assert popped[5:] == [0, 1, Gap.EMPTY, Gap.EMPTY, Gap.EMPTY, 2, 3]
    assert "lost" not in buffer.counters


def test_a_sender_whose_timestamps_stood_still_is_heard_again_after_three_packets():
    sent = [(n, n * FRAME + (5.0 if n >= 200 else 0.0)) for n in range(500)]
    popped, waits, buffer = Network().run(16, sent=sent)
    after = [entry for entry in played(popped) if entry >= 200]
    assert after[0] <= 202
    assert after == list(range(after[0], 500))
    assert buffer.counters["restarts"] == 1
    assert waits[-1][1] == pytest.approx(0.04, abs=0.021)


@pytest.mark.parametrize(
    "jump", [1 << 31, (1 << 31) - 1, -(1 << 31), 16000, 8000, -8000, 160 * 400]
)
def test_a_jump_of_the_timestamp_starts_a_new_timeline(jump):
    def make(number):
        return packet(number, ticks=number * STEP + (jump if number >= 200 else 0))

    popped, waits, _ = Network().run(10, make=make)
    after = [entry for entry in played(popped) if entry >= 200]
    assert after[0] <= 204
    assert after == list(range(after[0], after[0] + len(after)))
    assert waits[-1][1] < 0.1


@pytest.mark.parametrize("jump", [3001, 20000, 40000, -103, -2000])
def test_a_jump_of_the_sequence_number_needs_two_packets(jump):
    buffer = JitterBuffer(8000, STEP)
    for number in range(10):
        buffer.push(packet(number), number * FRAME)
        buffer.pop()
    buffer.push(packet(10 + jump), 0.2)
    assert buffer.counters["suspect"] == 1
    assert len(buffer) == 2
    buffer.push(packet(11 + jump), 0.22)
    assert buffer.counters["restarts"] == 1
    assert [number_of(buffer.pop()) for _ in range(4)][2:] == [10 + jump, 11 + jump]


def test_single_wild_packets_do_not_disturb_the_stream():
    buffer = JitterBuffer(8000, STEP)
    popped = []
    for number in range(100):
        buffer.push(packet(number), number * FRAME)
        if number % 10 == 5:
            buffer.push(packet(number + 5000), number * FRAME)
        popped.append(number_of(buffer.pop()))
    assert popped[2:] == list(range(98))


def test_a_gap_in_the_sequence_wider_than_the_memory_of_duplicates():
    buffer = JitterBuffer(8000, STEP)
    buffer.push(packet(0), 0.0)
    for _ in range(203):
        buffer.pop()
    buffer.push(packet(200), 4.0)
    buffer.push(packet(201), 4.02)
    buffer.push(packet(201), 4.02)
    assert buffer.counters["duplicate"] == 1
    assert [number_of(buffer.pop()) for _ in range(2)][-1] in (200, 201, Gap.LOST)


def test_a_new_ssrc_starts_anew():
    buffer = JitterBuffer(8000, STEP)
    for number in range(5):
        buffer.push(packet(number), number * FRAME)
        buffer.pop()
    buffer.push(packet(0, ssrc=8, first=9, first_ticks=5), 0.1)
    popped = [number_of(buffer.pop()) for _ in range(3)]
    assert popped[2] == 0
    assert Gap.FILLING not in popped
    assert buffer.counters["restarts"] == 1


@pytest.mark.parametrize("step", [80, 240, 320])
def test_the_packet_time_of_the_peer_is_learnt(step):
    buffer = JitterBuffer(8000, STEP)
    for number in range(5):
        buffer.push(packet(number, step=step), number * step / 8000)
    assert buffer.frame_ticks == step
    popped = []
    for number in range(5, 200):
        buffer.push(packet(number, step=step), number * step / 8000)
        popped.append(number_of(buffer.pop()))
    assert played(popped) == list(range(played(popped)[0], 200 - (200 - 1 - played(popped)[-1])))
    assert buffer.frame_ticks == step


def test_one_odd_step_changes_no_packet_time():
    buffer = JitterBuffer(8000, STEP)
    ticks = 0
    for number in range(30):
        buffer.push(packet(number, ticks=ticks), ticks / 8000)
        buffer.pop()
        ticks += 240 if number % 3 == 0 else STEP
    buffer.push(packet(30, ticks=ticks + 8000), ticks / 8000)
    assert buffer.frame_ticks == STEP


def test_a_grid_that_moved_by_part_of_a_frame_is_followed():
    def make(number):
        return packet(number, ticks=number * STEP + (80 if number >= 100 else 0))

    popped, _, buffer = Network().run(5, make=make)
    assert played(popped) == list(range(248))
    assert "lost" not in buffer.counters


def test_memory_is_bounded_whatever_comes():
    buffer = JitterBuffer(8000, STEP, JitterSettings(most_ahead=10.0))
    for number in range(10_000):
        buffer.push(packet(number), 0.0)
    assert len(buffer) <= 100
    assert buffer.counters["overflow"] > 0


def test_ten_thousand_early_packets_restart_instead_of_piling_up():
    buffer = JitterBuffer(8000, STEP)
    for number in range(10_000):
        buffer.push(packet(number), 0.0)
    assert len(buffer) <= 25


@pytest.mark.parametrize("told", [True, False])
def test_who_pops_late_and_says_so_shrinks_no_delay(told):
    buffer = JitterBuffer(8000, STEP)
    popped = []
    for number in range(1200):
        missed = max(0, number % 40 - 29)  # nobody pops while the last ten of forty come
        buffer.push(packet(number), number * FRAME, missed * STEP if told else 0)
        if not missed:
            popped.append(number_of(buffer.pop()))
        elif missed == 10:
            popped += [number_of(buffer.pop()) for _ in range(10)]
    assert (popped[2:] == list(range(1198))) is told
    assert ("skipped" in buffer.counters) is not told


def test_a_new_timeline_leaves_room_for_what_is_still_to_be_popped():
    buffer = JitterBuffer(8000, STEP)
    buffer.push(packet(0), 0.0, 3 * STEP)
    assert buffer.timeline == 1
    assert buffer.surplus == 3 * STEP
    assert [number_of(buffer.pop()) for _ in range(6)] == [Gap.FILLING] * 5 + [0]
    buffer.push(packet(0, ssrc=8), 0.1)
    assert buffer.timeline == 2
    assert buffer.surplus == 0
    buffer.push(packet(1, ssrc=8), 0.1)
    assert buffer.surplus == STEP


def test_nothing_pushed_gives_filling_for_ever():
    buffer = JitterBuffer(8000, STEP)
    assert {buffer.pop() for _ in range(10)} == {Gap.FILLING}
    assert len(buffer) == 0


def test_the_end_of_a_stream_is_concealed_and_then_silent():
    buffer = JitterBuffer(8000, STEP)
    for number in range(3):
        buffer.push(packet(number), 0.0)
    popped = [buffer.pop() for _ in range(15)]
    assert popped[5:10] == [Gap.LOST] * 5
    assert set(popped[10:]) == {Gap.EMPTY}


@pytest.mark.parametrize(("clock", "ticks"), [(0, 160), (8000, 0), (-1, 160)])
def test_rates_are_positive(clock, ticks):
    with pytest.raises(ValueError, match="positive"):
        JitterBuffer(clock, ticks)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 2), st.integers(0, 3)
        ),
        max_size=200,
    )
)
def test_any_headers_keep_the_bounds(headers):
    buffer = JitterBuffer(8000, STEP)
    for sequence, timestamp, ssrc, pops in headers:
        buffer.push(RTPPacket(0, sequence, timestamp, ssrc, b"x"), 0.0)
        for _ in range(pops):
            buffer.pop()
        assert len(buffer) <= 100


def test_the_cost_per_packet_does_not_depend_on_what_the_header_says():
    buffer = JitterBuffer(8000, STEP)
    rng = random.Random(5)
    wild = [RTPPacket(0, rng.getrandbits(16), rng.getrandbits(32), 7, b"x") for _ in range(5000)]
    begin = time.thread_time()
    for entry in wild:
        buffer.push(entry, 0.0)
        buffer.pop()
    assert (time.thread_time() - begin) / len(wild) < 100e-6
