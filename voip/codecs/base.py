"""What a codec is: a class of constants and class methods, and the state of one call apart from it.

A codec class is never instantiated: `call.codec is PCMA` holds, and what a call must remember
(G.722 and Opus both ways, the resampler, the concealment) lives in the `Decoder` and the `Encoder`
that the class makes. A custom codec needs the constants, `decode` and `encode`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from voip.codecs.concealment import Concealer
from voip.errors import ParseError, UnsupportedCodecError
from voip.media.dsp import FloatArray, Resampler, resample
from voip.sdp.types import RTPPayloadFormat

__all__ = ["Decoder", "Encoder", "RTPCodec"]

#: What a payload may hold, so that packets stay under an MTU of 1 500 with IPv6, UDP, RTP and SRTP.
MAX_PAYLOAD_BYTES = 1400
#: More audio than this in one packet is taken for an attack on the decoder (RELIABILITY: 120 ms).
MAX_PACKET_SECONDS = 0.12

_PTIMES_MS = (10, 20, 30, 40, 60)
_MOST_VARIANTS = 64
# Whoever overrides one of these also says what silence is.
_SENDING = {"encode", "encoder_class", "create_encoder"}


class Decoder:
    """The receiving side of one call: payloads in, float32 mono at the output rate out.

    Subclasses turn one payload into samples at the codec's rate (`_expand`). Faulty payloads are
    concealed like lost ones and counted.

    Args:
        codec: the codec class of the call.
        output_rate_hz: the rate wanted.
        input_rate_hz: the rate of the audio that the peer sends, the codec's own when None.

    Attributes:
        failures: how many payloads could not be decoded.
    """

    def __init__(
        self, codec: type[RTPCodec], output_rate_hz: int, input_rate_hz: int | None = None
    ) -> None:
        self.codec = codec
        self.rate_hz = codec.audio_rate_hz(input_rate_hz)
        self.failures = 0
        self._concealer = Concealer(self.rate_hz)
        self._resampler = Resampler(self.rate_hz, output_rate_hz)
        self._frame = self.rate_hz * codec.ptime_ms // 1000
        self._shortest = self.rate_hz // 200
        self._most_bytes = int(codec.payload_rate(self.rate_hz) * MAX_PACKET_SECONDS)

    def decode(self, payload: bytes) -> FloatArray:
        """Return one packet as float32[samples], mono, -1..1, at the output rate.

        20 ms in is exactly 20 ms out, the first packet included. A payload that cannot be decoded
        is concealed; an empty one gives an empty array.
        """
        size = len(payload)
        if not size:
            return np.zeros(0, np.float32)
        try:
            if size > self._most_bytes:
                raise ParseError("more audio than a packet may hold", payload)
            samples = self._expand(payload)
        except ParseError:
            self.failures += 1
            return self.conceal()
        # A scrap of a packet must not shorten what stands in for the packets lost after it.
        if samples.size >= self._shortest:
            self._frame = samples.size
        return self._resampler.process(self._concealer.accept(samples))

    def conceal(self) -> FloatArray:
        """Return one frame, as long as the last one, in place of a packet that is missing."""
        return self._resampler.process(self._concealer.conceal(self._frame))

    def expand(self, payload: bytes) -> FloatArray:
        """Return one packet at `rate_hz`, without resampling and concealment.

        Raises:
            ParseError: the payload cannot be decoded.
        """
        if not payload:
            return np.zeros(0, np.float32)
        if len(payload) > self._most_bytes:
            raise ParseError("more audio than a packet may hold", payload)
        return self._expand(payload)

    def _expand(self, payload: bytes) -> FloatArray:
        raise NotImplementedError


class Encoder:
    """The sending side of one call.

    Args:
        codec: the codec class of the call.
    """

    def __init__(self, codec: type[RTPCodec]) -> None:
        self.codec = codec

    def encode(self, frame: FloatArray) -> bytes:
        """Return the payload of float32[codec.frame_size], mono, at `codec.sample_rate_hz`."""
        raise NotImplementedError


class _WrappedDecoder(Decoder):
    """A codec that only has `decode`, which resamples by itself."""

    def __init__(
        self, codec: type[RTPCodec], output_rate_hz: int, input_rate_hz: int | None = None
    ) -> None:
        super().__init__(codec, output_rate_hz, input_rate_hz)
        self._output_rate_hz = output_rate_hz
        self._input_rate_hz = input_rate_hz
        self._concealer = Concealer(output_rate_hz)
        self._resampler = Resampler(output_rate_hz, output_rate_hz)
        self._frame = output_rate_hz * codec.ptime_ms // 1000

    def _expand(self, payload: bytes) -> FloatArray:
        try:
            audio = self.codec.decode(
                payload, self._output_rate_hz, input_rate_hz=self._input_rate_hz
            )
        except ValueError as error:
            raise ParseError(str(error), payload) from error
        return np.asarray(audio, np.float32)


class _WrappedEncoder(Encoder):
    """A codec that only has `encode`."""

    def encode(self, frame: FloatArray) -> bytes:
        return self.codec.encode(frame)


class RTPCodec:
    """One audio codec, as RTP carries it.

    Attributes:
        payload_type: its usual payload type; a call uses the number that was negotiated.
        encoding_name: in lower case.
        sample_rate_hz: rate of the audio.
        rtp_clock_rate_hz: rate of the RTP clock, the audio's when left out.
        channels: as the rtpmap says; audio is mono on our side whatever it is.
        ptime_ms: duration of the packets that we send.
        frame_size: samples per packet and channel, at `sample_rate_hz`.
        timestamp_increment: RTP ticks per packet.
    """

    payload_type: ClassVar[int]
    encoding_name: ClassVar[str]
    sample_rate_hz: ClassVar[int] = 8000
    rtp_clock_rate_hz: ClassVar[int]
    channels: ClassVar[int] = 1
    ptime_ms: ClassVar[int] = 20
    frame_size: ClassVar[int]
    timestamp_increment: ClassVar[int]

    #: What holds the state of a call; the default wraps the class' own `decode` and `encode`.
    decoder_class: ClassVar[type[Decoder]] = _WrappedDecoder
    encoder_class: ClassVar[type[Encoder]] = _WrappedEncoder
    #: Bytes of one uncompressed sample; 0 when the codec runs at one rate only.
    sample_bytes: ClassVar[int] = 0
    #: The most channels that an uncompressed format may have.
    most_channels: ClassVar[int] = 1
    #: Packet times that can be sent, in milliseconds.
    ptimes_ms: ClassVar[tuple[int, ...]] = _PTIMES_MS

    #: What a sample of silence is in a codec without memory; empty where the encoder must be asked.
    silent_sample: ClassVar[bytes] = b""

    #: The packet time that a format gets without a wish of the peer; 0 is `ptime_ms`.
    preferred_ptime_ms: ClassVar[int] = 0

    _root: ClassVar[type[RTPCodec] | None] = None
    _variants: ClassVar[dict[str, type[RTPCodec]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        cls._variants = {}
        # Whoever overrides `decode` of a codec of ours means it for calls as well.
        if "decode" in own and "decoder_class" not in own:
            cls.decoder_class = _WrappedDecoder
        if "encode" in own and "encoder_class" not in own:
            cls.encoder_class = _WrappedEncoder
        if "silent_sample" not in own and own.keys() & _SENDING:
            cls.silent_sample = b""
        timed = "ptime_ms" in own or "sample_rate_hz" in own
        if "rtp_clock_rate_hz" not in own and ("sample_rate_hz" in own or not _has_clock(cls)):
            cls.rtp_clock_rate_hz = cls.sample_rate_hz
        if "frame_size" not in own and (timed or not hasattr(cls, "frame_size")):
            cls.frame_size = cls.sample_rate_hz * cls.ptime_ms // 1000
        timed = timed or "rtp_clock_rate_hz" in own
        if "timestamp_increment" not in own and (timed or not hasattr(cls, "timestamp_increment")):
            cls.timestamp_increment = cls.rtp_clock_rate_hz * cls.ptime_ms // 1000

    @classmethod
    def audio_rate_hz(cls, clock_rate_hz: int | None = None) -> int:
        """Return the rate of the audio under an RTP clock: G.722 says 8000 and means 16000."""
        if cls.sample_bytes and clock_rate_hz:
            return clock_rate_hz
        return cls.sample_rate_hz

    @classmethod
    def payload_rate(cls, rate_hz: int) -> float:
        """Return the most bytes that a second of audio may take in RTP payloads."""
        return rate_hz * max(1, cls.sample_bytes) * cls.channels

    @classmethod
    def decode(
        cls, payload: bytes, output_rate_hz: int, *, input_rate_hz: int | None = None
    ) -> FloatArray:
        """Return one packet on its own, without the memory of a call.

        Args:
            payload: one RTP payload.
            output_rate_hz: the rate wanted.
            input_rate_hz: the clock rate of the rtpmap, the codec's own when None.

        Returns:
            float32[samples], mono, -1..1.

        Raises:
            ParseError: the payload cannot be decoded.
            NotImplementedError: a custom codec without `decode`.
        """
        if cls.decoder_class is _WrappedDecoder:
            raise NotImplementedError(f"{cls.__name__} does not decode")
        rate_hz = cls.audio_rate_hz(input_rate_hz)
        decoder = cls.decoder_class(cls, rate_hz, input_rate_hz)
        return resample(decoder.expand(payload), rate_hz, output_rate_hz)

    @classmethod
    def encode(cls, samples: FloatArray) -> bytes:
        """Return one payload of float32[frame_size], without the memory of a call.

        Raises:
            NotImplementedError: a custom codec without `encode`.
        """
        if cls.encoder_class is _WrappedEncoder:
            raise NotImplementedError(f"{cls.__name__} does not encode")
        return cls.create_encoder().encode(samples)

    @classmethod
    def packetize(cls, audio: FloatArray) -> Iterator[bytes]:
        """Yield the payloads of a recording at `sample_rate_hz`; the last one is padded."""
        encoder = cls.create_encoder()
        for start in range(0, audio.size, cls.frame_size):
            frame = audio[start : start + cls.frame_size]
            if frame.size < cls.frame_size:
                frame = np.concatenate((frame, np.zeros(cls.frame_size - frame.size, np.float32)))
            yield encoder.encode(frame)

    @classmethod
    def create_decoder(cls, output_rate_hz: int, *, input_rate_hz: int | None = None) -> Decoder:
        """Return the receiving side of one call.

        Args:
            output_rate_hz: the rate of what `decode` shall return.
            input_rate_hz: the clock rate of the rtpmap, the codec's own when None.
        """
        return cls.decoder_class(cls, output_rate_hz, input_rate_hz)

    @classmethod
    def create_encoder(cls) -> Encoder:
        """Return the sending side of one call."""
        return cls.encoder_class(cls)

    @classmethod
    def silence(cls) -> bytes:
        """Return the payload of a silent frame where it is always the same, else nothing."""
        return cls.silent_sample * (cls.frame_size * cls.channels)

    @classmethod
    def to_payload_format(cls) -> RTPPayloadFormat:
        """Return the format that an offer names this codec by."""
        return RTPPayloadFormat(
            payload_type=cls.payload_type,
            encoding_name=cls.encoding_name,
            sample_rate=cls.rtp_clock_rate_hz,
            channels=cls.channels,
        )

    @classmethod
    def resample(
        cls, audio: FloatArray, source_rate_hz: int, destination_rate_hz: int
    ) -> FloatArray:
        """Return a recording at another rate; see `voip.media.dsp.resample`."""
        return resample(audio, source_rate_hz, destination_rate_hz)

    @classmethod
    def supports(cls, fmt: RTPPayloadFormat) -> bool:
        """Tell whether `for_format` has a class for this clock rate and channel count."""
        return cls._fit(fmt.sample_rate, fmt.channels, cls.ptime_ms) is not None

    @classmethod
    def for_format(cls, fmt: RTPPayloadFormat, *, ptime_ms: int | None = None) -> type[RTPCodec]:
        """Return the class that sends right in a negotiated format.

        The codec itself where the format is its usual one, else one derived from it with the rate,
        channels, frame size and timestamp step of the format. A packet time that the codec cannot
        send, or that would pass the MTU, gives way to the next shorter one.

        Args:
            fmt: the negotiated format.
            ptime_ms: what the peer wants (`a=ptime`), the codec's own when None.

        Raises:
            UnsupportedCodecError: a clock rate or a channel count that the codec cannot serve.
        """
        root = cls._root or cls
        fit = _fit(root, fmt.sample_rate, fmt.channels, ptime_ms)  # type: ignore[arg-type]
        if fit is None:
            raise UnsupportedCodecError(
                f"Unsupported codec {root.encoding_name}/{fmt.sample_rate}/{fmt.channels}"
            )
        return _derived(root, *fit)

    @classmethod
    def _fit(
        cls, sample_rate: int | None, channels: int, ptime_ms: int
    ) -> tuple[int, int, int] | None:
        """Return clock rate, channels and packet time in milliseconds, or None."""
        clock_hz = sample_rate or cls.rtp_clock_rate_hz
        if not cls.sample_bytes:
            # Some write G722/8000/1, some opus/48000 without its /2: the audio is the same.
            fits = clock_hz == cls.rtp_clock_rate_hz
            channels = cls.channels
        else:
            fits = 8000 <= clock_hz <= 192000 and 1 <= channels <= cls.most_channels
        times = sorted({*cls.ptimes_ms, cls.ptime_ms})
        shorter = [time for time in reversed(times) if time <= ptime_ms]
        longer = [time for time in times if time > ptime_ms]
        for time in (*shorter, *longer):
            if fits and cls._sendable(clock_hz, channels, time):
                return clock_hz, channels, time
        return None

    @classmethod
    def _sendable(cls, clock_hz: int, channels: int, ptime_ms: int) -> bool:
        bytes_per_second = clock_hz * channels * cls.sample_bytes
        whole = not clock_hz * ptime_ms % 1000
        return whole and bytes_per_second * ptime_ms // 1000 <= MAX_PAYLOAD_BYTES


def _has_clock(cls: type[RTPCodec]) -> bool:
    return hasattr(cls, "rtp_clock_rate_hz")


# Asked twice for every codec of every call, of the same few formats; bounded.
@lru_cache(maxsize=256)
def _fit(
    root: type[RTPCodec], sample_rate: int | None, channels: int, ptime_ms: int | None
) -> tuple[int, int, int] | None:
    wanted = ptime_ms or root.preferred_ptime_ms or root.ptime_ms
    return root._fit(sample_rate, channels, wanted)


def _derived(root: type[RTPCodec], clock_hz: int, channels: int, ptime_ms: int) -> type[RTPCodec]:
    if (clock_hz, channels, ptime_ms) == (root.rtp_clock_rate_hz, root.channels, root.ptime_ms):
        return root
    name = f"{root.__name__}_{clock_hz}_{channels}_{ptime_ms}ms"
    known = root._variants.get(name)
    if known is not None:
        return known
    settings: dict[str, Any] = {
        "sample_rate_hz": root.audio_rate_hz(clock_hz),
        "rtp_clock_rate_hz": clock_hz,
        "channels": channels,
        "ptime_ms": ptime_ms,
        "_root": root,
        "__doc__": root.__doc__,
        "__module__": root.__module__,
    }
    made = type(name, (root,), settings)
    # A peer chooses the rate: what it can make us keep is bounded.
    if len(root._variants) < _MOST_VARIANTS:
        root._variants[name] = made
    return made
