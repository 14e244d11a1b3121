"""What each step of the audio costs, in microseconds per 20 ms packet, beside the library's own call.

Run `python -m benchmarks.codecs`. Subject and library alternate in one run; the medians of nine rounds
are printed. "beyond" is what our side adds to the library's call for the same packet; PERFORMANCE
asks that G.722 and Opus add at most 1.2 times what a G.711 packet costs in all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from voip.codecs import L16, PCMA, PCMU, REGISTRY
from voip.codecs.base import RTPCodec
from voip.codecs.concealment import Concealer
from voip.media.dsp import Resampler, resample, rms, to_int16
from voip.media.jitter import JitterBuffer
from voip.media.vad import EnergyDetector
from voip.rtp.packet import RTPPacket
from voip.sdp.types import RTPPayloadFormat

ROUNDS = 9
PACKETS = 400
OUTPUT_HZ = 16000

Step = Callable[[int], object]


class Line(NamedTuple):
    name: str
    ours: float
    library: float | None = None


def speech_like(rate_hz: int, seconds: float) -> np.ndarray:
    time_axis = np.arange(int(rate_hz * seconds)) / rate_hz
    voice = sum(np.sin(2 * np.pi * 140 * k * time_axis) / k for k in range(1, 20))
    noise = np.random.default_rng(1).normal(0, 0.02, time_axis.size)
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * 4 * time_axis)
    return (0.15 * voice * syllables + noise).astype(np.float32)


def measure(*steps: Step) -> list[float]:
    """Return the median microseconds of each step; the steps take turns within each round."""
    for step in steps:
        for index in range(50):
            step(index)
    rounds: list[list[float]] = [[] for _ in steps]
    for _ in range(ROUNDS):
        for step, times in zip(steps, rounds, strict=True):
            begin = time.perf_counter()
            for index in range(PACKETS):
                step(index)
            times.append((time.perf_counter() - begin) / PACKETS * 1e6)
    return [statistics.median(times) for times in rounds]


def plain_steps() -> list[Line]:
    """What happens to every packet, whatever its codec."""
    narrow, wide = speech_like(8000, 0.02), speech_like(OUTPUT_HZ, 0.02)
    lines = []
    for source, destination in (
        (8000, 16000),
        (16000, 8000),
        (48000, 16000),
        (16000, 48000),
        (44100, 16000),
        (16000, 44100),
    ):
        block = speech_like(source, 0.02)
        resampler = Resampler(source, destination)

        def stream(_: int, block: Any = block, resampler: Resampler = resampler) -> object:
            return resampler.process(block)

        steps = [stream, *_library_resampler(block, source, destination)]
        lines.append(Line(f"resample {source} -> {destination}", *measure(*steps)))
    concealer, detector = Concealer(OUTPUT_HZ), EnergyDetector()
    for name, step in (
        ("level (rms)", lambda _: rms(wide)),
        ("float32 -> int16", lambda _: to_int16(wide)),
        ("voice activity", lambda _: detector.update(0.01)),
        ("one-shot resample 8000 -> 16000", lambda _: resample(narrow, 8000, 16000)),
        ("conceal a frame", lambda _: (concealer.accept(wide), concealer.conceal(320))),
        ("jitter push + pop", _jitter_step()),
    ):
        lines.append(Line(name, *measure(step)))
    return lines


def _jitter_step() -> Step:
    buffer = JitterBuffer(8000, 160)
    count = 0

    def step(_: int) -> object:
        nonlocal count
        packet = RTPPacket(0, count & 0xFFFF, count * 160 & 0xFFFFFFFF, 7, b"")
        buffer.push(packet, count * 0.02)
        count += 1
        return buffer.pop()

    return step


def _library_resampler(block: np.ndarray, source: int, destination: int) -> list[Step]:
    if find_spec("av") is None:
        return []
    import av

    resampler = av.AudioResampler("flt", "mono", destination)

    def step(_: int) -> object:
        frame = av.AudioFrame.from_ndarray(block[None], format="flt", layout="mono")
        frame.sample_rate = source
        return [part.to_ndarray() for part in resampler.resample(frame)]

    return [step]


def codec_lines(codec: type[RTPCodec], library: str, fmt: str) -> list[Line]:
    """Decode to 16 kHz and encode, ours beside the library's own call for the same packet."""
    size = codec.frame_size
    audio = speech_like(codec.sample_rate_hz, PACKETS * codec.ptime_ms / 1000)
    frames = [audio[at : at + size] for at in range(0, audio.size, size)]
    payloads = [codec.create_encoder().encode(frame) for frame in frames]
    decoder, encoder = codec.create_decoder(OUTPUT_HZ), codec.create_encoder()
    decode: list[Step] = [lambda index: decoder.decode(payloads[index % len(payloads)])]
    encode: list[Step] = [lambda index: encoder.encode(frames[index % len(frames)])]
    if find_spec("av") is not None:
        decode.append(_library_decode(library, codec, payloads))
        encode.append(_library_encode(library, codec, fmt, frames))
    name = f"{codec.encoding_name} {codec.sample_rate_hz} Hz, {codec.ptime_ms} ms"
    return [
        Line(f"{name}: decode", *measure(*decode)),
        Line(f"{name}: encode", *measure(*encode)),
    ]


def _context(library: str, mode: str, codec: type[RTPCodec]) -> Any:
    import av

    context = av.CodecContext.create(library, mode)
    context.sample_rate = codec.sample_rate_hz
    context.layout = "mono"
    return context


def _library_decode(library: str, codec: type[RTPCodec], payloads: list[bytes]) -> Step:
    import av

    context, packet = _context(library, "r", codec), av.Packet
    return lambda index: context.decode(packet(payloads[index % len(payloads)]))


def _library_encode(
    library: str, codec: type[RTPCodec], fmt: str, blocks: list[np.ndarray]
) -> Step:
    """The library's encoder alone, on frames that were made before."""
    import av

    context = _context(library, "w", codec)
    context.format = fmt
    if library == "libopus":
        context.bit_rate = codec.bit_rate
        context.options = {"application": "voip", "compression_level": str(codec.complexity)}
    context.open()
    frames = []
    for block in blocks:
        samples = block[None] if fmt == "flt" else to_int16(block)[None]
        frame = av.AudioFrame.from_ndarray(samples, format=fmt, layout="mono")
        frame.sample_rate = codec.sample_rate_hz
        frames.append(frame)
    return lambda index: context.encode(frames[index % len(frames)])


def main() -> None:
    lines = plain_steps()
    wide = L16.for_format(RTPPayloadFormat(97, "L16", 16000))
    for codec, library in ((PCMU, "pcm_mulaw"), (PCMA, "pcm_alaw"), (wide, "pcm_s16be")):
        lines += codec_lines(codec, library, "s16")
    compared = [("g722", "g722", "s16"), ("opus", "libopus", "flt")]
    for name, library, fmt in compared:
        if name in REGISTRY:
            lines += codec_lines(REGISTRY[name], library, fmt)
    print(f"{'µs per packet':44} {'ours':>8} {'library':>8} {'beyond':>8} {'ratio':>7}")
    for line in lines:
        text = f"{line.name:44} {line.ours:8.2f}"
        if line.library is not None:
            beyond, ratio = line.ours - line.library, line.ours / line.library
            text += f" {line.library:8.2f} {beyond:8.2f} {ratio:7.2f}"
        print(text)
    cost = {line.name: line for line in lines}
    for side in ("decode", "encode"):
        base = next(
            line.ours for name, line in cost.items() if name.startswith("pcmu") and side in name
        )
        for name, line in cost.items():
            if name.startswith(("g722", "opus")) and side in name and line.library is not None:
                beyond = line.ours - line.library
                print(f"bar 3, {name}: beyond / G.711 = {beyond / base:.2f} (at most 1.2)")


if __name__ == "__main__":
    main()
