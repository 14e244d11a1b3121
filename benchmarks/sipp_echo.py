"""sipp's built-in caller against `python -m voip echo`: 2,000 calls at 100 a second, none may fail.

python -m benchmarks.sipp_echo [--transport u1|t1] [--calls 2000] [--rate 100] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from peers import sipp
from peers.ourselves import VoipEcho


async def run(options: argparse.Namespace) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with VoipEcho(folder) as line:
            outcome = await sipp.call(
                folder,
                line.port,
                calls=options.calls,
                rate=options.rate,
                transport=options.transport,
                seconds=options.calls / options.rate + 60,
            )
            cpu = line.cpu_seconds()
            status = await line.stop()
    return {
        "benchmark": "sipp_echo",
        "transport": options.transport,
        "calls": options.calls,
        "rate": options.rate,
        "successful": outcome.successful,
        "failed": outcome.failed,
        "retransmissions": outcome.retransmissions,
        "sipp_status": outcome.status,
        "echo_status": status,
        "us_per_call": round(cpu / max(1, outcome.successful) * 1e6),
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--transport", choices=("u1", "t1", "un", "tn"), default="u1")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rate", type=int, default=100)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    result = asyncio.run(run(options))
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    whole = result["successful"] == options.calls and not result["failed"]
    return 0 if whole and not result["echo_status"] else 1


if __name__ == "__main__":
    sys.exit(main())
