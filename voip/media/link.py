"""What the media of a leg stands between: the socket on one side, the plane on the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from voip.machine import Entropy
from voip.media.delay import JitterSettings
from voip.types import HostPort

__all__ = ["TICK", "MediaLink", "MediaTimer", "Plane", "PlaneSettings"]

#: Seconds between two ticks of a plane.
TICK = 0.005


class MediaLink(Protocol):
    """The socket side of one leg's media."""

    def send(self, data: bytes, addr: HostPort) -> None:
        """Send one RTP datagram."""

    def send_rtcp(self, data: bytes, addr: HostPort) -> None:
        """Send one RTCP datagram."""

    def close(self) -> None:
        """Give the port back."""


@dataclass(slots=True)
class PlaneSettings:
    """Settings of a plane.

    Attributes:
        media_timeout: seconds without RTP and RTCP after which a call that is not on hold ends;
            None never ends it.
        first_media_timeout: the same before the first packet.
        keep_alive: seconds between packets where silence is not sent (RFC 6263).
        packet_rate: packets of one stream that are taken, as a multiple of its nominal rate.
        packet_burst: packets beyond that rate which may come at once, as after a stall.
        jitter: bounds of the jitter buffers.
    """

    media_timeout: float | None = 30.0
    first_media_timeout: float | None = 60.0
    keep_alive: float = 15.0
    packet_rate: float = 4.0
    packet_burst: int = 50
    jitter: JitterSettings | None = None


class Plane(Protocol):
    """What a leg's media asks of the plane that drives it."""

    entropy: Entropy
    settings: PlaneSettings
    unix_offset: float
    #: The latest moment that a packet or a tick told of.
    clock: float

    def rephase(self, media: Any) -> None:
        """Make a leg due in the slot that follows an arrival."""

    def release(self, media: Any) -> None:
        """Let a leg go."""


class MediaTimer:
    """A callback in media time."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make it not happen."""
        self.callback = None
