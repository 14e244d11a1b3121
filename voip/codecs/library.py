"""The codecs of the `av` package (FFmpeg), with contexts that are kept for a call.

The package is loaded when the first such codec is used, never by importing this module. No private
name is used of it.
"""

from __future__ import annotations

import importlib
from typing import Any

from voip.errors import ParseError, UnsupportedCodecError

__all__ = ["PacketDecoder", "PacketEncoder"]


def _open(library_name: str, mode: str, settings: dict[str, Any], options: dict[str, str]) -> Any:
    """Return an open context of a codec, with the package it comes from in `settings`' place.

    Raises:
        UnsupportedCodecError: the package, or the codec in it, is missing.
    """
    try:
        av = importlib.import_module("av")
        context = av.CodecContext.create(library_name, mode)
    except (ImportError, ValueError) as error:
        raise UnsupportedCodecError(
            f"{library_name} needs the av package: pip install 'voip[hd-audio]' ({error})"
        ) from error
    for name, value in settings.items():
        setattr(context, name, value)
    context.options = options
    context.open()
    return av, context


class PacketDecoder:
    """One decoder of the library.

    Args:
        library_name: the codec's name there.
        rate_hz: rate of the audio.
        sample_format: "s16" or "flt".
    """

    __slots__ = ("_decode", "_error", "_packet", "_width")

    def __init__(self, library_name: str, rate_hz: int, sample_format: str) -> None:
        av, context = _open(
            library_name,
            "r",
            {"sample_rate": rate_hz, "layout": "mono"},
            {"request_sample_fmt": sample_format},
        )
        self._packet = av.Packet
        self._decode = context.decode
        self._error = av.error.FFmpegError
        self._width = 2 if sample_format == "s16" else 4

    def decode(self, payload: bytes) -> memoryview:
        """Return the samples of one packet, native byte order, mono.

        An empty payload must not get here: the library takes it for the end of the stream.

        Raises:
            ParseError: the library refuses the packet, or gives nothing for it.
        """
        try:
            frames = self._decode(self._packet(payload))
        except self._error as error:
            raise ParseError(str(error), payload) from error
        if len(frames) != 1:
            raise ParseError("one packet, but not one frame", payload)
        frame = frames[0]
        return memoryview(frame.planes[0])[: frame.samples * self._width]


class PacketEncoder:
    """One encoder of the library, which gives one packet for one frame, without delay.

    Args:
        library_name: the codec's name there.
        rate_hz: rate of the audio.
        sample_format: "s16" or "flt".
        frame_size: samples per packet.
        options: further options of the codec.
        bit_rate: bits per second, None where the codec has one rate.
    """

    __slots__ = ("_encode", "_frame", "_update")

    def __init__(
        self,
        library_name: str,
        rate_hz: int,
        sample_format: str,
        frame_size: int,
        *,
        options: dict[str, str] | None = None,
        bit_rate: int | None = None,
    ) -> None:
        settings = {"sample_rate": rate_hz, "layout": "mono", "format": sample_format}
        if bit_rate is not None:
            settings["bit_rate"] = bit_rate
        av, context = _open(
            library_name, "w", settings, {"frame_size": str(frame_size), **(options or {})}
        )
        # One frame and its plane for the life of the call: making them costs 5 µs a packet.
        self._frame = av.AudioFrame(format=sample_format, layout="mono", samples=frame_size)
        self._frame.sample_rate = rate_hz
        self._update = self._frame.planes[0].update
        self._encode = context.encode

    def encode(self, samples: Any) -> bytes:
        """Return the packet of exactly one frame of samples (a contiguous array).

        Raises:
            ValueError: the frame has another size.
        """
        self._update(samples)
        (packet,) = self._encode(self._frame)
        return bytes(packet)
