"""What a leg sends: a bounded queue, and the only writer of sequence, timestamp and marker.

A frame leaves per packet time. The pieces that are pushed run on into each other; the last frame is
padded only when the queue is empty at its tick. Timestamps run through silence (RFC 3550 §5.1: they
"increment monotonically and linearly in time"); the marker stands on the first packet after a pause
in which none were sent (RFC 3551 §4.1).
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voip.machine import Entropy
from voip.rtp.packet import RTPPacket

__all__ = ["Encoder", "Playout", "Ticket"]

FloatArray = NDArray[np.float32]


class Encoder(Protocol):
    """The sending half of a codec, with the state of one call."""

    def encode(self, samples: FloatArray) -> bytes:
        """Return the payload of one frame."""


class SendingCodec(Protocol):
    """What a playout needs to know of a codec."""

    frame_size: Any
    timestamp_increment: Any

    def create_encoder(self) -> Any:
        """Return an encoder for one call."""

    def silence(self) -> bytes:
        """Return the payload of a silent frame where it is always the same, else nothing."""


class Ticket:
    """Follows what one caller pushed.

    Attributes:
        pending: samples that were pushed and have not left.
        cancelled: whether they never will.
    """

    __slots__ = ("cancelled", "pending")

    def __init__(self) -> None:
        self.pending = 0
        self.cancelled = False


class Playout:
    """The sending side of one leg.

    Args:
        payload_type: the negotiated number.
        codec: gives frame size, timestamp step and, on first use, the encoder.
        ssrc: our source; below zero until whoever stamps packets sets it.
        limit_frames: how much may be queued.

    Attributes:
        sequence_number, timestamp: of the next packet; they count without wrapping.
        queued: samples that wait.
        changed: a ticket was fulfilled, or there is room again; whoever looks sets it to False.
        played_samples: what left of what was pushed, to the sample: no padding, no silence.
    """

    __slots__ = (
        "_codec",
        "_encoder",
        "_increment",
        "_limit",
        "_offset",
        "_paused",
        "_quiet",
        "_segments",
        "changed",
        "frame_size",
        "payload_type",
        "played_samples",
        "queued",
        "sequence_number",
        "ssrc",
        "timestamp",
    )

    def __init__(
        self, payload_type: int, codec: SendingCodec, *, ssrc: int = -1, limit_frames: int = 50
    ) -> None:
        self.payload_type = payload_type
        self.ssrc = ssrc
        self.sequence_number = 0
        self.timestamp = 0
        self.played_samples = 0
        # A list: it holds one piece nearly always, where a deque keeps room for 64.
        self._segments: list[tuple[FloatArray, Ticket | None]] = []
        self._offset = 0
        self._paused = True
        self.queued = 0
        self.changed = False
        self.use(codec, limit_frames=limit_frames)

    def use(self, codec: SendingCodec, *, limit_frames: int = 50) -> None:
        """Send with a codec from the next frame on; what is queued must be at its rate."""
        self._codec = codec
        self._encoder: Encoder | None = None
        self.frame_size = int(codec.frame_size)
        self._increment = int(codec.timestamp_increment)
        self._limit = limit_frames * self.frame_size
        self._quiet: bytes | None = None

    def begin(self, entropy: Entropy) -> None:
        """Start the stream at random numbers (RFC 3550 §5.1) with a source of its own (§8.1)."""
        drawn = entropy(10)
        self.ssrc = int.from_bytes(drawn[:4], "big")
        # RFC 3711 §3.3.1: below 2**15 a late joiner of an SRTP stream knows the rollover count.
        self.sequence_number = int.from_bytes(drawn[4:6], "big") & 0x7FFF
        self.timestamp = int.from_bytes(drawn[6:], "big")

    @property
    def room(self) -> int:
        """How many samples may be pushed now."""
        return self._limit - self.queued

    @property
    def low(self) -> bool:
        """Whether at least half of the queue is free: the moment to push on."""
        return 2 * self.queued <= self._limit

    def push(self, audio: FloatArray, ticket: Ticket | None = None) -> int:
        """Queue as much of `audio` (float32[samples], at the codec's rate) as there is room for.

        Returns:
            The number of samples taken. The array is kept, not copied.
        """
        size = audio.size
        taken = self._limit - self.queued
        if taken >= size:
            taken = size
        else:
            audio = audio[:taken]
        if taken <= 0:
            return 0
        if ticket is not None:
            ticket.pending += taken
        self._segments.append((audio, ticket))
        self.queued += taken
        return taken

    def offer(self, audio: FloatArray) -> bool:
        """Queue a piece as a whole; False when there is no room for it."""
        size = audio.size
        queued = self.queued + size
        if queued > self._limit:
            return False
        if size:
            self._segments.append((audio, None))
            self.queued = queued
        return True

    def take(self) -> FloatArray | None:
        """Return the next frame, padded when the queue ends inside it; None when it is empty."""
        queued = self.queued
        if not queued:
            return None
        size = self.frame_size
        segment, ticket = self._segments[0]
        start = self._offset
        stop = start + size
        left = segment.size - stop
        if left < 0:
            return self._join(size)
        # All of it inside one piece: the usual case; the piece is often no more than the frame.
        if left:
            self._offset = stop
        else:
            self._segments.pop(0)
            self._offset = 0
            self.changed = True
        if ticket is not None:
            ticket.pending -= size
        self.queued = queued = queued - size
        self.played_samples += size
        if left or start:
            if 2 * (queued + size) > self._limit >= 2 * queued:
                self.changed = True
            segment = segment[start:stop]
        return segment

    def _join(self, size: int) -> FloatArray:
        frame = np.zeros(size, np.float32)
        filled = 0
        while filled < size and self._segments:
            segment, ticket = self._segments[0]
            part = segment[self._offset : self._offset + size - filled]
            frame[filled : filled + part.size] = part
            filled += part.size
            self._offset += part.size
            if ticket is not None:
                ticket.pending -= part.size
            if self._offset == segment.size:
                self._segments.pop(0)
                self._offset = 0
                self.changed = True
        self.queued -= filled
        self.played_samples += filled
        self.changed = self.changed or self.low
        return frame

    def next_payload(self, *, silence: bool = False) -> tuple[bytes, bool] | None:
        """Return the payload of this packet time and its marker; None when nothing is to be sent.

        Follow it with `stamp`; call `skip` when it gave None.

        Args:
            silence: whether to encode silence when nothing is queued.
        """
        if not self.queued:
            return (self._silence(), self._paused) if silence else None
        frame = self.take()
        assert frame is not None
        encoder = self._encoder
        if encoder is None:
            encoder = self._encoder = self._codec.create_encoder()
        return encoder.encode(frame), self._paused

    def _silence(self) -> bytes:
        """Return a frame of silence, by the encoder only where its state asks for it."""
        if self._quiet is None:
            self._quiet = self._codec.silence()
        if self._quiet:
            return self._quiet
        if self._encoder is None:
            self._encoder = self._codec.create_encoder()
        return self._encoder.encode(np.zeros(self.frame_size, np.float32))

    def stamp(self, payload: bytes, *, marker: bool = False) -> RTPPacket:
        """Return the next packet: it carries the current values, which then move on."""
        packet = RTPPacket(
            self.payload_type, self.sequence_number, self.timestamp, self.ssrc, payload, marker
        )
        self.sequence_number += 1
        self.timestamp += self._increment
        self._paused = False
        return packet

    def tick(self, *, silence: bool = False) -> RTPPacket | None:
        """Return the packet of this packet time, or None; the timestamp runs on either way."""
        said = self.next_payload(silence=silence)
        if said is None:
            self.skip()
            return None
        return self.stamp(said[0], marker=said[1])

    def skip(self, frames: int = 1) -> None:
        """Let packet times pass in which nothing is sent."""
        self.timestamp += frames * self._increment
        self._paused = True

    def drop(self, ticket: Ticket) -> None:
        """Forget what one caller pushed and has not left."""
        ticket.cancelled = True
        if not ticket.pending:
            return
        kept: list[tuple[FloatArray, Ticket | None]] = []
        offset = self._offset
        for segment, owner in self._segments:
            if owner is not ticket:
                kept.append((segment[offset:], owner))
            offset = 0
        self._segments = kept
        self._offset = 0
        self.queued -= ticket.pending
        ticket.pending = 0
        self.changed = True

    def clear(self) -> bool:
        """Forget everything that waits; True when there was something."""
        playing = self.queued > 0
        for _, ticket in self._segments:
            if ticket is not None:
                ticket.pending = 0
                ticket.cancelled = True
        self._segments.clear()
        self._offset = 0
        self.queued = 0
        self.changed = self.changed or playing
        return playing
