"""Call legs made by hand: no socket, no engine, and an `rtp` that remembers what was sent."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from voip import codecs
from voip.rtp.packet import RTPPacket
from voip.sdp.types import MediaDescription
from voip.types import HostPort

__all__ = ["REMOTE", "RecordingRTP", "leg", "say_to"]

LegT = TypeVar("LegT")

REMOTE = HostPort("192.0.2.1", 40000)
"""Where the far end of a hand-made leg is, unless told otherwise."""


class RecordingRTP:
    """Stands where the shared RTP socket stands, and keeps what a leg sends.

    Attributes:
        calls: remote address to leg.
        sent: every datagram, with where it went.
    """

    def __init__(self) -> None:
        self.calls: dict[Any, Any] = {}
        self.sent: list[tuple[bytes, Any]] = []

    def send(self, data: bytes, addr: Any) -> None:
        """Remember a datagram."""
        self.sent.append((bytes(data), addr))

    @property
    def packets(self) -> list[RTPPacket]:
        """What was sent, parsed."""
        return [RTPPacket.parse(data) for data, _ in self.sent]

    def audio(self, codec: str | type[Any], sample_rate_hz: int = 16000) -> NDArray[np.float32]:
        """Return what the far end hears: float32[samples], mono, at `sample_rate_hz`."""
        decoder = _codec(codec).create_decoder(sample_rate_hz)
        pieces = [decoder.decode(packet.payload) for packet in self.packets]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _codec(codec: str | type[Any]) -> type[Any]:
    return codecs.get(codec) if isinstance(codec, str) else codec


def leg(
    call_class: type[LegT],
    codec: str | type[Any] = "pcmu",
    *,
    remote: HostPort | None = REMOTE,
    caller: str = "sip:+15551234567@example.com",
    **fields: Any,
) -> LegT:
    """Return a leg made by hand; its `rtp` is a `RecordingRTP`, its `wire` is None.

    Args:
        call_class: the class under test.
        codec: the negotiated codec, by name or class.
        remote: the far end's media address; None: not known yet.
        caller: who calls.
        **fields: fields of `call_class`.
    """
    rtp = fields.pop("rtp", None) or RecordingRTP()
    media = fields.pop("media", None) or MediaDescription(
        media="audio", port=0, proto="RTP/AVP", fmt=[_codec(codec).to_payload_format()]
    )
    made = call_class(rtp=rtp, sip=fields.pop("sip", None), media=media, caller=caller, **fields)  # type: ignore[call-arg]
    if remote is not None:
        rtp.calls[remote] = made
    return made


def _packets(call: Any, audio: NDArray[np.float32]) -> Iterator[RTPPacket]:
    codec = call.codec
    encoder = codec.create_encoder()
    frame = codec.frame_size
    padded = np.concatenate([audio, np.zeros(-len(audio) % frame, np.float32)])
    numbers = getattr(call, "_kit_numbers", None)
    if numbers is None:
        numbers = call._kit_numbers = itertools.count()
    for start in range(0, len(padded), frame):
        number = next(numbers)
        yield RTPPacket(
            payload_type=call.payload_type,
            sequence_number=number & 0xFFFF,
            timestamp=number * codec.timestamp_increment & 0xFFFFFFFF,
            ssrc=0x5EED,
            payload=encoder.encode(padded[start : start + frame]),
        )


def say_to(call: Any, audio: NDArray[np.float32], *, remote: HostPort = REMOTE) -> int:
    """Let a leg hear something, packet by packet and at once; returns the number of packets.

    Args:
        call: a leg made by `leg`.
        audio: float32[samples], mono, -1..1, at `call.codec.sample_rate_hz`.
        remote: where the packets come from.
    """
    count = 0
    for packet in _packets(call, audio):
        call.packet_received(packet, remote)
        count += 1
    return count
