"""Bar 1: the inline plane, socket -> jitter buffer -> hook -> socket, beside aiortp's full path.

    python -m benchmarks.rtp_inline                 cost per packet at 200 calls, A B A B
    python -m benchmarks.rtp_inline --capacity      calls on one core, by bisection
    python -m benchmarks.rtp_inline --json FILE     the same, as a file

Both decode mu-law to float32 at 16 kHz, hand each frame with its level to a Python hook per call, and
send back what the hook queues, on a paced tick. The subject runs on one core, a native generator
(`load/rtpload.c`, 50 packets a second per call) on another; a run in which the generator was late by
more than a millisecond at p99 is thrown away. A packet here is one received and the one sent for it.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import importlib.util
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PORT = 21000
SOURCE_PORT = 20000
SUBJECT_CORE, LOAD_CORE = 1, 0
SUBJECTS = ("voip", "aiortp")


# The subject: our side


def make_leg_class():
    from voip.audio import AudioCall
    from voip.media.dsp import Resampler

    class Echo(AudioCall):
        """Says back every frame, through the same rates as the peer."""

        def __post_init__(self):
            super().__post_init__()
            self.down = Resampler(16000, 8000).process

        def audio_received(self, *, audio, rms):
            self.play(self.down(audio))

    return Echo


async def serve(calls: int, seconds: float) -> None:
    import gc
    import ipaddress
    import secrets

    from voip.codecs import PCMU
    from voip.media.plane import InlinePlane
    from voip.rtp.protocol import RealtimeTransportProtocol
    from voip.rtp.source import RemoteSource, SourceRules
    from voip.sdp.types import MediaDescription
    from voip.types import HostPort

    loop = asyncio.get_running_loop()
    plane = InlinePlane(secrets.token_bytes)
    rtp = RealtimeTransportProtocol(plane=plane)
    await rtp.listen("127.0.0.1", PORT)
    leg_class = make_leg_class()
    for number in range(calls):
        ip = str(ipaddress.ip_address(0x7F010000 + number))
        remote = HostPort(ip, SOURCE_PORT)
        sock = rtp.reserve("127.0.0.1", remote=remote, signalling_ip=ip)
        media = MediaDescription("audio", 0, "RTP/AVP", [PCMU.to_payload_format()])
        leg = leg_class(rtp=rtp, sip=None, media=media, caller="")
        rules = SourceRules("strict", remote, ip, frozenset({0}))
        adopted = plane.adopt(leg, sock.link, source=RemoteSource(rules), now=loop.time())
        sock.bind(adopted)
    gc.collect()
    gc.freeze()
    await asyncio.sleep(seconds)


# The measurement


def build(folder: Path) -> Path:
    """Compile the generator."""
    program = folder / "rtpload"
    source = HERE / "load" / "rtpload.c"
    subprocess.run(["gcc", "-O2", "-w", "-o", program, source, "-lm"], check=True)
    return program


def command(subject: str, calls: int, seconds: int) -> list[str]:
    if subject == "voip":
        options = ["--serve", str(calls), "--seconds", str(seconds)]
        return [sys.executable, "-m", "benchmarks.rtp_inline", *options]
    peer = str(HERE / "peers" / "aiortp_echo.py")
    return [
        sys.executable,
        peer,
        str(calls),
        str(PORT),
        "2",
        str(SOURCE_PORT),
        str(seconds),
        "full",
    ]


def _isolate() -> None:
    """Run in an own session, and end with the parent, however it ends."""
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def trial(program: Path, subject: str, calls: int, seconds: float) -> dict[str, float]:
    """Start a subject, load it, and return what the generator measured."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        ["taskset", "-c", str(SUBJECT_CORE), *command(subject, calls, int(seconds) + 40)],
        env=environment,
        cwd=HERE.parent,
        preexec_fn=_isolate,
        stderr=subprocess.PIPE,
    )
    try:
        time.sleep(1.5 + calls / 300)
        if process.poll() is not None:
            raise SystemExit(process.stderr.read().decode()[-2000:])
        load = ["-n", str(calls), "-p", str(PORT), "-o", str(SOURCE_PORT), "-t", str(seconds)]
        if subject == "aiortp":
            load += ["-s", "2"]
        done = subprocess.run(
            ["taskset", "-c", str(LOAD_CORE), program, *load, "-w", "2", "-P", str(process.pid)],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return json.loads(done.stdout)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()


def measured(program: Path, subject: str, calls: int, seconds: float) -> dict[str, float]:
    """Return a trial in which the generator was on time; the last one after four."""
    for _ in range(4):
        result = trial(program, subject, calls, seconds)
        if result["gen_late_p99"] <= 1.0:
            break
    line = "   {:7} n={:<5} {:6.2f} us/packet  loss {:.5f}  spacing p99 {:5.2f} ms  cpu {:.2f}  late {:.2f}"
    print(
        line.format(
            subject,
            calls,
            result["us_per_pkt"],
            result["loss"],
            result["jit_p99"],
            result["cpu"],
            result["gen_late_p99"],
        ),
        file=sys.stderr,
        flush=True,
    )
    return result


def holds(result: dict[str, float]) -> bool:
    return result["loss"] < 0.001 and result["jit_p99"] < 5.0 and result["rtd_p99"] < 250.0


def cost(program: Path, calls: int, rounds: int) -> dict[str, float]:
    """Return the median cost per packet of each subject, alternating."""
    costs: dict[str, list[float]] = {subject: [] for subject in SUBJECTS}
    for _ in range(rounds):
        for subject in SUBJECTS:
            costs[subject].append(measured(program, subject, calls, 4.0)["us_per_pkt"])
    return {subject: statistics.median(found) for subject, found in costs.items()}


def capacity(program: Path, subject: str, start: int) -> int:
    """Return the most calls that pass two of three trials, within 6 %."""
    best, worst, calls = 0, 0, start
    while True:
        passed = failed = 0
        while passed < 2 and failed < 2:
            good = holds(measured(program, subject, calls, 4.0))
            passed, failed = passed + good, failed + (not good)
        if passed >= 2:
            best = calls
        else:
            worst = calls
        if worst and worst - best <= max(2, 0.06 * best):
            return best
        calls = (best + worst) // 2 if worst else int(calls * 1.4)
        if calls < 4:
            return best


def versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("numpy", "aiortp")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def report(arguments: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        costs = cost(program, arguments.calls, arguments.rounds)
        result: dict[str, object] = {
            "benchmark": "rtp_inline",
            "versions": versions(),
            "calls": arguments.calls,
            "us_per_packet": {name: round(found, 2) for name, found in costs.items()},
            "cost_ratio": round(costs["aiortp"] / costs["voip"], 2),
        }
        if arguments.capacity:
            calls = {
                "aiortp": capacity(program, "aiortp", 250),
                "voip": capacity(program, "voip", 500),
            }
            result["capacity"] = calls
            result["capacity_ratio"] = round(calls["voip"] / max(1, calls["aiortp"]), 2)
    return result


def show(result: dict[str, object]) -> None:
    print(f"\n{'subject':10}{'µs per packet':>15}{'calls on a core':>18}")
    for subject in SUBJECTS:
        cost_here = result["us_per_packet"][subject]
        calls = result.get("capacity", {}).get(subject, "-")
        print(f"{subject:10}{cost_here:>15}{calls:>18}")
    print(
        f"ratio: cost {result['cost_ratio']} x, calls {result.get('capacity_ratio', '-')} x (bar: 2)"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--capacity", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        asyncio.run(serve(arguments.serve, arguments.seconds))
        return 0
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if importlib.util.find_spec("aiortp") is None:
        print("aiortp is not installed: pip install '.[bench]'", file=sys.stderr)
        return 2
    result = report(arguments)
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    ratio = result.get("capacity_ratio") or result["cost_ratio"]
    return 0 if ratio >= 2.0 else 1


if __name__ == "__main__":
    sys.exit(main())
