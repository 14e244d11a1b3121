"""What every test shares: the kit's fixtures, and peers that must not be missing in CI."""

from __future__ import annotations

import os
import signal

import pytest

pytest_plugins = ["voip.testing.plugin"]

REQUIRE_PEERS = os.environ.get("VOIP_REQUIRE_PEERS") == "1"


def pytest_configure():
    """Take signals as a terminal's programs do: `nohup` and `&` leave them ignored, also in peers."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where peers are required, a test that skips for want of one is an error."""
    report = yield
    if REQUIRE_PEERS and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped where VOIP_REQUIRE_PEERS=1 allows none: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    """The same for a whole module that skips."""
    report = yield
    if REQUIRE_PEERS and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped where VOIP_REQUIRE_PEERS=1 allows none: {report.longrepr}"
    return report
