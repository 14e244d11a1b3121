"""Make `voip/data/speech.wav`: three short phrases by formant synthesis, from nothing but NumPy.

    python tools/make_speech.py [OUT.wav]

A glottal pulse train (with the unsteadiness of a real voice, so that no two stretches look alike to
a correlation) and noise go through a cascade of second-order resonators whose centre frequencies
follow the table below: the design of Klatt (1980), cut down to what a telephone lets through. The
result is no pleasure to hear, but it has what the tests need: voiced and unvoiced parts, onsets,
glides, a falling melody, levels of telephone speech, and pauses of more than 0.8 s.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 16000
SEED = 8
PAUSE_SECS = 0.9
EDGE_SECS = 0.3
ACTIVE_LEVEL_DBFS = -21.0  # RMS of the phrases; ITU-T P.56 speech on a digital trunk sits near -26
NOISE_LEVEL_DBFS = -74.0  # a quiet room, well under the threshold of any voice detector

# sound: (F1, F2, F3, voicing, aspiration, frication, frication centre), in Hz and amplitude
SOUNDS = {
    "h": (500, 1500, 2500, 0.0, 0.25, 0.0, 3000),
    "e": (530, 1840, 2480, 1.0, 0.0, 0.0, 3000),
    "l": (360, 1200, 2700, 0.6, 0.0, 0.0, 3000),
    "o": (450, 900, 2400, 1.0, 0.0, 0.0, 3000),
    "u": (320, 950, 2250, 0.9, 0.0, 0.0, 3000),
    "dh": (300, 1300, 2500, 0.4, 0.05, 0.1, 3400),
    "i": (400, 1950, 2550, 1.0, 0.0, 0.0, 3000),
    "s": (320, 1400, 2500, 0.0, 0.0, 0.30, 3600),
    "z": (300, 1400, 2500, 0.4, 0.0, 0.20, 3600),
    "a": (720, 1150, 2450, 1.0, 0.0, 0.0, 3000),
    "t": (350, 1800, 2600, 0.0, 0.15, 0.25, 3300),
    "d": (250, 1700, 2600, 0.3, 0.0, 0.12, 3200),
    "-": (400, 1500, 2500, 0.0, 0.0, 0.0, 3000),
    "y": (270, 2250, 2950, 0.8, 0.0, 0.0, 3000),
    "ee": (280, 2300, 2950, 1.0, 0.0, 0.0, 3000),
    "r": (330, 1080, 1500, 0.8, 0.0, 0.0, 3000),
    "m": (260, 1000, 2200, 0.5, 0.0, 0.0, 3000),
    "n": (260, 1450, 2400, 0.5, 0.0, 0.0, 3000),
    "w": (290, 650, 2150, 0.8, 0.0, 0.0, 3000),
    "v": (620, 1200, 2500, 1.0, 0.0, 0.0, 3000),
    "th": (320, 1300, 2500, 0.0, 0.05, 0.15, 3300),
    "f": (340, 1100, 2200, 0.0, 0.05, 0.16, 3000),
    "aw": (570, 840, 2410, 1.0, 0.0, 0.0, 3000),
}

# phrase: (melody in Hz from start to end, sounds with their milliseconds)
PHRASES = (
    (
        (128.0, 96.0),
        "h60 e90 l70 o150 -40 dh50 i80 s90 i80 z60 a70 t70 e110 s80 t60",
    ),
    (
        (112.0, 140.0),
        "d50 u80 y60 u110 h50 i60 ee90 r80 m70 ee120 n60 a110 u140",
    ),
    (
        (135.0, 88.0),
        "w60 v90 n70 -30 t60 u150 -30 th70 r60 ee150 -30 f80 aw120 r110",
    ),
)


def tracks(phrase: str) -> NDArray[np.float64]:
    """Return the parameters of a phrase, float64[samples, 7], with 40 ms glides between sounds."""
    rows = []
    for word in phrase.split():
        name = word.rstrip("0123456789")
        samples = int(word[len(name) :]) * RATE_HZ // 1000
        rows.append(np.tile(np.array(SOUNDS[name], float), (samples, 1)))
    steps = np.concatenate(rows)
    glide = np.hanning(RATE_HZ * 40 // 1000 | 1)
    glide /= glide.sum()
    reach = len(glide) // 2
    padded = np.pad(steps, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, glide, "valid") for column in padded.T], axis=1)


def glottis(pitch: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a train of rounded pulses at `pitch` Hz, with 3 % jitter and 8 % shimmer."""
    out = np.zeros(len(pitch))
    at = 0.0
    while at < len(pitch):
        period = RATE_HZ / pitch[int(at)] * (1 + 0.03 * rng.standard_normal())
        opened = max(8, int(0.6 * period))
        phase = np.arange(opened) / opened
        flow = phase**2 - phase**3  # Rosenberg's polynomial: slow opening, quick closing
        pulse = np.diff(flow, prepend=0.0) * (1 + 0.08 * rng.standard_normal()) * opened
        end = min(len(out), int(at) + opened)
        out[int(at) : end] += pulse[: end - int(at)]
        at += period
    return out


def resonate(
    source: NDArray[np.float64], centre: NDArray[np.float64], width_hz: float
) -> NDArray[np.float64]:
    """Run one second-order resonator with a moving centre frequency over `source`."""
    radius = np.exp(-np.pi * width_hz / RATE_HZ)
    first = 2 * radius * np.cos(2 * np.pi * centre / RATE_HZ)
    second = -(radius**2)
    gain = 1 - first - second
    out = np.empty_like(source)
    before = last = 0.0
    for index, value in enumerate(source * gain):
        before, last = last, value + first[index] * last + second * before
        out[index] = last
    return out


def speak(
    melody: tuple[float, float], phrase: str, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return one phrase, float64[samples], RMS 1."""
    table = tracks(phrase)
    samples = len(table)
    sway = 1 + 0.08 * np.sin(2 * np.pi * np.cumsum(rng.uniform(2.0, 6.0, samples)) / RATE_HZ)
    pitch = np.linspace(*melody, samples) * sway
    noise = rng.standard_normal(samples)
    tract = glottis(pitch, rng) * table[:, 3] + noise * table[:, 4]
    for formant, width_hz in ((0, 70.0), (1, 100.0), (2, 150.0)):
        tract = resonate(tract, table[:, formant], width_hz)
    friction = resonate(noise, table[:, 6], 900.0) * table[:, 5]
    voice = tract / np.sqrt(np.mean(tract**2)) + friction
    edge = RATE_HZ // 50
    ramp = np.hanning(2 * edge)
    voice[:edge] *= ramp[:edge]
    voice[-edge:] *= ramp[edge:]
    return voice / np.sqrt(np.mean(voice**2))


def make_speech() -> NDArray[np.int16]:
    """Return the whole file, int16[samples], mono, at `RATE_HZ`."""
    rng = np.random.default_rng(SEED)
    pieces = [np.zeros(int(EDGE_SECS * RATE_HZ))]
    for melody, phrase in PHRASES:
        pieces += [speak(melody, phrase, rng), np.zeros(int(PAUSE_SECS * RATE_HZ))]
    pieces[-1] = np.zeros(int(EDGE_SECS * RATE_HZ))
    speech = np.concatenate(pieces) * 10 ** (ACTIVE_LEVEL_DBFS / 20)
    speech = 0.85 * np.tanh(
        speech / 0.85
    )  # rounds the few highest peaks; keeps all below full scale
    speech += rng.standard_normal(len(speech)) * 10 ** (NOISE_LEVEL_DBFS / 20)
    return np.round(speech * 32767).astype(np.int16)


def main() -> None:
    """Write the file."""
    home = Path(__file__).resolve().parent.parent / "voip" / "data" / "speech.wav"
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else home
    with wave.open(str(target), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE_HZ)
        out.writeframes(make_speech().astype("<i2").tobytes())


if __name__ == "__main__":
    main()
