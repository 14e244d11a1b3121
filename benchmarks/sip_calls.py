"""Bar 7: what a call's signalling costs, beside aiosipua and baresip in the same run.

    python -m benchmarks.sip_calls                  10 s each, three rounds, UDP
    python -m benchmarks.sip_calls --long           60 s each: the 32 s timers expire too
    python -m benchmarks.sip_calls --transports u1 t1 --memory --maximum
    python -m benchmarks.sip_calls --json FILE      the same, as a file

sipp places calls (INVITE, 180, 200, ACK, BYE, 200) at an even rate, each subject's own, about half
of what it takes. `--long` and `--maximum` look first what that is on this machine today; `--rate`
gives all the same. (The busier, the less a call costs: the first one after a pause of some ms finds
nothing in the caches.) All subjects take their turn in each round (A B C D A B C D …), so that a
machine whose speed drifts treats them alike. Reported are medians over the rounds, and medians of
the ratios within a round. Ours is frozen for the garbage collector after start (`gc.freeze()`);
peers are as they come.

    voip           the endpoint on its transports, offer and answer negotiated, no leg
    voip-legs      the SIP object: an AudioCall, a media session and a pair of ports per call
    aiosipua       negotiating, no media: what both are measured against
    baresip        with its media session per call
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.sipp_load import SUBJECT_PORT, Load, hold, load

PEERS = Path(__file__).resolve().parent / "peers"
SUBJECTS = ("voip", "aiosipua", "voip-legs", "baresip")
#: calls a second: about half of what each takes on one core of the machine that this was written on
#: (9,300, 1,660 and 3,900), unless `--maximum` finds out what they take today. baresip searches all
#: that its last 32 s left behind for every message: what it takes for 4 s is no measure, and 250 a
#: second, for a minute, are too many for it.
RATES = {"voip": 4600.0, "aiosipua": 830.0, "voip-legs": 1900.0, "baresip": 150.0}
#: calls a second that ours have to take without a failed one, over UDP
LEAST_A_SECOND = {"voip": 4500, "voip-legs": 3000}
SEARCHED = ("voip", "aiosipua", "voip-legs")
#: calls that stay open at once; those with media send 50 packets a second each
HELD = {"voip": 3000, "aiosipua": 3000, "voip-legs": 400, "baresip": 400}
#: (subject, peer, bar): CPU per call of the first at most `bar` times the second's
BARS = (
    ("voip", "aiosipua", 0.33),
    ("voip-legs", "aiosipua", 0.5),
    ("voip-legs", "baresip", 0.6),
)
MOST_MS = {"p95_ms": 3.0, "p99_ms": 10.0}
MOST_KB = 5.0


def command(subject: str, transport: str) -> list[str]:
    port = str(SUBJECT_PORT)
    if subject == "aiosipua":
        tcp = ["tcp"] if transport == "t1" else []
        return [sys.executable, str(PEERS / "aiosipua_uas.py"), port, *tcp]
    if subject == "baresip":
        return [sys.executable, str(PEERS / "baresip_uas.py"), port]
    mode = "legs" if subject == "voip-legs" else "alone"
    return [sys.executable, "-m", "benchmarks.peers.voip_uas", port, mode]


def missing() -> list[str]:
    """Return what has to be installed first."""
    wanted = [name for name in ("sipp", "taskset", "baresip") if shutil.which(name) is None]
    return wanted + ([] if importlib.util.find_spec("aiosipua") else ["aiosipua"])


def rounds(
    arguments: argparse.Namespace, transport: str, rates: dict[str, float]
) -> dict[str, list[Load]]:
    """Load all subjects in turn, several times over."""
    found: dict[str, list[Load]] = {name: [] for name in arguments.subjects}
    for _ in range(arguments.rounds):
        for name in arguments.subjects:
            rate = arguments.rate or rates[name]
            result = load(command(name, transport), rate, arguments.seconds, transport)
            found[name].append(result)
            print(f"   {transport} {name:10} {json.dumps(result)}", file=sys.stderr, flush=True)
    return found


def median(results: list[Load], key: str) -> float | None:
    values = [result[key] for result in results if result.get(key) is not None]
    return round(statistics.median(values), 3) if values else None


def summary(results: list[Load]) -> Load:
    keys = ("rate", "us_per_call", "generator_us", "p50_ms", "p95_ms", "p99_ms")
    medians: Load = {key: median(results, key) for key in keys}  # type: ignore[misc]
    return medians | {
        "failed": sum(result["failed"] for result in results),
        "retransmissions": sum(result["retransmissions"] for result in results),
        "rounds_us": [result["us_per_call"] for result in results],  # type: ignore[dict-item]
    }


def ratios(found: dict[str, list[Load]]) -> list[dict[str, object]]:
    """Return every bar with its median ratio over the rounds."""
    lines = []
    for ours, peer, bar in BARS:
        if found.get(ours) and found.get(peer):
            pairs = zip(found[ours], found[peer], strict=True)
            each = [one["us_per_call"] / two["us_per_call"] for one, two in pairs]
            ratio = round(statistics.median(each), 3)
            lines.append(
                {"what": f"{ours} / {peer}", "ratio": ratio, "bar": bar, "passed": ratio <= bar}
            )
    return lines


def highest(name: str, transport: str, start: float) -> float:
    """Return the highest rate that is taken, within 8 %."""
    low, high, rate = 0.0, None, start
    while high is None or high / max(low, 1) > 1.08:
        if is_taken(name, transport, round(rate)):
            low = rate
        else:
            high = rate
        rate = low * 1.25 if high is None else (low * high) ** 0.5 if low else high / 1.25
        if rate < 5:
            break
    return round(low)


def is_taken(name: str, transport: str, rate: int) -> bool:
    """Tell whether two runs of three have no failed call and few repeats.

    One run that fails may be somebody else's on the same machine.
    """
    clean = missed = 0
    while max(clean, missed) < 2:
        result = load(command(name, transport), rate, 4, transport)
        print(f"   {transport} {name:10} {json.dumps(result)}", file=sys.stderr, flush=True)
        repeats = result["retransmissions"] / max(1, result["ok"])
        if not result["failed"] and repeats <= 0.001 and result["late"] < 1.2:
            clean += 1
        else:
            missed += 1
    return clean == 2


def versions() -> dict[str, str]:
    from importlib.metadata import version

    lines = subprocess.run(["sipp", "-v"], capture_output=True, text=True, check=False).stdout
    sipp = next((line.strip(" .") for line in lines.splitlines() if "SIPp" in line), "?")
    return {"python": platform.python_version(), "aiosipua": version("aiosipua"), "sipp": sipp}


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    report: dict[str, object] = {
        "benchmark": "sip_calls",
        "seconds": arguments.seconds,
        "rounds": arguments.rounds,
        "versions": versions(),
    }
    for transport in arguments.transports:
        maximum = {
            name: highest(name, transport, 2 * RATES[name])
            for name in arguments.subjects
            if arguments.maximum and name in SEARCHED
        }
        halves = {name: round(most / 2) for name, most in maximum.items() if most}
        found = rounds(arguments, transport, RATES | halves)
        part: dict[str, object] = {name: summary(results) for name, results in found.items()}
        part["bars"] = ratios(found) + other_bars(found)
        part["maximum"] = maximum
        if transport == "u1":
            part["bars"] += scale(maximum)
        report[transport] = part
    if arguments.memory:
        kept = {
            name: hold(command(name, "u1"), HELD[name], 300, "u1") for name in arguments.subjects
        }
        report["memory"] = kept
        kb = kept.get("voip", {}).get("kb_per_call")
        if kb is not None:
            what = {"what": "voip kB per open call", "ratio": kb, "bar": MOST_KB}
            report["memory_bars"] = [what | {"passed": kb <= MOST_KB}]
    return report


def scale(maximum: dict[str, float]) -> list[dict[str, object]]:
    """Return the bars on how many calls a second ours take."""
    return [
        {
            "what": f"{name} calls a second",
            "ratio": most,
            "bar": LEAST_A_SECOND[name],
            "passed": most >= LEAST_A_SECOND[name],
        }
        for name, most in maximum.items()
        if name in LEAST_A_SECOND
    ]


def other_bars(found: dict[str, list[Load]]) -> list[dict[str, object]]:
    """Return the bars on failures and on the time to the 200 of our own subjects."""
    lines: list[dict[str, object]] = []
    for name in ("voip", "voip-legs"):
        results = found.get(name)
        if not results:
            continue
        failed = sum(result["failed"] for result in results)
        lines.append({"what": f"{name} failed", "ratio": failed, "bar": 0, "passed": not failed})
        for key, most in MOST_MS.items():
            value = median(results, key)
            if value is not None:
                what = f"{name} INVITE to 200 {key.removesuffix('_ms')} ms"
                lines.append({"what": what, "ratio": value, "bar": most, "passed": value <= most})
    return lines


def bars_of(report: dict[str, object]) -> list[dict[str, object]]:
    bars = [
        dict(bar, what=f"{key} {bar['what']}")
        for key in ("u1", "t1")
        if key in report
        for bar in report[key]["bars"]
    ]  # type: ignore[index]
    return bars + list(report.get("memory_bars", []))  # type: ignore[call-overload]


def show(report: dict[str, object]) -> None:
    columns = ("rate", "failed", "us_per_call", "generator_us", "p50_ms", "p95_ms", "p99_ms")
    for transport in ("u1", "t1"):
        part = report.get(transport)
        if part is None:
            continue
        print(f"\n{transport:12}" + "".join(f"{column:>14}" for column in columns))
        for name in SUBJECTS:
            if name in part:  # type: ignore[operator]
                values = [part[name].get(column) for column in columns]  # type: ignore[index]
                print(f"{name:12}" + "".join(f"{'-' if v is None else v:>14}" for v in values))
    for name, value in report.get("memory", {}).items():  # type: ignore[attr-defined]
        print(f"memory {name:12} {value}")
    print()
    for bar in bars_of(report):
        verdict = "ok" if bar["passed"] else "MISSED"
        print(f"{bar['what']:44} {bar['ratio']:>8} (bar {bar['bar']}) {verdict}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--long", action="store_true", help="60 s per run, and --maximum")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, help="calls per second, the same for all")
    parser.add_argument("--transports", nargs="+", choices=("u1", "t1"), default=["u1"])
    parser.add_argument("--subjects", nargs="+", choices=SUBJECTS, default=list(SUBJECTS))
    parser.add_argument("--memory", action="store_true", help="kB per open call too")
    parser.add_argument(
        "--maximum", action="store_true", help="find out what each takes, load half"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    if arguments.long:
        arguments.seconds, arguments.maximum = max(arguments.seconds, 60.0), True
    return arguments


def main(argv: list[str] | None = None) -> int:
    arguments = parse(argv)
    if missing():
        print(f"not installed: {', '.join(missing())}", file=sys.stderr)
        return 2
    report = measure(arguments)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(bar["passed"] for bar in bars_of(report)) else 1


if __name__ == "__main__":
    sys.exit(main())
