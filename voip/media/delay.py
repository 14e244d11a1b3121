"""How long packets should wait: the bounds, and what the slack of the last packets says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["REVIEW_PACKETS", "JitterSettings", "percentiles"]

#: Packets that are looked at together.
REVIEW_PACKETS = 100
#: One in 33 may come too late: 3 %.
LATE_SHARE = 33


@dataclass(slots=True)
class JitterSettings:
    """Bounds of the jitter buffer.

    Attributes:
        least_delay: seconds; the delay at the start, and the least one.
        most_delay: seconds; jitter beyond this is loss.
        most_ahead: seconds; a packet further ahead of the delay in use is a jump of the timeline.
        most_packets: packets held at once (RELIABILITY: 100, and 2 s).
        concealed_frames: frames without any packet that count as lost; then silence is played.
    """

    least_delay: float = 0.04
    most_delay: float = 0.5
    most_ahead: float = 0.3
    most_packets: int = 100
    concealed_frames: int = 5


def percentiles(slacks: Mapping[int, int], total: int) -> tuple[int, int]:
    """Return the slack, in frames, below which 3 % and 90 % of the packets were.

    Args:
        slacks: how many packets had which slack.
        total: how many there were.
    """
    below = 0
    low: int | None = None
    high = 0
    for frames in sorted(slacks):
        below += slacks[frames]
        if low is None and below * LATE_SHARE > total:
            low = frames
        high = frames
        if below * 10 >= total * 9:
            break
    return low or 0, high
