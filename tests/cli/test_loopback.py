"""Real sockets in one test, virtual time in the others: nine seconds of call in half a second."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from voip.cli.echo import EchoOptions
from voip.cli.loopback import loopback
from voip.cli.output import Output
from voip.cli.running import UsageError
from voip.codecs import REGISTRY
from voip.testing import Link, Network, run_virtual


def call(codec, network=None):
    stream = io.StringIO()
    status = run_virtual(
        loopback(EchoOptions(codec=codec), Output(0, stream)), network=network or Network()
    )
    return status, stream.getvalue()


@pytest.mark.parametrize("codec", ["pcmu", "pcma", "l16", "g722", "opus"])
def test_what_comes_back_is_what_was_said(codec):
    if codec not in REGISTRY:
        pytest.skip(f"{codec} needs av")
    status, said = call(codec)
    assert status == 0, said
    for figure in ("set-up time", "round-trip", "loss  0.00%", "jitter", "level", "correlation"):
        assert figure in said
    assert said.endswith("OK: what came back is what was said\n")


def test_a_line_that_loses_too_much_fails():
    network = Network(Link(loss=0.35), seed=3)
    status, said = call("pcmu", network)
    assert status == 1
    assert "FAILED: correlation" in said


def test_it_takes_no_account_and_no_certificate():
    for options in (EchoOptions(aor="alice@example.com"), EchoOptions(tls_cert=Path("c.pem"))):
        with pytest.raises(UsageError, match="--loopback"):
            run_virtual(loopback(options, Output(0, io.StringIO())))
