from __future__ import annotations

from types import SimpleNamespace

from voip.cli.report import CallReport, media_figures
from voip.media.measure import AudioMetrics, Stretch


def test_only_what_is_known_is_told():
    assert dict(CallReport(sent=3).lines) == {
        "packets": "3 sent, ? received",
        "round-trip": "not reported by the far end",
    }


def test_figures_have_units():
    metrics = AudioMetrics([Stretch(0, 1.5, 0.98, -1, None)], 20, 19, -21.0, -22.0)
    report = CallReport("pcmu/8000", 0.01, 9.04, 0.002, 98, 98, 2, 0.0003, -25.4, "bye", metrics)
    assert dict(report.lines) == {
        "codec": "pcmu/8000",
        "set-up time": "10.0 ms",
        "duration": "9.0 s",
        "round-trip": "2.0 ms",
        "packets": "98 sent, 98 received",
        "loss": "2.00% (2 packets)",
        "jitter": "0.3 ms",
        "level heard": "-25.4 dBFS",
        "echo delay": "1500.0 ms",
        "level said": "-21.0 dBFS, came back -22.0",
        "signal to noise": "100.0 dB",
        "frames found": "19 of 20",
        "correlation": "0.980 over 1 half seconds, worst 0.980",
        "ended": "bye",
    }


def test_the_wire_tells_what_it_counted():
    heard = SimpleNamespace(received=10, lost=1, jitter_s=0.004)
    rtcp = SimpleNamespace(
        round_trip_s=0.05, sent=SimpleNamespace(packets=11), streams=SimpleNamespace(active=heard)
    )
    report = CallReport()
    media_figures(report, SimpleNamespace(rtcp=rtcp))
    assert (report.round_trip, report.sent, report.received) == (0.05, 11, 10)
    assert (report.lost, report.jitter) == (1, 0.004)
    rtcp.streams.active = None
    media_figures(report, SimpleNamespace(rtcp=rtcp))
    assert (report.received, report.lost) == (0, None)
    media_figures(CallReport(), None)
