"""What a call was like, in figures and in lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from voip.media.measure import AudioMetrics

__all__ = ["CallReport", "media_figures"]


@dataclass(slots=True)
class CallReport:
    """One call, measured; None is what could not be.

    Attributes:
        codec: its name and rate.
        setup: seconds from INVITE to answer.
        duration: seconds from answer to end.
        round_trip: seconds, by RTCP.
        sent: packets sent.
        received: packets received.
        lost: packets lost on the way to us.
        jitter: seconds, by RFC 3550.
        level_dbfs: level of what was heard.
        ended: why it is over.
        metrics: how well what was heard matches what was said.
    """

    codec: str = ""
    setup: float | None = None
    duration: float | None = None
    round_trip: float | None = None
    sent: int | None = None
    received: int | None = None
    lost: int | None = None
    jitter: float | None = None
    level_dbfs: float | None = None
    ended: str = ""
    metrics: AudioMetrics | None = None

    @property
    def lines(self) -> list[tuple[str, str]]:
        """What is known, as (name, figure with unit)."""
        rows = [
            ("codec", self.codec or None),
            ("set-up time", _milliseconds(self.setup)),
            ("duration", None if self.duration is None else f"{self.duration:.1f} s"),
            ("round-trip", _milliseconds(self.round_trip) or "not reported by the far end"),
            ("packets", f"{_known(self.sent)} sent, {_known(self.received)} received"),
            ("loss", self._loss),
            ("jitter", _milliseconds(self.jitter)),
            ("level heard", None if self.level_dbfs is None else f"{self.level_dbfs:.1f} dBFS"),
            *self._match,
            ("ended", self.ended or None),
        ]
        return [(name, figure) for name, figure in rows if figure is not None]

    @property
    def _loss(self) -> str | None:
        if self.lost is None or self.received is None:
            return None
        return f"{max(0, self.lost) / max(1, self.received + self.lost):.2%} ({self.lost} packets)"

    @property
    def _match(self) -> list[tuple[str, str | None]]:
        metrics = self.metrics
        if metrics is None:
            return []
        return [
            ("echo delay", _milliseconds(metrics.delay)),
            ("level said", f"{metrics.said_dbfs:.1f} dBFS, came back {metrics.heard_dbfs:.1f}"),
            ("signal to noise", f"{metrics.snr_db:.1f} dB"),
            ("frames found", f"{metrics.frames_found} of {metrics.frames}"),
            (
                "correlation",
                f"{metrics.correlation:.3f} over {len(metrics.stretches)} half seconds,"
                f" worst {metrics.worst_correlation:.3f}",
            ),
        ]


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1000:.1f} ms"


def _known(count: int | None) -> str:
    return "?" if count is None else str(count)


def media_figures(report: CallReport, wire: Any) -> None:
    """Take over what the leg's wire has counted; call it before the call ends."""
    rtcp = getattr(wire, "rtcp", None)
    if rtcp is None:
        return
    report.round_trip = rtcp.round_trip_s
    report.sent = rtcp.sent.packets
    heard = rtcp.streams.active
    if heard is None:
        report.received, report.lost = 0, None
        return
    report.received, report.lost, report.jitter = heard.received, heard.lost, heard.jitter_s
