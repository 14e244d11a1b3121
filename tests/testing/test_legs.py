from __future__ import annotations

import numpy as np
import pytest

from voip.audio import AudioCall, EchoCall
from voip.codecs import get
from voip.rtp.packet import RTPPacket
from voip.testing import RecordingRTP, leg, say_to
from voip.testing.legs import REMOTE
from voip.types import HostPort


class Listener(AudioCall):
    note: str = ""

    def __post_init__(self):
        super().__post_init__()
        self.frames = []

    def audio_received(self, *, audio, rms):
        self.frames.append(audio)


def test_a_leg_by_hand_hears_what_is_said_to_it():
    call = leg(Listener, codec="pcma", note="mine")
    tone = (0.4 * np.sin(np.arange(1600) * 0.3)).astype(np.float32)
    assert say_to(call, tone[:800]) == 5
    assert say_to(call, tone[800:]) == 5
    assert call.wire is None
    assert call.note == "mine"
    assert call.codec is get("pcma")
    heard = np.concatenate(call.frames)
    assert len(heard) == 3200
    assert 0.2 < np.sqrt(np.mean(heard**2)) < 0.35


async def test_what_it_sends_is_kept():
    call = leg(EchoCall, codec=get("l16"))
    rate = call.codec.sample_rate_hz
    await call.send_rtp_audio(np.full(rate // 50, 0.5, np.float32))
    assert isinstance(call.rtp, RecordingRTP)
    assert all(address == REMOTE for _, address in call.rtp.sent)
    assert [type(packet) for packet in call.rtp.packets] == [RTPPacket] * 2
    assert np.max(call.rtp.audio("l16", rate)) == pytest.approx(0.5, abs=1e-3)
    assert len(RecordingRTP().audio("pcmu")) == 0


async def test_a_leg_without_an_address_sends_nothing(caplog):
    call = leg(AudioCall, remote=None)
    assert call.rtp.calls == {}
    await call.send_rtp_audio(np.zeros(160, np.float32))
    assert call.rtp.sent == []
    assert "dropping audio" in caplog.text


def test_the_far_end_and_the_caller_may_be_named():
    far = HostPort("192.0.2.9", 5000)
    call = leg(AudioCall, remote=far, caller="sip:bob@example.com")
    assert call.rtp.calls == {far: call}
    assert "bob" in call.caller
