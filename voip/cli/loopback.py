"""`voip echo --loopback`: the line calls itself over real sockets and judges what comes back."""

from __future__ import annotations

import asyncio

from voip.cli.audio import load_speech
from voip.cli.call import ScriptedCall, dial_and_measure, finish
from voip.cli.echo import EchoOptions, EchoSession, make_session
from voip.cli.output import Output
from voip.cli.report import CallReport
from voip.cli.running import SessionOptions, UsageError, with_codec
from voip.media.measure import compare, level_dbfs
from voip.sip.protocol import SessionInitiationProtocol

__all__ = ["CORRELATION_WANTED", "loopback"]

HOST = "127.0.0.1"
CORRELATION_WANTED = 0.9
"""The mean correlation of aligned half seconds below which the line has failed."""

QUIET_SECS = 1.5
LEAST_WAIT_SECS = 2.0
LONGEST_WAIT_SECS = 15.0


async def loopback(options: EchoOptions, output: Output) -> int:
    """Call ourselves, print the report, and return 0 when what came back is what was said.

    Raises:
        UsageError: the options name an account or a certificate, which nobody would use.
    """
    if any((options.aor, options.proxy, options.tls_cert, options.tls_key)):
        raise UsageError("--loopback calls itself: it takes no account, proxy or certificate")
    line = make_session(SessionOptions(codec=options.codec), output)
    caller = SessionInitiationProtocol()
    call_class = with_codec(ScriptedCall, options.codec)
    with output:
        async with (
            line.serve(host=HOST, port=0, transports=("udp",)),
            caller.serve(host=HOST, port=0, transports=("udp",)),
        ):
            report = await _call(line, caller, call_class)
    output.table(report.lines)
    return _verdict(report, output)


async def _call(
    line: EchoSession, caller: SessionInitiationProtocol, call_class: type[ScriptedCall]
) -> CallReport:
    speech, rate = load_speech()
    port = line.listeners["UDP"].port
    uri = f"sip:echo@{HOST}:{port}"
    leg, report = await dial_and_measure(caller, uri, call_class, keep=True)
    answered = asyncio.get_running_loop().time()
    await leg.say(speech, rate)
    await _listen_to_the_end(leg)
    await finish(leg, report, answered)
    # a narrow codec cannot bring back what it has no room for: judge at the lower of the two rates
    common = min(rate, leg.codec.sample_rate_hz)
    said = leg.resample(speech, rate, common)
    heard = leg.resample(leg.heard, leg.RESAMPLING_RATE_HZ, common)
    report.level_dbfs = level_dbfs(heard)
    report.metrics = compare(said, heard, common)
    return report


async def _listen_to_the_end(leg: ScriptedCall) -> None:
    """Wait until the echo has been quiet for longer than any pause of the speech."""
    began = asyncio.get_running_loop().time()
    while not await leg.wait_over(0.1):
        waited = asyncio.get_running_loop().time() - began
        if waited > LONGEST_WAIT_SECS:
            return
        if waited > LEAST_WAIT_SECS and leg.quiet_secs > QUIET_SECS:
            return


def _verdict(report: CallReport, output: Output) -> int:
    metrics = report.metrics
    if metrics is None or metrics.correlation < CORRELATION_WANTED:
        got = 0.0 if metrics is None else metrics.correlation
        output.say(f"FAILED: correlation {got:.3f}, wanted {CORRELATION_WANTED}", "bold red")
        return 1
    output.say("OK: what came back is what was said", "bold green")
    return 0
