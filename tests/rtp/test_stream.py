from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.rtp.packet import RTPPacket
from voip.rtp.stream import MAX_STREAMS, ReceiveStream, ReceiveStreams, SendStatistics


def packet(number, ssrc=1, timestamp=None, payload=b"x" * 160):
    ticks = number * 160 if timestamp is None else timestamp
    return RTPPacket(0, number & 0xFFFF, ticks & 0xFFFFFFFF, ssrc, payload)


def fed(numbers, clock_rate_hz=8000, start=0.0):
    """A stream that has received these numbers, 20 ms apart."""
    stream = ReceiveStream(1, clock_rate_hz)
    for step, number in enumerate(numbers):
        stream.receive(packet(number), start + 0.02 * step)
    return stream


# RFC 3550 §A.1


def test_two_packets_in_order_make_a_source_valid():
    stream = ReceiveStream(1, 8000)
    assert not stream.receive(packet(5), 0)
    assert not stream.is_valid
    assert (stream.expected, stream.lost) == (0, 0)
    assert stream.receive(packet(6), 0.02)
    assert stream.is_valid
    assert (stream.received, stream.expected, stream.highest) == (2, 2, 6)


def test_probation_begins_anew_with_every_gap():
    stream = ReceiveStream(1, 8000)
    assert [stream.receive(packet(n), 0) for n in (5, 7, 9, 10)] == [False, False, False, True]


@pytest.mark.parametrize("first", [0, 65534, 65535, 40000])
def test_numbers_run_on_through_every_wrap(first):
    stream = fed([*range(first, first + 10), *range(first + 10, first + 200_000, 100)])
    assert stream.expected == 199_911
    assert stream.highest & 0xFFFF == (first + 199_910) & 0xFFFF
    assert stream.restarts == 0


def test_losses_are_what_did_not_come():
    stream = fed([1, 2, 3, 7, 8, 12])
    assert (stream.expected, stream.received, stream.lost) == (12, 6, 6)


def test_reordering_is_no_loss_and_duplicates_count_against_it():
    assert fed([1, 2, 4, 3, 6, 5]).lost == 0
    assert fed([1, 2, 3, 3, 3]).lost == -2


@pytest.mark.parametrize("jump", [3000, 30_000, -200, -30_000])
def test_one_packet_far_away_is_dropped(jump):
    stream = fed([1000, 1001])
    assert not stream.receive(packet(1001 + jump), 1)
    assert stream.receive(packet(1002), 1.02)
    assert (stream.highest, stream.restarts) == (1002, 0)


@pytest.mark.parametrize("jump", [3000, 30_000, -200, -30_000])
def test_two_in_a_row_far_away_are_a_restart(jump):
    stream = fed([40_000, 40_001])
    assert not stream.receive(packet(40_001 + jump), 1)
    assert stream.receive(packet(40_002 + jump), 1.02)
    assert stream.receive(packet(40_003 + jump), 1.04)
    assert (stream.restarts, stream.lost, stream.received) == (1, 0, 2)


def test_late_packets_are_taken_less_than_a_hundred_behind():
    stream = fed([1000, 1001])
    assert stream.receive(packet(1001 - 99), 1)
    assert not stream.receive(packet(1001 - 100), 1)


# §A.8


def test_an_even_stream_has_no_jitter():
    assert fed(range(500)).jitter_ticks == pytest.approx(0, abs=1e-6)


def test_jitter_settles_at_the_mean_difference():
    stream = ReceiveStream(1, 8000)
    for number in range(2000):  # every second packet comes 5 ms late
        stream.receive(packet(number), number * 0.02 + 0.005 * (number % 2))
    assert stream.jitter_s == pytest.approx(0.005, rel=0.01)


@pytest.mark.parametrize("start", [0.0, 27 * 86400.0, 49.7 * 86400.0, 10 * 365 * 86400.0])
def test_neither_uptime_nor_wraps_make_jitter(start):
    stream = ReceiveStream(1, 48000)
    for number in range(200):
        ticks = (1 << 32) - 50_000 + number * 960
        stream.receive(packet(number, timestamp=ticks), start + number * 0.02)
    assert stream.jitter_ticks < 0.1


def test_reports_on_one_key_press_are_not_late():
    stream = fed(range(10))
    for number in range(10, 30):
        stream.receive(packet(number, timestamp=1600), number * 0.02)
    assert stream.jitter_ticks < 1


# §A.3


def test_a_report_tells_what_was_lost_since_the_last():
    stream = fed([0, 1, 2, 3, 8, 9])
    block = stream.report(1.0)
    assert (block.ssrc, block.fraction_lost, block.cumulative_lost) == (1, 4 * 256 // 10, 4)
    assert (block.highest_sequence, block.last_sender_report, block.delay_since_last) == (9, 0, 0)
    assert stream.report(1.0).fraction_lost == 0
    stream.receive(packet(14), 1)
    block = stream.report(2.0)
    assert (block.fraction_lost, block.cumulative_lost) == (4 * 256 // 5, 8)


def test_duplicates_do_not_make_a_negative_fraction():
    assert fed([0, 1, 1, 1]).report(1).fraction_lost == 0


def test_a_report_carries_the_last_sender_report():
    stream = fed([0, 1])
    stream.sender_report(0x1122334455667788, 10.0)
    block = stream.report(10.5)
    assert (block.last_sender_report, block.delay_since_last) == (0x33445566, 32768)


# Several sources (G3, G4)


def run(streams, script):
    """Feed (number, ssrc) 20 ms apart; return the numbers that were delivered, by source."""
    heard = []
    for step, (number, ssrc) in enumerate(script):
        heard += [
            (one.sequence_number, one.ssrc)
            for one in streams.receive(packet(number, ssrc), 0.02 * step)
        ]
    return heard


def test_the_first_packet_is_held_and_lost_to_nobody():
    streams = ReceiveStreams(8000)
    assert run(streams, [(1, 1), (2, 1), (3, 1)]) == [(1, 1), (2, 1), (3, 1)]
    assert streams.active is streams.get(1)


def test_packets_of_the_right_source_far_away_reach_nobody():
    streams = ReceiveStreams(8000)
    assert run(streams, [(1, 1), (2, 1), (9000, 1), (3, 1)]) == [(1, 1), (2, 1), (3, 1)]
    assert streams.counters["rtp_sequence"] == 1


def test_alternating_sources_do_not_disturb_the_one_that_is_heard():
    script = [(step // 2, 1 + step % 2) for step in range(400)]
    heard = run(ReceiveStreams(8000), script)
    assert heard == [(number, 1) for number in range(200)]


def test_a_new_source_each_packet_costs_four_entries():
    streams = ReceiveStreams(8000)
    script = [(1, 1), (2, 1)] + [item for n in range(3, 100) for item in ((n, 1), (7, 100 + n))]
    heard = run(streams, script)
    assert heard == [(number, 1) for number in range(1, 100)]
    assert sum(streams.get(100 + n) is not None for n in range(3, 100)) == MAX_STREAMS - 1
    assert streams.counters["rtp_ssrc_table"] > 0


def test_a_new_source_waits_for_half_a_second_of_silence():
    streams = ReceiveStreams(8000)
    run(streams, [(1, 1), (2, 1)])
    times = [n * 0.02 for n in range(1, 60)]
    heard = [now for n, now in enumerate(times) if streams.receive(packet(n, 2), 0.02 + now)]
    assert heard[0] == pytest.approx(0.5)
    assert len(heard) == len([now for now in times if now >= 0.5])
    assert streams.counters["rtp_ssrc"] == 23
    assert streams.counters["rtp_ssrc_changed"] == 1


def test_after_a_reinvite_a_new_source_is_heard_at_once():
    streams = ReceiveStreams(8000)
    run(streams, [(1, 1), (2, 1)])
    streams.renegotiated(0.03)
    assert streams.receive(packet(1, 2), 0.04) == ()
    assert [one.sequence_number for one in streams.receive(packet(2, 2), 0.06)] == [1, 2]
    assert streams.receive(packet(1, 3), 0.08) == streams.receive(packet(2, 3), 0.1) == ()


def test_the_door_that_a_reinvite_opens_closes_again():
    streams = ReceiveStreams(8000)
    run(streams, [(1, 1), (2, 1)])
    streams.renegotiated(0.03)
    streams.receive(packet(3), 2.5)
    assert streams.receive(packet(1, 2), 2.5) == streams.receive(packet(2, 2), 2.52) == ()


def test_stale_sources_make_room():
    streams = ReceiveStreams(8000)
    run(streams, [(1, ssrc) for ssrc in range(1, 5)])
    assert streams.receive(packet(1, 9), 1) == ()
    assert streams.get(9) is None
    streams.receive(packet(1, 9), 5)
    assert len(streams.receive(packet(2, 9), 5.02)) == 2


def test_a_valid_source_that_waits_may_lose_its_place_in_the_sequence():
    streams = ReceiveStreams(8000)
    run(streams, [(1, 1), (2, 1), (1, 2), (2, 2)])
    assert streams.receive(packet(20_000, 2), 5) == ()


def test_a_reinvite_may_change_the_clock():
    streams = ReceiveStreams(8000)
    run(streams, [(1, 1), (2, 1)])
    streams.renegotiated(1, 48000)
    assert streams.get(1).clock_rate_hz == streams.clock_rate_hz == 48000
    streams.renegotiated(1, 48000)


def test_reports_are_for_valid_sources():
    streams = ReceiveStreams(8000)
    run(streams, [(1, 1), (2, 1), (1, 2)])
    assert [block.ssrc for block in streams.reports(1)] == [1]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 6), st.floats(0, 3)
        ),
        max_size=60,
    )
)
def test_any_packets_leave_sane_figures(script):
    streams = ReceiveStreams(8000)
    now = 0.0
    for number, ticks, ssrc, pause in script:
        now += pause
        for one in streams.receive(packet(number, ssrc, ticks), now):
            assert one.ssrc == streams.active.ssrc
        for block in streams.reports(now):
            assert len(bytes(block)) == 24
            assert 0 <= block.fraction_lost <= 255


# What we sent


def test_send_statistics():
    sent = SendStatistics()
    assert (sent.last, sent.rtp_timestamp(5, 8000)) == (None, 0)
    sent.sent(packet(1), 1.0)
    sent.sent(packet(2), 1.02)
    assert (sent.packets, sent.octets, sent.last) == (2, 320, 1.02)
    assert sent.rtp_timestamp(1.52, 8000) == 320 + 4000


def test_a_report_from_a_tick_before_the_sender_report_has_no_negative_delay():
    stream = ReceiveStream(1, 8000)
    stream.sender_report(1 << 32, 10.0)
    assert stream.report(9.99).delay_since_last == 0
