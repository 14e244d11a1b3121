"""The audio legs, made by hand: no engine, no jitter delay, and a pace of their own."""

import asyncio
import json
import logging

import numpy as np
import pytest

from voip.audio import AudioCall, EchoCall, VoiceActivityCall
from voip.codecs import L16, PCMA, PCMU
from voip.errors import CallEnded, EndCause, NegotiationError
from voip.media.dsp import Resampler, rms
from voip.rtp.packet import RTPPacket
from voip.sdp.types import Attribute, MediaDescription, RTPPayloadFormat
from voip.testing import leg, run_virtual, say_to
from voip.types import HostPort

REMOTE = HostPort("192.0.2.1", 40000)
RATE = 16000


def tone(seconds, level=0.3, rate=8000, hz=440.0):
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sqrt(2) * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def silence(seconds, rate=8000):
    return np.zeros(round(seconds * rate), np.float32)


def section(*formats, attributes=()):
    return MediaDescription("audio", 49170, "RTP/AVP", list(formats), list(attributes))


def named(number, name=None, rate=None, channels=1):
    return RTPPayloadFormat(number, name, rate, channels)


class Hearing(AudioCall):
    def __post_init__(self):
        super().__post_init__()
        self.frames = []
        self.errors = []

    def audio_received(self, *, audio, rms):
        self.frames.append((audio, rms))

    def hook_failed(self, exc):
        self.errors.append(exc)


# The constructor


def test_the_codec_comes_from_the_first_format():
    made = leg(AudioCall, "pcma")
    assert made.codec is PCMA
    assert (made.payload_type, made.sample_rate) == (8, 8000)


def test_the_negotiated_number_counts_and_not_the_codecs_usual_one():
    made = leg(AudioCall, media=section(named(100, "PCMU", 8000)))
    assert made.codec is PCMU
    assert made.payload_type == 100
    assert made.next_rtp_packet(b"x").payload_type == 100


def test_a_clock_rate_that_is_absent_is_8000():
    fmt = named(8, "PCMA", 8000)
    fmt.sample_rate = None
    assert leg(AudioCall, media=section(fmt)).sample_rate == 8000


def test_a_format_without_a_name_is_a_value_error():
    with pytest.raises(ValueError, match="No encoding name for payload type 97"):
        leg(AudioCall, media=section(named(97)))


def test_an_unknown_format_is_not_implemented():
    with pytest.raises(NotImplementedError, match="speex"):
        leg(AudioCall, media=section(named(97, "speex", 8000)))


def test_numbers_begin_at_zero_and_the_source_is_random():
    one, other = leg(AudioCall), leg(AudioCall)
    assert (one.rtp_sequence_number, one.rtp_timestamp) == (0, 0)
    assert one.rtp_ssrc != other.rtp_ssrc
    assert 0 <= one.rtp_ssrc < 2**32


def test_call_started_is_logged_by_the_constructor(caplog):
    caplog.set_level(logging.INFO, "voip.audio")
    leg(AudioCall, "pcma", caller="sip:+15551234567@example.com", call_id="c1")
    (record,) = caplog.records
    assert record.name == "voip.audio"
    assert json.loads(record.getMessage()) == {
        "event": "call_started",
        "caller": "********4567@example.com",
        "call_id": "c1",
        "codec": "pcma",
        "sample_rate": 8000,
        "channels": 1,
        "payload_type": 8,
    }


# Negotiation


def test_the_best_preferred_codec_wins_whatever_the_order_of_the_offer():
    chosen = AudioCall.negotiate_codec(section(named(0), named(8)))
    assert (chosen.port, chosen.proto) == (0, "RTP/AVP")
    assert [fmt.payload_type for fmt in chosen.fmt] == [8]


def test_a_dynamic_format_matches_by_name_without_regard_to_case():
    chosen = AudioCall.negotiate_codec(section(named(0), named(96, "pCmA", 8000)))
    assert chosen.fmt[0].payload_type == 96


def test_a_static_number_wins_over_a_dynamic_one_of_the_same_codec():
    chosen = AudioCall.negotiate_codec(section(named(96, "PCMA", 8000), named(8)))
    assert chosen.fmt[0].payload_type == 8


def test_a_dynamic_number_means_only_what_its_rtpmap_says():
    class Dynamic(PCMU):
        payload_type = 111
        encoding_name = "mine"

    class Mine(AudioCall):
        PREFERRED_CODECS = [Dynamic, PCMU]

    assert Mine.negotiate_codec(section(named(111), named(0))).fmt[0].payload_type == 0
    assert Mine.negotiate_codec(section(named(111, "other"), named(0))).fmt[0].payload_type == 0
    assert Mine.negotiate_codec(section(named(111, "MINE", 8000))).fmt[0].payload_type == 111
    assert leg(Mine, media=section(named(111, "MINE", 8000))).codec is Dynamic


def test_nothing_in_common_lists_both_sides():
    with pytest.raises(
        NotImplementedError, match=r"offered speex, 98; supported .*pcma, pcmu"
    ) as e:
        AudioCall.negotiate_codec(section(named(97, "speex", 8000), named(98)))
    assert isinstance(e.value, NegotiationError)
    with pytest.raises(NotImplementedError, match="offered nothing"):
        AudioCall.negotiate_codec(section())


def test_a_codec_with_another_packet_time_says_so():
    class Mine(AudioCall):
        PREFERRED_CODECS = [L16]

    chosen = Mine.negotiate_codec(section(named(11)))
    assert chosen.value("ptime") == "10"
    assert AudioCall.negotiate_codec(section(named(0))).value("ptime") is None


# Hearing


@pytest.mark.parametrize("codec", ["pcmu", "pcma", "g722", "opus"])
def test_each_packet_is_decoded_before_the_call_returns(codec):
    if codec in ("g722", "opus"):
        pytest.importorskip("av")
    made = leg(Hearing, codec)
    count = say_to(made, tone(0.1, rate=made.codec.sample_rate_hz))
    assert count == len(made.frames) == 5
    assert {(audio.dtype, audio.size) for audio, _ in made.frames} == {(np.dtype("f4"), 320)}
    assert all(level == pytest.approx(rms(audio)) for audio, level in made.frames)


def test_empty_payloads_are_ignored():
    made = leg(Hearing)
    made.packet_received(RTPPacket(0, 0, 0, 1, b""), REMOTE)
    assert made.frames == []


def test_wideband_pcma_is_decoded_at_the_rate_of_the_sdp():
    made = leg(Hearing, media=section(named(97, "PCMA", 16000)))
    assert made.decode_payload(bytes(320)).size == 320
    assert made.codec.sample_rate_hz == 16000
    assert issubclass(made.codec, PCMA)


def test_overrides_on_the_way_are_honoured():
    class Odd(Hearing):
        def decode_payload(self, payload):
            return np.full(4, len(payload), np.float32)

    made = leg(Odd)
    made.packet_received(RTPPacket(0, 0, 0, 1, b"abc"), REMOTE)
    assert made.frames[0][0].tolist() == [3.0] * 4
    made.decode_payload = lambda payload: np.zeros(0, np.float32)
    made.packet_received(RTPPacket(0, 1, 160, 1, b"abc"), REMOTE)
    assert len(made.frames) == 1


async def test_emit_audio_decodes_one_packet():
    made = leg(Hearing)
    await made.emit_audio(RTPPacket(0, 0, 0, 1, bytes(160)))
    await made.emit_audio(RTPPacket(0, 0, 0, 1, b""))
    assert len(made.frames) == 1


def test_an_overridden_emit_audio_is_awaited_in_order_by_one_task():
    class Slow(Hearing):
        async def emit_audio(self, packet):
            await asyncio.sleep(0.5 if packet.sequence_number == 0 else 0.1)
            self.frames.append(packet.sequence_number)
            if packet.sequence_number == 2:
                raise ValueError("two")

    async def main():
        made = leg(Slow)
        for number in range(4):
            made.packet_received(RTPPacket(0, number, 0, 1, bytes(160)), REMOTE)
        names = [task.get_name() for task in made._tasks]
        await asyncio.sleep(1)
        made.packet_received(RTPPacket(0, 9, 0, 1, bytes(160)), REMOTE)
        await asyncio.sleep(1)
        made._end(CallEnded(EndCause.SHUTDOWN))
        await asyncio.sleep(0)
        return made, names

    made, names = run_virtual(main())
    assert names == ["media emit"]
    assert made.frames == [0, 1, 2, 3, 9]
    assert [str(error) for error in made.errors] == ["two"]
    assert not made._tasks


def test_the_queue_of_an_overridden_emit_audio_is_bounded():
    class Slow(Hearing):
        async def emit_audio(self, packet):
            self.frames.append(packet.sequence_number)

    async def main():
        made = leg(Slow)
        for number in range(70):
            made.packet_received(RTPPacket(0, number, 0, 1, bytes(160)), REMOTE)
        await asyncio.sleep(1)
        return made

    made = run_virtual(main())
    assert made.frames == list(range(6, 70))
    assert made.hooks.counters["emit_audio_dropped"] == 6


def test_a_frame_that_stands_in_goes_through_the_same_queue():
    class Slow(Hearing):
        async def emit_audio(self, packet):
            await super().emit_audio(packet)

    async def main():
        made = leg(Slow)
        made._emit_later(RTPPacket(0, 0, 0, 1, bytes(160)))
        made._emit_later(np.zeros(320, np.float32))
        await asyncio.sleep(1)
        return [audio.size for audio, _ in made.frames]

    assert run_virtual(main()) == [320, 320]


# Saying


def sent_times(made):
    """Return when each packet left."""
    times = []
    send = made.rtp.send

    def timed(data, addr):
        times.append(asyncio.get_running_loop().time())
        send(data, addr)

    made.rtp.send = timed
    return times


def test_audio_is_packetised_and_paced_without_drift():
    async def main():
        made = leg(AudioCall)
        times = sent_times(made)
        start = asyncio.get_running_loop().time()
        await made.send_rtp_audio(tone(2.0))
        return made, np.array(times) - start, asyncio.get_running_loop().time() - start

    made, times, took = run_virtual(main())
    packets = made.rtp.packets
    assert len(packets) == 100
    assert times == pytest.approx(np.arange(100) * 0.02)
    assert took == pytest.approx(99 * 0.02)  # when the last packet left
    assert [one.sequence_number for one in packets] == list(range(100))
    assert [one.timestamp for one in packets] == [160 * k for k in range(100)]
    assert {one.ssrc for one in packets} == {made.rtp_ssrc}
    assert {addr for _, addr in made.rtp.sent} == {REMOTE}
    assert (made.rtp_sequence_number, made.rtp_timestamp) == (100, 16000)
    assert made.played_samples == 16000
    assert rms(np.concatenate([PCMU.decode(one.payload, 8000) for one in packets])) == (
        pytest.approx(0.3, rel=0.02)
    )


def test_a_stalled_loop_does_not_make_the_pace_drift():
    async def main():
        made, loop = leg(AudioCall), asyncio.get_running_loop()
        times = sent_times(made)
        start = loop.time()
        sending = asyncio.ensure_future(made.send_rtp_audio(tone(0.4)))
        await asyncio.sleep(0.1)
        loop._now += 0.07  # a hook blocked the loop
        await sending
        return np.array(times) - start

    times = run_virtual(main())
    assert times[-1] == pytest.approx(0.38)
    assert max(np.diff(times)) == pytest.approx(0.07, abs=0.011)


def test_a_loop_that_stood_still_for_long_sends_no_burst():
    async def main():
        made, loop = leg(AudioCall), asyncio.get_running_loop()
        times = sent_times(made)
        sending = asyncio.ensure_future(made.send_rtp_audio(tone(0.4)))
        await asyncio.sleep(0.1)
        loop._now += 5.0
        await sending
        return np.array(times)

    assert min(np.diff(run_virtual(main()))) > 0.015


def test_concurrent_calls_queue_and_the_frames_run_on_across_them():
    async def main():
        made = leg(AudioCall)
        ramps = [np.full(100, level, np.float32) for level in (0.1, 0.2, 0.3, 0.4)]
        await asyncio.gather(*(made.send_rtp_audio(ramp) for ramp in ramps))
        return made

    made = run_virtual(main())
    heard = made.rtp.audio("pcmu", 8000)
    assert len(made.rtp.sent) == 3  # 400 samples, padded once
    said = np.concatenate([np.full(100, level) for level in (0.1, 0.2, 0.3, 0.4)])
    assert heard[:400] == pytest.approx(said, abs=0.01)
    assert made.played_samples == 400


def test_long_audio_waits_for_room_and_others_wait_their_turn():
    async def main():
        made = leg(AudioCall)
        order = []

        async def say(level, seconds):
            await made.send_rtp_audio(np.full(round(seconds * 8000), level, np.float32))
            order.append(level)

        tasks = [asyncio.ensure_future(say(level, 3.0)) for level in (0.1, 0.2)]
        await asyncio.sleep(0.5)
        queued = made._playout.queued
        await asyncio.gather(*tasks)
        return made, order, queued

    made, order, queued = run_virtual(main())
    assert order == [0.1, 0.2]
    assert queued <= 50 * 160
    heard = made.rtp.audio("pcmu", 8000)
    assert heard[:24000] == pytest.approx(0.1, abs=0.01)
    assert heard[24000:48000] == pytest.approx(0.2, abs=0.01)


def test_a_partial_frame_is_padded_when_nothing_follows():
    async def main():
        made = leg(AudioCall)
        await made.send_rtp_audio(tone(0.03))
        await made.send_rtp_audio(tone(0.03))
        await made.send_rtp_audio(np.zeros(0, np.float32))
        return made

    made = run_virtual(main())
    assert len(made.rtp.sent) == 4
    assert made.played_samples == 480


def test_the_timestamp_runs_through_silence_and_the_marker_follows_it():
    async def main():
        made = leg(AudioCall)
        await made.send_rtp_audio(tone(0.04))
        await asyncio.sleep(1.0)
        await made.send_rtp_audio(tone(0.04))
        return made.rtp.packets

    packets = run_virtual(main())
    assert [one.timestamp for one in packets] == [0, 160, 320 + 49 * 160, 480 + 49 * 160]
    assert [one.sequence_number for one in packets] == [0, 1, 2, 3]
    assert [one.marker for one in packets] == [True, False, True, False]


def test_without_a_remote_address_audio_is_dropped_with_a_warning(caplog):
    async def main():
        made = leg(AudioCall, remote=None)
        await made.send_rtp_audio(tone(1.0))
        return made

    made = run_virtual(main())
    assert not made.rtp.sent
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert record.name == "voip.audio"
    assert "dropping audio" in record.getMessage()


def test_cancel_audio_drops_everything_that_waits():
    async def main():
        made = leg(AudioCall)
        tasks = [asyncio.ensure_future(made.send_rtp_audio(tone(3.0))) for _ in range(2)]
        await asyncio.sleep(0.105)
        played = made.played_samples
        first, second = made.cancel_audio(), made.cancel_audio()
        await asyncio.gather(*tasks)
        took = asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        return made, played, first, second, took

    made, played, first, second, took = run_virtual(main())
    assert (first, second) == (True, False)
    assert played == made.played_samples == 6 * 160
    assert len(made.rtp.sent) == 6
    assert took == pytest.approx(1000.105)


def test_whoever_is_cancelled_takes_back_what_has_not_left():
    async def main():
        made = leg(AudioCall)
        first = asyncio.ensure_future(made.send_rtp_audio(np.full(4000, 0.1, np.float32)))
        other = asyncio.ensure_future(made.send_rtp_audio(np.full(800, 0.2, np.float32)))
        await asyncio.sleep(0.05)
        first.cancel()
        await other
        return made, first.cancelled()

    made, cancelled = run_virtual(main())
    assert cancelled
    assert made.played_samples == 3 * 160 + 800


def test_nothing_is_said_after_the_end():
    async def main():
        made = leg(AudioCall)
        sending = asyncio.ensure_future(made.send_rtp_audio(tone(3.0)))
        await asyncio.sleep(0.09)
        made._end(CallEnded(EndCause.REMOTE_HANGUP))
        await sending
        await made.send_rtp_audio(tone(1.0))
        assert not made.play(tone(0.02))
        return len(made.rtp.sent)

    assert run_virtual(main()) == 5


def test_play_queues_at_once_while_there_is_room():
    async def main():
        made = leg(AudioCall)
        taken = [made.play(tone(0.4)) for _ in range(3)]
        await asyncio.sleep(2)
        return made, taken

    made, taken = run_virtual(main())
    assert taken == [True, True, False]
    assert len(made.rtp.sent) == 40


def test_what_is_said_goes_through_overridden_methods():
    class Marked(AudioCall):
        def next_rtp_packet(self, payload):
            packet = super().next_rtp_packet(payload)
            packet.csrc = (7,)
            return packet

        def send_packet(self, packet, addr):
            super().send_packet(packet, HostPort("192.0.2.9", 9000))

    async def main():
        made = leg(Marked)
        await made.send_rtp_audio(tone(0.02))
        return made.rtp

    rtp = run_virtual(main())
    assert rtp.packets[0].csrc == (7,)
    assert rtp.sent[0][1] == HostPort("192.0.2.9", 9000)


def test_next_rtp_packet_counts_without_wrapping_and_wraps_on_the_wire():
    made = leg(AudioCall)
    made.rtp_sequence_number, made.rtp_timestamp, made.rtp_ssrc = 0xFFFF, 0xFFFFFFFF, 5
    first, second = made.next_rtp_packet(b"a"), made.next_rtp_packet(b"b")
    assert (first.sequence_number, first.timestamp, first.marker) == (0xFFFF, 0xFFFFFFFF, False)
    parsed = RTPPacket.parse(bytes(second))
    assert (parsed.sequence_number, parsed.timestamp, parsed.ssrc) == (0, 159, 5)
    assert made.rtp_sequence_number == 0x10001


def test_resampling_keeps_the_object_or_gives_the_rounded_length():
    audio = tone(0.1)
    assert AudioCall.resample(audio, 8000, 8000) is audio
    assert AudioCall.resample(audio, 8000, 16000).size == 1600
    assert AudioCall.resample(audio[:0], 8000, 16000).size == 0


def test_new_media_changes_the_codec_and_keeps_the_stream():
    made = leg(AudioCall)
    made.decode_payload(bytes(160))
    made._playout.push(tone(0.1))
    made._use_media(section(named(0)), 20)
    assert made._decoder is not None
    made._use_media(section(named(96, "PCMA", 16000)), 20)
    assert made.codec.sample_rate_hz == 16000
    assert made.payload_type == 96
    assert made._decoder is None
    assert made._playout.queued == 0
    made._use_media(section(named(0), attributes=[Attribute("ptime", "30")]), None)
    assert made.codec.ptime_ms == 30


# Utterances


class Utterances(VoiceActivityCall):
    def __post_init__(self):
        super().__post_init__()
        self.heard = []
        self.events = []

    async def speech_buffer_ready(self, audio):
        self.heard.append(audio)

    def speech_started(self):
        self.events.append("started")

    def speech_ended(self):
        self.events.append("ended")


class Everything(Utterances):
    PREROLL_SECS = 0.1

    def collect_audio(self, audio, rms):
        return True


def frames(seconds, level=0.3):
    audio = tone(seconds, level, RATE) if level else silence(seconds, RATE)
    return audio.reshape(-1, 320)


def hear(made, audio):
    for frame in audio:
        made.audio_received(audio=frame, rms=rms(frame))


async def live(made, *parts):
    """Hear parts at the pace of a call."""
    for part in parts:
        for frame in part:
            made.audio_received(audio=frame, rms=rms(frame))
            await asyncio.sleep(0.02)


def test_speech_is_collected_and_handed_over_after_the_gap():
    async def main():
        made = leg(Utterances)
        await live(made, frames(0.5, 0), frames(0.4), frames(1.0, 0))
        return made

    made = run_virtual(main())
    assert [audio.size for audio in made.heard] == [6400]
    assert made.heard[0].dtype == np.float32
    assert made.events == ["started", "ended"]
    assert made.speech_buffer == []
    assert made.silence_handle is None


def test_the_flush_is_armed_once_and_off_when_speech_comes_back():
    async def main():
        made = leg(Utterances)
        hear(made, frames(0.2))
        assert made.silence_handle is None
        hear(made, frames(0.02, 0))
        handle = made.silence_handle
        hear(made, frames(0.04, 0))
        assert made.silence_handle is handle
        hear(made, frames(0.02))
        return made, handle

    made, handle = run_virtual(main())
    assert handle.cancelled()
    assert made.silence_handle is None
    assert len(made.speech_buffer) == 11


def test_a_handle_set_by_hand_is_cancelled():
    class Handle:
        cancelled = False

        def cancel(self):
            self.cancelled = True

    made, handle = leg(Utterances), Handle()
    made.silence_handle = handle
    made.on_audio_speech()
    assert handle.cancelled
    assert made.silence_handle is None


def test_silence_alone_arms_nothing():
    made = leg(Utterances)
    made.on_audio_silence()
    hear(made, frames(0.2, 0))
    assert made.silence_handle is None


def test_a_click_is_no_utterance_and_pre_roll_stays():
    async def main():
        made = leg(Everything)
        await live(made, frames(0.3, 0), frames(0.06), frames(0.6, 0))
        return made

    made = run_virtual(main())
    assert made.heard == []
    assert made.events == ["started", "ended"]
    assert 0 < len(made.speech_buffer) <= 5


def test_pre_roll_is_bounded_and_pauses_survive():
    async def main():
        made = leg(Everything)
        await live(made, frames(3.0, 0), frames(0.3), frames(0.2, 0), frames(0.3), frames(0.6, 0))
        return made

    made = run_virtual(main())
    (audio,) = made.heard
    # 0.1 before the onset, 0.8 of words and pause, 0.5 of the gap
    assert audio.size == pytest.approx(1.4 * RATE, abs=640)


def test_frames_put_into_the_buffer_by_hand_count_as_speech():
    async def main():
        made = leg(Utterances)
        made.speech_buffer.extend(frames(0.2))
        made.on_audio_silence()
        await asyncio.sleep(0.6)
        return made.heard

    assert [audio.size for audio in run_virtual(main())] == [3200]


def test_flushing_by_hand_never_drops_and_an_empty_buffer_hands_over_nothing():
    async def main():
        made = leg(Utterances)
        hear(made, frames(0.02))
        hear(made, frames(0.02, 0))
        handle = made.silence_handle
        made.flush_speech_buffer()
        made.flush_speech_buffer()
        await asyncio.sleep(1)
        return made, handle

    made, handle = run_virtual(main())
    assert [audio.size for audio in made.heard] == [320]
    assert handle.cancelled()


def test_collect_audio_asked_from_outside_goes_by_the_threshold():
    made = leg(VoiceActivityCall)
    frame = frames(0.02)[0]
    assert made.collect_audio(frame, 0.2)
    assert not made.collect_audio(frame, 0.0005)


def test_a_changed_threshold_counts_at_once():
    async def main():
        made = leg(Utterances)
        hear(made, frames(0.02, 0.1))
        made.speech_threshold = 0.5
        hear(made, frames(0.02, 0.1))
        return len(made.speech_buffer)

    assert run_virtual(main()) == 1


def test_the_detector_can_be_exchanged():
    class Deaf:
        def update(self, rms, *, made_up=False):
            return False

    class Mine(Utterances):
        def create_detector(self, frame_seconds):
            assert frame_seconds == 0.02
            return Deaf()

    made = leg(Mine)
    hear(made, frames(0.2))
    assert made.events == []
    assert made.speech_buffer == []


def test_a_noisy_line_is_not_speech_for_ever():
    async def main():
        made = leg(Utterances)
        noise = np.random.default_rng(1).normal(0, 0.004, (1500, 320)).astype(np.float32)
        await live(made, noise)
        return made

    made = run_virtual(main())
    assert made.events == ["started", "ended"]
    assert not made._speaking


def test_a_caller_who_never_pauses_is_handed_over_in_pieces():
    class Short(Utterances):
        MAX_SPEECH_SECS = 1.0

    async def main():
        made = leg(Short)
        hear(made, frames(2.5))
        await asyncio.sleep(0.1)
        return made.heard

    assert [round(audio.size / RATE, 2) for audio in run_virtual(main())] == [1.02, 1.02]


def test_silence_collected_for_ever_is_bounded():
    class Short(Everything):
        PREROLL_SECS = None
        MAX_SPEECH_SECS = 1.0

    made = leg(Short)
    hear(made, frames(3.0, 0))
    assert len(made.speech_buffer) == 50


async def test_the_base_does_nothing_with_an_utterance():
    made = leg(VoiceActivityCall)
    assert await made.speech_buffer_ready(tone(0.1)) is None
    made.speech_started()
    made.speech_ended()


def test_utterances_are_handed_over_one_by_one():
    class Slow(Utterances):
        async def speech_buffer_ready(self, audio):
            await asyncio.sleep(5)
            self.heard.append(audio.size)

    async def main():
        made = leg(Slow)
        for seconds in (0.2, 0.4):
            hear(made, frames(seconds))
            made.flush_speech_buffer()
        await asyncio.sleep(6)
        first = list(made.heard)
        await asyncio.sleep(5)
        return first, made.heard

    assert run_virtual(main()) == ([3200], [3200, 6400])


# Echo


def source(*parts):
    return np.concatenate(parts).astype(np.float32)


def echoed(audio, *, settle=2.0, call_class=EchoCall, codec="pcmu"):
    """Return what comes back of `audio` (8 kHz), said at the pace of a call."""

    async def main():
        made = leg(call_class, codec)
        for start in range(0, audio.size, 160):
            say_to(made, audio[start : start + 160])
            await asyncio.sleep(0.02)
        for _ in range(round(settle / 0.02)):
            say_to(made, silence(0.02))
            await asyncio.sleep(0.02)
        return made

    made = run_virtual(main())
    return made, made.rtp.audio(codec, 8000)


def best_match(needle, hay):
    """Return the highest correlation of `needle` with any stretch of `hay`."""
    dots = np.correlate(hay, needle, "valid")
    energy = np.convolve(hay**2, np.ones(needle.size), "valid")
    return float(np.max(dots / np.sqrt(energy * np.sum(needle**2) + 1e-12)))


def chirp(seconds, low, high, rise=0.0, fall=0.0):
    time = np.arange(round(seconds * 8000)) / 8000
    audio = 0.2 * np.sin(2 * np.pi * (low * time + (high - low) * time**2 / (2 * seconds)))
    if rise:
        audio[: round(rise * 8000)] *= np.linspace(0, 1, round(rise * 8000))
    if fall:
        audio[-round(fall * 8000) :] *= np.logspace(0, -2.2, round(fall * 8000))
    return audio.astype(np.float32)


def frames_missing(said, heard):
    """Return which 20 ms frames of `said` above -45 dBFS have no counterpart in `heard`."""
    missing = []
    for number, start in enumerate(range(0, said.size - 159, 160)):
        frame = said[start : start + 160]
        if 20 * np.log10(rms(frame) + 1e-9) > -45 and best_match(frame, heard) < 0.9:
            missing.append(number)
    return missing


def test_every_loud_frame_comes_back_though_the_utterance_begins_abruptly_and_trails():
    said = source(chirp(1.0, 300, 1500, fall=0.4), silence(0.3), chirp(0.6, 2500, 1700, rise=0.1))
    _, heard = echoed(source(said, silence(1.0)))
    assert frames_missing(said, heard) == []


def test_the_echo_keeps_pre_roll_pauses_and_tail():
    word = chirp(0.4, 300, 1500)
    made, heard = echoed(source(silence(1.0), word, silence(0.3), word, silence(1.0)))
    # 0.2 + 0.4 + 0.3 + 0.4 + 0.2, and what the filters add
    assert heard.size / 8000 == pytest.approx(1.5, abs=0.06)
    assert len({one.ssrc for one in made.rtp.packets}) == 1


def test_what_is_said_while_the_echo_plays_comes_after_it():
    first, second = chirp(2.0, 300, 1500), chirp(1.0, 2500, 1700)
    said = source(first, silence(0.8), second, silence(1.0))
    _, heard = echoed(said, settle=4.0)
    assert frames_missing(said, heard) == []
    assert heard.size / 8000 == pytest.approx(2.2 + 1.4, abs=0.15)


def test_a_click_just_before_a_word_is_not_lost_with_its_pre_roll():
    async def main():
        made = leg(EchoCall)
        hear(made, frames(0.04))
        hear(made, frames(0.1, 0))
        made._gap_over()
        return made

    made = run_virtual(main())
    assert len(made.speech_buffer) == 7
    made.on_audio_silence()
    assert made.silence_handle is None


def test_the_cut_tail_leads_the_next_utterance():
    async def main():
        made = leg(EchoCall)
        hear(made, frames(0.3))
        hear(made, frames(0.5, 0))
        made.flush_speech_buffer()
        await asyncio.sleep(1)
        return made

    made = run_virtual(main())
    assert len(made.rtp.sent) == 25
    assert len(made.speech_buffer) == 10
    assert made._lead_frames == 10


def test_echo_works_at_other_rates():
    pytest.importorskip("av")
    up = Resampler(8000, 16000)
    said = up.process(source(chirp(0.6, 300, 1500), silence(1.0)))

    async def main():
        made = leg(EchoCall, "g722")
        say_to(made, said)  # at once: the kit's encoder has a state of its own per call
        await asyncio.sleep(3)
        return made.rtp.audio("g722", 8000)

    assert best_match(chirp(0.6, 300, 1500)[800:3200], run_virtual(main())) > 0.95
