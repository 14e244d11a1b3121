"""What `python -m benchmarks.acceptance` runs: every line that the project has to show, as a step."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["STEPS", "Step"]

ROOT = Path(__file__).resolve().parent.parent
CODECS = ("opus", "g722", "pcma", "pcmu", "l16")
SEED = 1
JSON = "{json}"
"""Stands in a command for a file that the benchmark writes its figures to."""


@dataclass(frozen=True)
class Step:
    """One thing to show.

    Attributes:
        name: names the file of its result.
        target: what must hold, in words.
        command: what follows `python`; `{json}` is a file for figures.
        limit: seconds after which it has failed.
        seed: what makes it repeatable, None where sockets and clocks decide.
        needs: a file of the repository without which the step does not exist yet.
    """

    name: str
    target: str
    command: tuple[str, ...]
    limit: float = 900.0
    seed: int | None = None
    needs: str = ""
    environment: dict[str, str] = field(default_factory=dict)


def checks(name: str, target: str, *paths: str, limit: float = 900.0) -> Step:
    """Return a step that runs test files; a peer that is missing fails it."""
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *paths)
    needs = paths[0].partition("::")[0] if paths else ""
    return Step(name, target, command, limit, needs=needs, environment={"VOIP_REQUIRE_PEERS": "1"})


def benchmark(name: str, target: str, module: str, *options: str, limit: float = 900.0) -> Step:
    """Return a step that runs one of our benchmarks."""
    command = ("-m", f"benchmarks.{module}", *options)
    return Step(name, target, command, limit, needs=f"benchmarks/{module}.py")


def seeded(step: Step) -> Step:
    return Step(
        step.name,
        step.target,
        (*step.command, "--seed", str(SEED)),
        step.limit,
        SEED,
        step.needs,
        step.environment,
    )


STEPS: tuple[Step, ...] = (
    *(
        Step(
            f"loopback-{codec}",
            f"echo --loopback --codec {codec} ends with exit status 0 and its report",
            ("-m", "voip", "echo", "--loopback", "--codec", codec),
            120.0,
        )
        for codec in CODECS
    ),
    checks(
        "baresip",
        "baresip hears its own speech over UDP, TCP and TLS with five codecs: correlation > 0.9",
        "tests/interop/test_baresip.py",
    ),
    checks(
        "kamailio",
        "register at Kamailio (MD5, SHA-256; UDP, TCP, TLS), be called, call, survive its restart",
        "tests/interop/test_kamailio.py",
    ),
    checks("sipp", "sipp calls and is called", "tests/interop/test_sipp.py"),
    *(
        benchmark(
            f"sipp-2000-{name}",
            f"2,000 sipp calls at 100 a second over {name.upper()}: 0 failed",
            "sipp_echo",
            *("--transport", transport, "--json", JSON),
        )
        for name, transport in (("udp", "u1"), ("tcp", "t1"))
    ),
    seeded(
        benchmark(
            "lossy-calls",
            "10,000 calls, 10 % loss both ways: all complete, nothing left",
            "lossy_calls",
        )
    ),
    checks(
        "torture",
        "RFC 4475: 49 of 49 on UDP and TCP; RFC 5118: 12 of 12",
        *("tests/sip/test_torture.py", "tests/sip/test_torture_answers.py"),
    ),
    seeded(
        benchmark(
            "fuzz",
            "1,000,000 mutated messages: no stray exception, none over 20 ms",
            "fuzz_sip",
            *("--messages", "1000000"),
            limit=7200.0,
        )
    ),
    checks(
        "races-and-timers",
        "2xx/ACK and races, RFC 5407, timers A–M, 2xx and registration in virtual time",
        *("tests/sip/test_timers.py", "tests/sip/test_races.py", "tests/sip/test_rfc5407.py"),
        *("tests/sip/test_tables.py", "tests/sip/test_registration.py"),
    ),
    benchmark(
        "bar-1-inline-plane",
        "at least 2 × the calls of aiortp's full path",
        "rtp_inline",
        *("--capacity", "--json", JSON),
        limit=3600.0,
    ),
    benchmark(
        "bar-6-parser",
        "≤ 0.30 × aiosipua, ≤ 0.5 × the best Python peer; response ≤ 1.5 µs; INVITE ≤ 3.5 kB",
        "sip_parse",
    ),
    benchmark(
        "bar-7-signalling",
        "≤ 0.33 × aiosipua alone; with legs ≤ 0.5 × aiosipua, ≤ 0.6 × baresip; 0 failed; ≤ 5 kB",
        "sip_calls",
        *("--long", "--transports", "u1", "t1", "--memory", "--json", JSON),
        limit=7200.0,
    ),
    benchmark(
        "bar-9-startup",
        "import voip ≤ 1.5 × asyncio, no numpy; echo listens ≤ 4 × asyncio + numpy",
        "startup",
        *("--json", JSON),
    ),
    seeded(
        benchmark(
            "bar-10-simulation",
            "≥ 4,000 call-minutes per CPU second without media, ≥ 5 inline",
            "simulation",
            *("--json", JSON),
        )
    ),
    checks("suite", "python -m pytest, whole, under five minutes", limit=300.0),
)
