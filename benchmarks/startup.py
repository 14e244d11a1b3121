"""Bar 9: how long an import and a start take: `python -m benchmarks.startup`.

- `import voip` in at most 1.5 times `import asyncio`, and without NumPy until a name needs it;
- `python -m voip echo` listens within 4 times the time of `python -c 'import asyncio, numpy'`.

Both sides alternate; every figure is the median of many fresh processes, imports timed inside the
process (the interpreter's own start counts for neither side), starts from outside.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMPORT_BAR, LISTEN_BAR = 1.5, 4.0
TIMED = "import time; t = time.perf_counter(); import {name}; print(time.perf_counter() - t)"
LINE = ["-m", "voip", "echo", "--host", "127.0.0.1", "--port", "0"]


def output(*arguments: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def import_ms(name: str) -> float:
    return 1000 * float(output("-c", TIMED.format(name=name)))


def plain_ms() -> float:
    began = time.perf_counter()
    output("-c", "import asyncio, numpy")
    return 1000 * (time.perf_counter() - began)


def listening_ms() -> float:
    """Return the time until the line says where to dial it."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *LINE],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if b"listening" in line:
                return 1000 * (time.perf_counter() - began)
        raise RuntimeError("voip echo ended before it listened")
    finally:
        process.terminate()
        process.communicate(timeout=20)


def measure(rounds: int) -> dict[str, object]:
    kinds = {
        "import asyncio": lambda: import_ms("asyncio"),
        "import voip": lambda: import_ms("voip"),
        "start asyncio, numpy": plain_ms,
        "voip echo listens": listening_ms,
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for kind in kinds.values():
        kind()  # byte code and file cache
    for _ in range(rounds):
        for name, kind in kinds.items():
            found[name].append(kind())
    median = {name: statistics.median(values) for name, values in found.items()}
    loaded = output("-c", "import sys, voip; print('numpy' in sys.modules)").strip() == "True"
    bars = [
        ("import voip / import asyncio", median["import voip"], median["import asyncio"]),
        ("voip echo / asyncio, numpy", median["voip echo listens"], median["start asyncio, numpy"]),
    ]
    lines = [
        {
            "what": what,
            "ratio": round(ours / theirs, 2),
            "bar": bar,
            "passed": ours <= bar * theirs,
        }
        for (what, ours, theirs), bar in zip(bars, (IMPORT_BAR, LISTEN_BAR), strict=True)
    ]
    lines.append(
        {"what": "numpy after import voip", "ratio": loaded, "bar": False, "passed": not loaded}
    )
    return {
        "benchmark": "startup",
        "python": platform.python_version(),
        "rounds": rounds,
        "ms": {name: round(value, 1) for name, value in median.items()},
        "bars": lines,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    report = measure(arguments.rounds)
    for name, value in report["ms"].items():
        print(f"{name:24}{value:>8} ms")
    for bar in report["bars"]:
        verdict = "ok" if bar["passed"] else "MISSED"
        print(f"{bar['what']:32}{bar['ratio']!s:>8} (bar {bar['bar']}) {verdict}")
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(bar["passed"] for bar in report["bars"]) else 1


if __name__ == "__main__":
    sys.exit(main())
