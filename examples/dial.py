"""Call somebody, play a tone, and hang up: `python examples/dial.py sip:bob@192.0.2.7`."""

import asyncio
import sys

import numpy as np

from voip import AudioCall, SessionInitiationProtocol


async def main(uri):
    async with SessionInitiationProtocol().serve(port=0) as sip:
        call = await sip.dial(uri, call_class=AudioCall)
        rate = call.codec.sample_rate_hz
        tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)
        await call.send_rtp_audio(tone.astype(np.float32))
        await call.hang_up()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1]))
