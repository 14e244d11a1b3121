"""The playout: the only writer of sequence, timestamp and marker."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.codecs import PCMU
from voip.media.playout import Playout, Ticket
from voip.rtp.packet import RTPPacket


def made(**options):
    return Playout(0, PCMU, ssrc=5, **options)


def ramp(size, start=0):
    return (np.arange(start, start + size) / 8000).astype(np.float32)


def drain(playout):
    frames = []
    while (frame := playout.take()) is not None:
        frames.append(frame)
    return frames


def test_an_empty_queue_has_no_frame_and_sends_nothing():
    playout = made()
    assert playout.take() is None
    assert playout.tick() is None
    assert playout.timestamp == 160
    assert playout.sequence_number == 0


def test_a_frame_per_tick_with_sequence_timestamp_and_marker():
    playout = made()
    playout.push(ramp(480))
    packets = [playout.tick() for _ in range(4)]
    assert packets[3] is None
    assert [one.sequence_number for one in packets[:3]] == [0, 1, 2]
    assert [one.timestamp for one in packets[:3]] == [0, 160, 320]
    assert [one.marker for one in packets[:3]] == [True, False, False]
    assert [len(one.payload) for one in packets[:3]] == [160] * 3
    assert playout.played_samples == 480


def test_timestamps_run_through_silence_and_the_marker_follows_the_pause():
    playout = made()
    playout.push(ramp(160))
    first = playout.tick()
    for _ in range(10):
        assert playout.tick() is None
    playout.push(ramp(160))
    second = playout.tick()
    assert (first.timestamp, second.timestamp) == (0, 11 * 160)
    assert second.marker
    assert second.sequence_number == 1


def test_silence_is_sent_on_demand_and_does_not_count_as_played():
    playout = made()
    quiet = playout.tick(silence=True)
    assert set(PCMU.decode(quiet.payload, 8000).tolist()) == {0.0}
    playout.push(ramp(160))
    assert not playout.tick(silence=True).marker  # the stream never paused
    assert playout.played_samples == 160


def test_silence_of_a_codec_with_memory_runs_through_its_encoder():
    class Counting(PCMU):
        @classmethod
        def encode(cls, samples):
            cls.frames = getattr(cls, "frames", 0) + 1
            assert samples.shape == (160,)
            assert not samples.any()
            return bytes([cls.frames]) * 160

    playout = Playout(0, Counting, ssrc=5)
    assert [playout.tick(silence=True).payload[0] for _ in range(3)] == [1, 2, 3]


def test_a_partial_frame_waits_for_the_next_piece():
    playout = made()
    playout.push(ramp(100))
    playout.push(ramp(100, 100))
    first, second = drain(playout)
    assert first.tolist() == ramp(160).tolist()
    assert second[:40].tolist() == ramp(40, 160).tolist()
    assert not second[40:].any()
    assert playout.played_samples == 200


@given(st.lists(st.integers(0, 400), max_size=12))
def test_whatever_the_pieces_the_samples_come_out_in_order(sizes):
    playout = made(limit_frames=100)
    audio, at = ramp(sum(sizes)), 0
    for size in sizes:
        assert playout.push(audio[at : at + size]) == size
        at += size
    frames = drain(playout)
    out = np.concatenate([np.zeros(0, np.float32), *frames])
    assert out[: audio.size].tolist() == audio.tolist()
    assert out.size - audio.size < 160
    assert playout.played_samples == audio.size
    assert playout.queued == 0


def test_the_queue_is_bounded_and_tells_when_to_push_on():
    playout = made(limit_frames=4)
    assert playout.push(ramp(1000)) == 640
    assert playout.push(ramp(10)) == 0
    assert playout.room == 0
    assert not playout.low
    playout.changed = False
    playout.take()
    assert not playout.changed
    playout.take()
    assert playout.changed
    assert playout.low


def test_a_piece_is_taken_whole_or_not_at_all():
    playout = made(limit_frames=2)
    assert playout.offer(ramp(200))
    assert not playout.offer(ramp(121))
    assert playout.offer(ramp(120, 200))
    assert playout.offer(ramp(0))
    assert not playout.offer(ramp(1))
    assert np.concatenate(drain(playout)).tolist() == ramp(320).tolist()
    assert playout.clear() is False


def test_a_ticket_follows_what_its_caller_pushed():
    playout, one, other = made(), Ticket(), Ticket()
    playout.push(ramp(200), one)
    playout.push(ramp(200), other)
    playout.take()
    assert (one.pending, other.pending) == (40, 200)
    playout.take()
    assert (one.pending, other.pending) == (0, 80)
    assert playout.changed


def test_clearing_forgets_everything_and_keeps_the_position():
    playout, ticket = made(), Ticket()
    playout.push(ramp(400), ticket)
    playout.take()
    assert playout.clear()
    assert (playout.queued, ticket.pending, ticket.cancelled) == (0, 0, True)
    assert playout.played_samples == 160
    assert playout.take() is None
    assert not playout.clear()


def test_dropping_a_ticket_leaves_the_others():
    playout, one, other = made(), Ticket(), Ticket()
    playout.push(ramp(240), one)
    playout.push(ramp(160, 1000), other)
    playout.push(ramp(100), one)
    playout.take()
    playout.drop(one)
    assert one.cancelled
    assert playout.queued == 160
    assert drain(playout)[0].tolist() == ramp(160, 1000).tolist()
    playout.drop(one)


def test_dropping_the_other_keeps_the_place_in_the_first():
    playout, one, other = made(), Ticket(), Ticket()
    playout.push(ramp(320), one)
    playout.push(ramp(160), other)
    playout.take()
    playout.drop(other)
    assert drain(playout)[0].tolist() == ramp(160, 160).tolist()


def test_a_stream_begins_at_random_numbers():
    playout = made()
    playout.begin(lambda size: bytes(range(0xF0, 0xF0 + size)))
    packet = playout.stamp(b"x")
    assert packet.ssrc == 0xF0F1F2F3
    assert packet.sequence_number == 0x74F5
    assert packet.timestamp == 0xF6F7F8F9


def test_numbers_count_without_wrapping_and_wrap_on_the_wire():
    playout = made()
    playout.sequence_number, playout.timestamp = 0xFFFF, 0xFFFFFFFF
    playout.stamp(b"a")
    packet = RTPPacket.parse(bytes(playout.stamp(b"b")))
    assert (packet.sequence_number, packet.timestamp) == (0, 159)
    assert playout.sequence_number == 0x10001


def test_another_codec_takes_over_with_its_own_frames():
    playout = made()
    fmt = PCMU.to_payload_format()
    playout.use(PCMU.for_format(fmt, ptime_ms=10))
    playout.push(ramp(160))
    assert [len(playout.tick().payload) for _ in range(2)] == [80, 80]
    assert playout.timestamp == 160


@pytest.mark.parametrize("frames", [1, 7])
def test_skipping_lets_packet_times_pass(frames):
    playout = made()
    playout.stamp(b"x")
    playout.skip(frames)
    assert playout.timestamp == 160 * (1 + frames)
    assert playout.next_payload(silence=True)[1]
