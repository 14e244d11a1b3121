"""The inline plane, tick by tick and without a clock."""

import asyncio
import itertools
import random

import numpy as np
import pytest

from voip.audio import AudioCall, EchoCall, VoiceActivityCall
from voip.codecs import PCMA, PCMU
from voip.errors import CallEnded, EndCause
from voip.media.dsp import rms
from voip.media.plane import InlinePlane, PlaneSettings
from voip.rtp.call import RTPCall
from voip.rtp.packet import RTPPacket
from voip.rtp.rtcp import Goodbye, ReceiverReport, SenderReport, parse_compound, serialise
from voip.rtp.source import RemoteSource, SourceRules
from voip.sdp.negotiation import Agreement
from voip.sdp.types import MediaDescription, RTPPayloadFormat
from voip.testing import leg, run_virtual
from voip.types import HostPort

REMOTE = HostPort("192.0.2.1", 40000)
RTCP = HostPort("192.0.2.1", 40001)
START = 1000.0


class Link:
    """A socket that remembers."""

    def __init__(self, rig):
        self.rig = rig
        self.sent = []
        self.rtcp = []
        self.closed = 0

    def send(self, data, addr):
        self.sent.append((self.rig.now, RTPPacket.parse(data), addr))

    def send_rtcp(self, data, addr):
        self.rtcp.append((self.rig.now, parse_compound(data), addr))

    def close(self):
        self.closed += 1

    @property
    def packets(self):
        return [packet for _, packet, _ in self.sent]

    @property
    def times(self):
        return np.array([at for at, _, _ in self.sent]) - START

    def audio(self, codec=PCMU):
        return np.concatenate([codec.decode(one.payload, 8000) for one in self.packets])


class Hearing(AudioCall):
    """A leg that keeps what it heard and what failed."""

    def __post_init__(self):
        super().__post_init__()
        self.frames = []
        self.errors = []

    def audio_received(self, *, audio, rms):
        self.frames.append((audio, rms))

    def hook_failed(self, exc):
        self.errors.append(exc)


class Rig:
    """One leg on a plane, with a peer that sends from its own clock."""

    def __init__(
        self, call_class=Hearing, *, source="sdp", agreement=None, settings=None, **fields
    ):
        self.now = START
        self.plane = InlinePlane(random.Random(3).randbytes, settings)
        self.link = Link(self)
        self.leg = leg(call_class, **fields)
        if source == "sdp":
            source = RemoteSource(
                SourceRules("learn", REMOTE, REMOTE.host, frozenset({0, 101}), RTCP)
            )
        self.media = self.plane.adopt(
            self.leg, self.link, source=source, agreement=agreement, now=self.now
        )
        self.number = 0

    def packet(self, payload=None, *, ssrc=9, number=None, payload_type=0, marker=False):
        number = self.number if number is None else number
        payload = bytes([0x90 + number % 16]) * 160 if payload is None else payload
        return RTPPacket(payload_type, number & 0xFFFF, number * 160, ssrc, payload, marker)

    def receive(self, packet=None, addr=REMOTE, **options):
        if packet is None:
            packet = self.packet(**options)
            self.number += 1
        self.media.receive(bytes(packet), addr, self.now)

    def lose(self):
        self.number += 1

    def tick(self, count=1):
        for _ in range(count):
            self.now += 0.005
            self.plane.tick(self.now)

    def run(self, seconds, *, sending=False):
        """Let time pass; a packet comes every 20 ms, 3 ms before a tick."""
        for number in range(round(seconds / 0.005)):
            if sending and number % 4 == 0:
                self.receive()
            self.tick()


def agreed(codec=PCMU, **changes):
    section = MediaDescription("audio", 0, "RTP/AVP", [codec.to_payload_format()])
    options = {
        "index": 0,
        "media": section,
        "remote": REMOTE,
        "remote_rtcp": RTCP,
        "rtcp_mux": False,
        "send": True,
        "receive": True,
        "payload_types": frozenset({codec.payload_type}),
    }
    return Agreement(**{**options, **changes})


# The pace


def test_the_first_frame_leaves_after_a_packet_time_and_then_one_every_packet_time():
    rig = Rig()
    rig.run(1.0)
    assert rig.link.times[0] == pytest.approx(0.02)
    assert np.diff(rig.link.times) == pytest.approx(0.02)
    packets = rig.link.packets
    assert len(packets) == 50
    assert [one.marker for one in packets] == [True] + [False] * 49
    numbers = np.array([(one.sequence_number, one.timestamp) for one in packets])
    assert set(np.diff(numbers[:, 0])) == {1}
    assert set(np.diff(numbers[:, 1])) == {160}
    assert not rig.link.audio().any()


def test_numbers_and_source_are_random_once_adopted():
    rig = Rig()
    drawn = random.Random(3).randbytes(10)
    assert rig.leg.rtp_ssrc == int.from_bytes(drawn[:4], "big")
    assert rig.leg.rtp_timestamp == int.from_bytes(drawn[6:], "big")
    assert 0 < rig.leg.rtp_sequence_number < 0x8000


def test_a_leg_that_ends_before_anything_came_has_made_no_more_than_it_needed():
    drawn = []
    plane = InlinePlane(lambda size: drawn.append(size) or bytes(size))
    made = leg(AudioCall)
    media = plane.adopt(made, Link(None), agreement=agreed(), now=START)
    plane.release(media)
    made._end(CallEnded(EndCause.REMOTE_HANGUP))
    assert drawn == [10]  # our source and where its numbers start
    assert media._jitter is media._rtcp is media._sent is made._decoder is None
    assert made._playout._encoder is None


@pytest.mark.parametrize(("ptime_ms", "count"), [(10, 100), (20, 50), (30, 33), (40, 25)])
def test_other_packet_times_are_kept(ptime_ms, count):
    rig = Rig(agreement=agreed(ptime_ms=ptime_ms))
    rig.run(1.0)
    assert len(rig.link.sent) == pytest.approx(count, abs=1)
    assert np.diff(rig.link.times) == pytest.approx(ptime_ms / 1000)


def test_a_leg_is_due_in_the_slot_that_follows_its_arrivals():
    rig = Rig()
    rig.tick(5)  # sent at 20 ms, due again at 40
    rig.receive()
    rig.receive()  # the second proves the source
    rig.tick()  # 30 ms: the slot after the arrival
    assert rig.link.times == pytest.approx([0.02, 0.03])
    rig.run(0.2)
    assert np.diff(rig.link.times)[1:] == pytest.approx(0.02)


def test_an_arrival_before_the_first_frame_makes_it_due_at_once():
    rig = Rig()
    rig.tick()
    rig.receive()
    rig.receive()
    rig.run(0.1)
    assert rig.link.times[0] == pytest.approx(0.01)
    assert np.diff(rig.link.times) == pytest.approx(0.02)


def test_a_call_that_is_over_within_a_packet_time_sends_nothing():
    rig = Rig()
    rig.tick(3)
    rig.plane.release(rig.media)
    rig.run(0.1)
    assert not rig.link.sent
    assert not rig.link.rtcp


def test_legs_are_spread_over_the_slots():
    rig, links = Rig(), []
    for _ in range(4):
        links.append(Link(rig))
        source = RemoteSource(SourceRules("strict", REMOTE, REMOTE.host))
        rig.plane.adopt(leg(AudioCall), links[-1], source=source, now=rig.now)
        rig.tick()
    rig.run(0.1)
    assert {round(link.times[-1] / 0.005) % 4 for link in links} == {0, 1, 2, 3}


def test_a_leg_of_another_packet_time_keeps_its_own():
    rig = Rig(agreement=agreed())
    link = Link(rig)
    source = RemoteSource(SourceRules("strict", REMOTE, REMOTE.host))
    fast = agreed(ptime_ms=10)
    rig.plane.adopt(leg(AudioCall), link, source=source, agreement=fast, now=rig.now)
    rig.run(1.0)
    assert (len(rig.link.sent), len(link.sent)) == (50, 100)
    rig.media.update(agreed(ptime_ms=30), rig.now)
    rig.run(0.9)
    assert len(rig.link.sent) == 80
    assert rig.plane.deadline().at == pytest.approx(rig.now + 0.01, abs=0.0051)


def test_a_plane_that_slept_sends_no_burst_and_goes_on():
    rig = Rig(settings=PlaneSettings(first_media_timeout=None))
    rig.run(0.1)
    before = len(rig.link.sent)
    rig.now += 600.0
    rig.plane.tick(rig.now)
    assert len(rig.link.sent) - before <= 1
    rig.run(0.1)
    assert len(rig.link.sent) - before == pytest.approx(5, abs=1)


def test_a_few_ticks_that_were_swallowed_are_made_up_for():
    rig = Rig()
    rig.now += 0.07
    rig.plane.tick(rig.now)
    assert len(rig.link.sent) == 3


def test_the_deadline_is_when_the_next_leg_is_due():
    rig = Rig()
    assert rig.plane.deadline().at == pytest.approx(START + 0.02)
    rig.tick(4)
    assert rig.plane.deadline().at == pytest.approx(START + 0.04)
    rig.plane.release(rig.media)
    assert rig.plane.deadline() is None


# Hearing


def test_a_clean_stream_comes_out_frame_by_frame():
    rig = Rig()
    rig.run(2.0, sending=True)
    assert len(rig.leg.frames) >= 96
    assert {audio.size for audio, _ in rig.leg.frames} == {320}
    levels = [round(level, 4) for _, level in rig.leg.frames[20:52]]
    assert levels[:16] == levels[16:]
    assert rig.media.jitter.counters["lost"] == 0
    assert all(level == pytest.approx(rms(audio)) for audio, level in rig.leg.frames)


def test_nothing_is_heard_before_the_first_packet():
    rig = Rig()
    rig.run(1.0)
    assert rig.leg.frames == []


def test_loss_is_concealed_and_then_silence_comes_at_frame_rate():
    class Noting(Hearing):
        def audio_received(self, *, audio, rms):
            self.frames.append((self._made_up, rms))

    rig = Rig(Noting)
    rig.run(0.5, sending=True)
    heard = len(rig.leg.frames)
    rig.run(2.0)
    assert len(rig.leg.frames) - heard == pytest.approx(100, abs=2)
    assert rig.leg.frames[-1] == (True, 0.0)
    made_up = [level for was, level in rig.leg.frames if was]
    assert made_up[0] > 0.0  # concealment first
    assert not rig.leg._made_up


def test_a_lost_packet_is_concealed_in_its_place():
    rig = Rig()
    rig.run(0.5, sending=True)
    rig.lose()
    rig.run(0.5, sending=True)
    assert rig.media.jitter.counters["lost"] == 1
    assert len(rig.leg.frames) >= 46


def test_peers_with_other_packet_times_are_heard():
    rig = Rig()
    for number in range(40):
        data = bytes(RTPPacket(0, number, number * 240, 9, bytes([0x90]) * 240))
        rig.media.receive(data, REMOTE, rig.now)
        rig.tick(6)
    assert rig.media.jitter.frame_ticks == 240
    samples = sum(audio.size for audio, _ in rig.leg.frames)
    assert samples / 16000 == pytest.approx(1.2, abs=0.15)
    assert {audio.size for audio, _ in rig.leg.frames[-20:]} == {480}


def test_what_is_no_audio_does_not_reach_the_decoder():
    rig = Rig(agreement=with_events())
    rig.run(0.2, sending=True)
    heard = rig.media.jitter.counters["received"]
    for number in range(20, 24):
        rig.receive(RTPPacket(101, number, 9999, 9, bytes(4)))
    assert rig.media.jitter.counters["received"] == heard
    assert rig.media.counters["rtp_not_audio"] == 4


def with_events(**changes):
    base = agreed(payload_types=frozenset({0, 101}), **changes)
    base.media.fmt.append(RTPPayloadFormat(101, "telephone-event", 8000))
    return base


def test_malformed_packets_and_strangers_are_counted_and_not_heard():
    rig = Rig()
    rig.media.receive(b"\x80\x00", REMOTE, rig.now)
    for _ in range(20):
        rig.receive(addr=HostPort("198.51.100.1", 40000))
    rig.run(0.2)
    assert rig.media.counters["rtp_malformed"] == 1
    assert rig.leg.frames == []
    assert rig.media.remote == REMOTE


def test_a_wrong_source_of_the_right_address_is_not_heard():
    rig = Rig()
    rig.run(0.4, sending=True)
    got = rig.media.jitter.counters["received"]
    for number in range(50):
        rig.receive(RTPPacket(0, 5000 + number, 77777, 1234, bytes(160)))
        rig.receive(RTPPacket(0, 40000 + number * 7, 1, 9, bytes(160)))
    assert rig.media.jitter.counters["received"] == got


def test_a_flood_is_cut_to_four_times_the_packet_rate():
    rig = Rig()
    for _ in range(100):  # 2000 packets a second, for one second
        for _ in range(20):
            rig.receive()
        rig.tick(2)
    assert rig.media.counters["rtp_over_rate"] >= 2000 - 250 - 1
    assert rig.media.jitter.counters["received"] <= 251  # 4 x 50 a second, and the burst
    rig.tick(200)  # it is over: the stream is heard as before
    before = rig.media.counters["rtp_over_rate"]
    rig.run(1, sending=True)
    assert rig.media.counters["rtp_over_rate"] == before


def test_a_flood_of_other_sources_costs_the_real_one_nothing():
    rig = Rig()
    rig.run(0.2, sending=True)
    for step in range(50):
        for number in range(40):
            rig.receive(RTPPacket(0, step * 40 + number, 0, 1000 + number % 3, bytes(160)))
            rig.receive(
                RTPPacket(0, step * 40 + number, 0, 9, bytes(160)), HostPort("192.0.2.1", 40009)
            )
        rig.run(0.02, sending=True)
    assert "rtp_over_rate" not in rig.media.counters
    assert rig.media.jitter.counters["received"] == 60


def test_a_second_of_packets_that_a_stall_held_back_is_taken():
    rig = Rig()
    rig.run(0.2, sending=True)
    rig.now += 1.0
    for _ in range(50):
        rig.receive()
    assert "rtp_over_rate" not in rig.media.counters


def test_packets_held_while_an_address_is_learnt_are_delivered():
    seen = []

    class Counting(Hearing):
        def packet_received(self, packet, addr):
            seen.append(packet.sequence_number)
            super().packet_received(packet, addr)

    rig = Rig(Counting)
    other = HostPort(REMOTE.host, 5555)
    for _ in range(12):
        rig.receive(addr=other)
        rig.tick(4)
    assert seen == list(range(12))
    assert rig.media.remote == other
    assert rig.link.sent[-1][2] == other


def test_encrypted_packets_are_decrypted_first():
    class Keys:
        def protect(self, data):
            return data

        def unprotect(self, data):
            return data[::-1]

    rig = Rig(srtp=Keys())
    for _ in range(3):
        rig.media.receive(bytes(rig.packet())[::-1], REMOTE, rig.now)
        rig.number += 1
    assert rig.media.jitter.counters["received"] == 3
    rig.run(8)
    assert rig.link.rtcp == []  # nothing in the clear


def test_overridden_methods_are_honoured_and_patched_ones_too():
    class Odd(Hearing):
        def decode_payload(self, payload):
            return np.full(320, 0.25, np.float32)

    rig = Rig(Odd)
    rig.run(0.3, sending=True)
    assert rig.leg.frames[0][1] == pytest.approx(0.25)
    patched = []
    rig.leg.audio_received = lambda *, audio, rms: patched.append(rms)
    rig.leg.send_packet = lambda packet, addr: patched.append(packet)
    rig.run(0.1, sending=True)
    assert {type(one) for one in patched} == {float, RTPPacket}


def test_a_decoder_that_gives_nothing_is_no_frame():
    class Mute(Hearing):
        def decode_payload(self, payload):
            return np.zeros(0, np.float32)

    rig = Rig(Mute)
    rig.run(0.3, sending=True)
    assert rig.leg.frames == []


def test_an_overridden_emit_audio_takes_the_slow_path_in_order():
    class Slow(Hearing):
        async def emit_audio(self, packet):
            self.frames.append(packet.sequence_number)

    async def main():
        rig = Rig(Slow)
        for _ in range(20):
            rig.receive()
            rig.tick(4)
            await asyncio.sleep(0)
        rig.tick(40)
        await asyncio.sleep(0)
        rig.leg._end(CallEnded(EndCause.SHUTDOWN))
        return rig.leg.frames

    frames = run_virtual(main())
    assert frames[:18] == list(range(18))
    assert isinstance(frames[-1], tuple)  # what stands in for packets comes in the same order


# Failing hooks


def test_a_failing_hook_is_counted_and_the_call_goes_on():
    class Failing(Hearing):
        def audio_received(self, *, audio, rms):
            super().audio_received(audio=audio, rms=rms)
            if len(self.frames) % 10:
                raise ValueError("no")

    rig = Rig(Failing)
    rig.run(2.0, sending=True)
    assert len(rig.leg.frames) > 90
    assert rig.leg.hooks.counters["failed"] == len(rig.leg.errors) > 80
    assert rig.leg.hooks.in_a_row["audio_received"] < 10
    assert len(rig.link.sent) == 100


@pytest.mark.parametrize("name", ["packet_received", "decode_payload", "send_packet"])
def test_fifty_failures_in_a_row_end_the_call_and_fewer_do_not(name):
    def fail(self, *args):
        if self.failing:
            raise ValueError(name)
        return getattr(AudioCall, name)(self, *args)

    class Failing(Hearing):
        failing = True

    setattr(Failing, name, fail)

    async def main():
        rig = Rig(Failing)
        for _ in range(2):
            for _ in range(40):
                rig.receive()
                rig.tick(4)
            rig.leg.failing = False
            for _ in range(10):
                rig.receive()
                rig.tick(4)
            rig.leg.failing = True
        survived = rig.leg._ended is None
        for _ in range(60):
            rig.receive()
            rig.tick(4)
        await asyncio.sleep(1)
        return survived, rig

    survived, rig = run_virtual(main())
    assert survived
    assert rig.leg._ended.cause is EndCause.HOOK_FAILED
    assert rig.media.is_closed
    assert rig.link.closed == 1


def test_a_leg_that_ends_in_its_own_hook_is_left_alone():
    class Leaving(Hearing):
        def audio_received(self, *, audio, rms):
            self.frames.append(audio)
            self._end(CallEnded(EndCause.LOCAL_HANGUP))

    rig = Rig(Leaving)
    rig.run(0.5, sending=True)
    assert len(rig.leg.frames) == 1
    count = len(rig.link.sent)
    rig.receive()
    rig.run(0.5)
    assert len(rig.link.sent) == count


# Saying


def test_what_is_played_leaves_at_the_pace_of_packets():
    rig = Rig()
    rig.run(0.1)
    tone = np.full(800, 0.1, np.float32)
    assert rig.leg.play(tone)
    rig.run(0.2)
    heard = rig.link.audio()
    assert heard[5 * 160 : 10 * 160] == pytest.approx(0.1, abs=0.01)
    assert not heard[10 * 160 :].any()
    assert rig.leg.played_samples == 800
    assert np.diff(rig.link.times) == pytest.approx(0.02)


def test_send_rtp_audio_returns_when_its_last_packet_left():
    async def main():
        rig = Rig()
        sending = asyncio.ensure_future(rig.leg.send_rtp_audio(np.full(20000, 0.1, np.float32)))
        ticks = 0
        while not sending.done():
            rig.tick()
            ticks += 1
            for _ in range(4):
                await asyncio.sleep(0)
        return rig, ticks

    rig, ticks = run_virtual(main())
    assert ticks == 4 * 125
    assert rig.leg.played_samples == 20000
    assert rig.link.audio() == pytest.approx(0.1, abs=0.01)


def test_before_the_ack_what_is_said_leaves_and_silence_waits():
    rules = SourceRules("learn", REMOTE, REMOTE.host, acknowledged=False)
    rig = Rig(source=RemoteSource(rules))
    rig.run(0.1)
    assert rig.link.sent == []
    rig.leg.play(np.full(320, 0.25, np.float32))
    rig.run(0.1)
    assert [packet.marker for packet in rig.link.packets] == [True, False]
    assert rms(rig.link.audio()) > 0.2
    rig.media.source.rules.acknowledged = True
    rig.run(0.1)
    assert len(rig.link.sent) == 7
    stamps = [packet.timestamp for packet in rig.link.packets]
    assert [after - before for before, after in itertools.pairwise(stamps)] == (
        [160] + [160 * 4] + [160] * 4
    )


def test_a_column_of_samples_is_played_as_a_row():
    rig = Rig()
    assert rig.leg.play(np.full((160, 1), 0.25, np.float32))
    rig.run(0.02)
    assert rms(rig.link.audio()) > 0.2
    assert not rig.leg.errors


def test_where_nobody_is_one_packet_a_second_asks_again():
    rig = Rig()
    rig.run(0.11)
    before = len(rig.link.sent)
    rig.media.unreachable(HostPort(REMOTE.host, 9), rig.now)  # another address: no matter
    rig.run(0.1)
    assert len(rig.link.sent) == before + 5
    for _ in range(3):
        rig.media.unreachable(REMOTE, rig.now)
        rig.leg.play(np.full(160, 0.25, np.float32))
        before = len(rig.link.sent)
        rig.run(0.99)
        assert len(rig.link.sent) == before
        rig.run(0.03)
        assert len(rig.link.sent) == before + 1
    assert not rig.leg._playout.queued  # what was said to nobody is not said later
    assert rig.media.source.counters["rtp_unreachable"] == 3


def test_the_first_packet_that_comes_ends_the_rest():
    rig = Rig()
    rig.run(0.1, sending=True)
    rig.media.unreachable(REMOTE, rig.now)
    before = len(rig.link.sent)
    rig.run(0.1)
    assert len(rig.link.sent) == before
    rig.receive()
    rig.run(0.1)
    assert len(rig.link.sent) == before + 5


def test_without_silence_only_keep_alives_leave():
    rig = Rig(settings=PlaneSettings(keep_alive=2.0), send_silence=False)
    rig.run(9.0)
    assert rig.link.times == pytest.approx([2.005, 4.005, 6.005, 8.005], abs=0.006)
    assert all(one.marker for one in rig.link.packets)
    assert rig.link.packets[1].timestamp - rig.link.packets[0].timestamp == 16000


def test_clearing_tells_whether_something_was_playing():
    rig = Rig()
    assert not rig.media.clear()
    rig.leg.play(np.ones(8000, np.float32))
    rig.run(0.1)
    assert rig.media.clear()
    assert rig.leg.played_samples == 5 * 160


def test_nobody_is_sent_to_before_an_address_is_known():
    rig = Rig(source=RemoteSource(SourceRules("learn", None, REMOTE.host)))
    rig.leg.play(np.ones(480, np.float32))
    rig.run(0.2)
    assert rig.link.sent == []
    assert rig.leg._playout.queued == 0
    assert rig.leg.remote_address is None


def test_a_packet_sent_by_hand_goes_where_media_goes():
    rig = Rig()
    rig.media.send(rig.packet())
    assert rig.link.sent[0][2] == REMOTE
    rig.media.source = RemoteSource(SourceRules("strict"))
    rig.media.send(rig.packet())
    assert len(rig.link.sent) == 1


def test_the_codec_of_the_agreement_counts():
    rig = Rig(agreement=agreed(PCMA))
    rig.run(0.1)
    assert rig.leg.codec is PCMA
    assert {one.payload_type for one in rig.link.packets} == {8}


# Hold and change


def test_hold_stops_both_ways_and_resume_brings_them_back():
    rig = Rig(agreement=agreed())
    rig.run(0.5, sending=True)
    rig.media.update(agreed(send=False, receive=False), rig.now)
    heard, sent = len(rig.leg.frames), len(rig.link.sent)
    stamp = rig.leg.rtp_timestamp
    rig.run(1.0, sending=True)
    assert (len(rig.leg.frames), len(rig.link.sent)) == (heard, sent)
    assert rig.leg.rtp_timestamp == pytest.approx(stamp + 8000, abs=320)
    rig.media.update(agreed(), rig.now)
    rig.run(0.5, sending=True)
    assert len(rig.leg.frames) > heard + 20
    assert len(rig.link.sent) > sent + 20
    assert rig.link.packets[sent].marker


def test_media_time_passes_on_hold_and_ends_the_utterance():
    class Utterance(VoiceActivityCall):
        heard = None

        def speech_buffer_ready(self, audio):
            self.heard = audio.size

    rig = Rig(Utterance, agreement=agreed())
    rig.run(0.4, sending=True)
    rig.run(0.12)
    rig.leg.on_audio_silence()
    assert rig.leg.silence_handle is not None
    rig.media.update(agreed(receive=False), rig.now)
    rig.run(0.6)
    assert rig.leg.heard


def test_another_codec_takes_over_in_the_middle():
    rig = Rig(agreement=agreed())
    rig.run(0.3, sending=True)
    ssrc = rig.leg.rtp_ssrc
    rig.media.update(agreed(PCMA), rig.now)
    sent = len(rig.link.sent)
    for _ in range(20):
        rig.receive(payload_type=8)
        rig.tick(4)
    assert rig.leg.codec is PCMA
    assert {one.payload_type for one in rig.link.packets[sent:]} == {8}
    assert {one.ssrc for one in rig.link.packets} == {ssrc}
    assert rig.leg.frames[-1][1] > 0


def test_a_new_source_is_heard_at_once_after_a_re_invite():
    rig = Rig(agreement=agreed())
    rig.run(0.5, sending=True)
    rig.media.update(agreed(), rig.now)
    heard = len(rig.leg.frames)
    for number in range(10):
        rig.receive(RTPPacket(0, 700 + number, 160 * number, 77, bytes([0x90]) * 160))
        rig.tick(4)
    assert rig.media.streams.active.ssrc == 77
    assert any(level > 0.1 for _, level in rig.leg.frames[heard:])


def test_stop_and_start_hold_media_without_an_agreement():
    rig = Rig()
    rig.run(0.2, sending=True)
    rig.media.stop()
    sent, heard = len(rig.link.sent), len(rig.leg.frames)
    rig.run(0.5, sending=True)
    assert (len(rig.link.sent), len(rig.leg.frames)) == (sent, heard)
    rig.media.start()
    rig.run(0.5, sending=True)
    assert len(rig.link.sent) > sent
    assert rig.media.describe() is rig.leg.media


# Timers in media time


def test_timers_run_in_media_time_and_can_be_cancelled():
    rig, fired = Rig(), []
    rig.media.call_later(0.1, lambda: fired.append(rig.now - START))
    rig.media.call_later(0.1, lambda: fired.append("never")).cancel()
    rig.media.call_later(0.2, lambda: fired.append(1 / 0))
    rig.run(0.5)
    assert fired == [pytest.approx(0.1)]
    assert [type(error) for error in rig.leg.errors] == [ZeroDivisionError]
    assert rig.media._timers == []


def test_a_timer_cancelled_by_another_in_the_same_slot_does_not_fire():
    rig, fired = Rig(), []
    timers = []
    timers.append(rig.media.call_later(0.1, lambda: timers[1].cancel()))
    timers.append(rig.media.call_later(0.1, lambda: fired.append("second")))
    rig.run(0.3)
    assert fired == []


def test_an_echo_comes_back_in_media_time():
    async def main():
        rig = Rig(EchoCall)
        for number in range(260):
            loud = number < 50
            payload = PCMU.encode(np.full(160, 0.2 if loud else 0.0, np.float32))
            rig.receive(rig.packet(payload))
            rig.number += 1
            rig.tick(4)
            for _ in range(6):
                await asyncio.sleep(0)
        rig.leg._end(CallEnded(EndCause.SHUTDOWN))
        return rig

    rig = run_virtual(main())
    loud = np.abs(rig.link.audio()) > 0.1
    assert loud.sum() / 8000 == pytest.approx(1.0, abs=0.03)


# RTCP


def test_reports_are_sent_and_read():
    rig = Rig()
    rig.run(8.0, sending=True)
    at, packets, addr = rig.link.rtcp[0]
    assert addr == RTCP
    assert at - START < 8.0
    report = packets[0]
    assert isinstance(report, SenderReport)
    assert report.ssrc == rig.leg.rtp_ssrc
    assert report.packet_count == pytest.approx((at - START) * 50, abs=2)
    assert report.octet_count == report.packet_count * 160
    assert report.reports[0].ssrc == 9
    answer = serialise([ReceiverReport(9, ())])
    rig.media.receive_rtcp(answer, RTCP, rig.now)
    rig.media.receive_rtcp(b"\x00", RTCP, rig.now)
    rig.media.receive_rtcp(answer, HostPort("198.51.100.1", 1), rig.now)
    assert rig.media.counters["rtcp_malformed"] == 1


def test_the_last_report_says_goodbye():
    rig = Rig()
    rig.run(1.0, sending=True)
    rig.plane.release(rig.media)
    rig.plane.release(rig.media)
    _, packets, _ = rig.link.rtcp[-1]
    assert isinstance(packets[-1], Goodbye)
    assert len(rig.link.rtcp) == 1


def test_no_goodbye_is_sent_to_a_far_end_that_has_left():
    rig = Rig(agreement=agreed())
    rig.run(0.1, sending=True)
    rig.media.far_end_left()
    rig.media.close()
    assert rig.link.sent
    assert rig.link.rtcp == []


def test_rtcp_shares_the_port_where_that_was_agreed():
    muxed = []
    rig = Rig(agreement=agreed(rtcp_mux=True))
    rig.run(0.04)
    rig.link.send = lambda data, addr: muxed.append(data[1])
    rig.plane.release(rig.media)
    assert rig.link.rtcp == []
    assert muxed == [200]


def test_who_never_sent_a_packet_says_no_goodbye():
    rig = Rig()
    rig.plane.release(rig.media)
    assert rig.link.rtcp == []


def test_a_goodbye_of_the_peer_does_not_end_the_call():
    rig = Rig()
    rig.run(0.3, sending=True)
    bye = serialise([ReceiverReport(9, ()), Goodbye((9,))])
    rig.media.receive_rtcp(bye, RTCP, rig.now)
    assert rig.leg._ended is None


# Nobody there


@pytest.mark.parametrize(("speaks", "most"), [(True, 30.0), (False, 60.0)])
def test_a_call_without_media_ends(speaks, most):
    async def main():
        rig = Rig()
        rig.run(0.5, sending=speaks)
        rig.run(most - 1.5)
        await asyncio.sleep(0)
        alive = rig.leg._ended is None
        rig.run(3.0)
        await asyncio.sleep(0)
        return rig, alive

    rig, alive = run_virtual(main())
    assert alive
    assert rig.leg._ended.cause is EndCause.MEDIA_TIMEOUT


def test_a_call_on_hold_or_one_without_a_limit_goes_on():
    held = Rig(agreement=agreed(receive=False))
    held.run(70)
    patient = Rig(settings=PlaneSettings(media_timeout=None, first_media_timeout=None))
    patient.run(70)
    assert held.leg._ended is patient.leg._ended is None


# Other legs


def test_a_leg_in_packets_is_driven_as_well():
    class Counting(RTPCall):
        seen = 0

        def packet_received(self, packet, addr):
            self.seen += 1

    rig = Rig(Counting, agreement=agreed())
    rig.run(6.0, sending=True)
    assert rig.leg.seen == 300
    assert rig.link.sent == []
    assert rig.link.rtcp
    assert not rig.media.clear()
    rig.media.push(rig.packet())
    rig.media.update(agreed(PCMA), rig.now)
    assert rig.leg.media.fmt[0].payload_type == 8


def test_without_rules_packets_come_from_anywhere():
    rig = Rig(source=None)
    for _ in range(12):
        rig.receive(addr=HostPort("198.51.100.7", 5000))
        rig.tick(4)
    assert rig.media.remote == HostPort("198.51.100.7", 5000)


def test_many_legs_share_a_plane_and_one_that_fails_costs_the_others_nothing():
    rig = Rig()
    links = []

    class Failing(AudioCall):
        def send_packet(self, packet, addr):
            raise ValueError("no")

    for number in range(20):
        link = Link(rig)
        kind = Failing if number % 2 else AudioCall
        source = RemoteSource(SourceRules("strict", REMOTE, REMOTE.host))
        rig.plane.adopt(leg(kind), link, source=source, now=rig.now)
        links.append(link)
    rig.run(0.5)
    assert [len(link.sent) for link in links[::2]] == [25] * 10
    assert [len(link.sent) for link in links[1::2]] == [0] * 10
