"""aiortp as an echo media server, without SIP: one RTPSession per call, as its API asks.

    aiortp_echo.py CALLS PORT STEP SOURCE_PORT SECONDS [full]

Lean (the default) sends the PCM that it gets back as it is. `full` does what a leg of ours does: float32
at 16 kHz with its level for a hook per call, and back to 8 kHz.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import signal
import sys

import numpy as np
from aiortp.session import RTPSession

# The odd phase of a half band between 8 and 16 kHz: 24 taps here, 47 in all.
TAPS = 24
_ODD = (np.sinc((np.arange(2 * TAPS - 1) - (TAPS - 1)) / 2) * np.kaiser(2 * TAPS - 1, 7.0))[
    TAPS % 2 :: 2
][:TAPS]
ODD = (_ODD / _ODD.sum()).astype(np.float32)
HALF_BAND = np.zeros(2 * TAPS - 1, np.float32)
HALF_BAND[0::2] = ODD / 2
HALF_BAND[TAPS - 1] = 0.5


class Echo:
    def __init__(self, send_audio):
        self.send_audio = send_audio

    def audio_received(self, *, audio, rms):
        self.send_audio(audio)


def wire(session, *, full: bool) -> None:
    if not full:
        session.on_audio = lambda pcm, timestamp: session.send_audio_pcm_auto(pcm)
        return
    up = np.zeros(160 + TAPS - 1, np.float32)
    down = np.zeros(320 + 2 * TAPS - 2, np.float32)

    def send(audio):
        down[2 * TAPS - 2 :] = audio
        narrow = np.convolve(down, HALF_BAND, "valid")[::2]
        down[: 2 * TAPS - 2] = down[320:]
        session.send_audio_pcm_auto((narrow * np.float32(32767)).astype(np.int16).tobytes())

    call = Echo(send)

    def received(pcm, timestamp):
        up[TAPS - 1 :] = np.frombuffer(pcm, np.int16) * np.float32(1 / 32768)
        audio = np.empty(320, np.float32)
        audio[0::2] = up[TAPS // 2 : TAPS // 2 + 160]
        audio[1::2] = np.convolve(up, ODD, "valid")
        up[: TAPS - 1] = up[160:]
        call.audio_received(audio=audio, rms=math.sqrt(np.dot(audio, audio) / 320))

    session.on_audio = received


async def main(calls: int, port: int, step: int, source_port: int, seconds: int, *, full: bool):
    sessions = []
    for number in range(calls):
        ip = str(ipaddress.ip_address(0x7F010000 + number))
        session = await RTPSession.create(
            ("127.0.0.1", port + step * number), (ip, source_port), 0, paced=True, jitter_prefetch=4
        )
        wire(session, full=full)
        sessions.append(session)
    await asyncio.sleep(seconds)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    numbers = [int(word) for word in sys.argv[1:6]]
    asyncio.run(main(*numbers, full="full" in sys.argv[6:]))
