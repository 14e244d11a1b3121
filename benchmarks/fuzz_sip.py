"""Throw mutated SIP messages at the parser and the validator: `python -m benchmarks.fuzz_sip --messages 1000000`.

Every message is made of a seed and its number alone, so that any one of them can be made again. Two things are
failures: an exception that is no `ParseError`, and more than 20 ms of thread CPU time for one message; an outlier
is run five times again, and the fastest of these counts. `--state FILE` resumes where an earlier run stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from voip.errors import ParseError
from voip.sip.messages import MAX_LINE_BYTES, Message, Request, Response
from voip.sip.types import CallerID
from voip.sip.validation import validate, validate_response

DATA = Path(__file__).parents[1] / "tests" / "data"
LIMIT_SECONDS = 0.020
AGAIN = 5
MAX_BYTES = 65535
ALLOW = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")
TYPED = (
    *(
        "via",
        "vias",
        "from_",
        "to",
        "call_id",
        "cseq",
        "contact",
        "contacts",
        "routes",
        "record_routes",
    ),
    *("max_forwards", "expires", "content_length", "content_type", "body"),
)
# What broke other stacks: numbers past every width, half escapes, look-alikes, injected line ends.
DICTIONARY = (
    *(
        b"",
        b" ",
        b"\t",
        b"\r\n",
        b"\r\n ",
        b"\r",
        b"\n",
        b"\x00",
        b"\xff",
        b"\x0b",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
    ),
    *(
        b'"',
        b"\\",
        b"<",
        b">",
        b";",
        b",",
        b":",
        b"=",
        b"@",
        b"%",
        b"%00",
        b"%0d%0a",
        b"%zz",
        b"?",
        b"&",
        b"[",
        b"]",
    ),
    *(
        b"0",
        b"-1",
        b"+1",
        b"1_0",
        b"255",
        b"256",
        b"65536",
        b"2147483648",
        b"4294967296",
        b"18446744073709551616",
    ),
    *(
        b"9" * 50,
        b"9" * 5000,
        b"0" * 3000,
        "１２".encode(),
        "ſ".encode(),
        b"K",
        b"\xed\xa0\x80",
    ),
    *(
        b"sip:",
        b"sips:",
        b"tel:",
        b"SIP/2.0",
        b"SIP/2.0/UDP ",
        b"z9hG4bK",
        b";branch=",
        b";tag=",
        b";received=",
    ),
    *(
        b"Content-Length: 0\r\n",
        b"l: 5\r\n",
        b"Via: SIP/2.0/UDP a\r\n",
        b"To: <sip:a@b>\r\n",
        b"Contact: *\r\n",
    ),
    *(
        b"Content-Type: multipart/mixed;boundary=\r\n",
        b"Require: x\r\n",
        b"X : y\r\n",
        b"[::1]",
        b"[:::1]",
        b"1.2.3.4",
    ),
    *(
        b"<<<<<<<<",
        b'"\\"\\"',
        b"((((((((",
        b"a=rtpmap:0 PCMU/8000\r\n",
        b"m=audio 4294967296 RTP/AVP 0\r\n",
    ),
)
FIRST = b"INVITE sip:a@b SIP/2.0\r\n"


def corpus() -> list[bytes]:
    """Return the messages to mutate: RFC 4475 and RFC 5118, whole."""
    return [path.read_bytes() for path in sorted(DATA.glob("rfc*/*.dat"))]


def mutated(seed: int, number: int, seeds: list[bytes]) -> bytes:
    """Return message `number` of a run, at most 65,535 bytes long."""
    chance = random.Random(seed * 1_000_003 + number)
    data = chance.choice(seeds)
    for _ in range(1 + int(chance.expovariate(0.5))):
        data = chance.choice(MUTATIONS)(data, chance, seeds)[:MAX_BYTES]
    return data


def _flip(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + chance.randrange(2) :]


def _insert(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(DICTIONARY) + data[at + chance.choice((0, 0, 1, 4, 20)) :]


def _cut(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + data[at + chance.randrange(1, 40) :]


def _truncate(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _repeat(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    piece = data[at : at + chance.choice((1, 2, 8, 80))]
    return data[:at] + piece * chance.choice((2, 3, 70, 300, 5000)) + data[at:]


def _flood(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    piece = chance.choice(DICTIONARY)[:40] + chance.choice(DICTIONARY)[:40]
    return (
        data[:at]
        + piece * (chance.choice((64, 257, 4000, 60000)) // max(1, len(piece)) + 1)
        + data[at:]
    )


def _lines(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    lines = data.split(b"\r\n")
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            lines[one], lines[other] = lines[other], lines[one]
        case 1:
            lines.insert(one, lines[other])
        case 2:
            del lines[one]
        case _:
            lines[one] = lines[one].partition(b":")[0] + b":" + lines[other].partition(b":")[2]
    return b"\r\n".join(lines)


def _splice(data: bytes, chance: random.Random, seeds: list[bytes]) -> bytes:
    other = chance.choice(seeds)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other)) :]


def _value(data: bytes, chance: random.Random, _: list[bytes]) -> bytes:
    lines = data.split(b"\r\n")
    at = chance.randrange(len(lines))
    name, colon, value = lines[at].partition(b":")
    word = chance.choice(DICTIONARY)
    lines[at] = name + colon + chance.choice((word, value + word, word + value, b" " + word * 3))
    return b"\r\n".join(lines)


MUTATIONS: tuple[Callable[[bytes, random.Random, list[bytes]], bytes], ...] = (
    *(_flip, _flip, _insert, _insert, _cut, _truncate, _repeat, _flood, _lines, _lines, _splice),
    *(_value, _value, _value),
)


def exercise(data: bytes) -> str:
    """Do with a message all that an endpoint does, and return what came of it.

    Raises:
        Exception: whatever is no ParseError, which is a bug.
    """
    try:
        message = Message.parse(data)
        with contextlib.suppress(ParseError):
            Message.parse(data, stream=True)
    except ParseError as error:
        return "dropped" if error.status is None else "parser broke its promise"
    bytes(message)
    for name in TYPED:
        with contextlib.suppress(ParseError):
            getattr(message, name)
    if isinstance(message, Response):
        return "response accepted" if validate_response(message) is None else "response dropped"
    return _answered(message)


def _answered(request: Request) -> str:
    rejection = validate(request, transport="UDP", allow=ALLOW)
    if rejection is not None:
        answer = request.respond(
            rejection.status, reason=rejection.reason, to_tag="a1b2", headers=rejection.headers
        )
        again = Message.parse(bytes(answer))
        full = max(map(len, request.headers.lines), default=0) > 8192 - len(";tag=a1b2")
        assert again.flaw is None or full, "an answer of ours has a flaw"
        return str(rejection.status)
    for address in (request.from_, request.to, *request.contacts, *request.routes):
        line = b"To: " + str(address).encode()
        # What is no UTF-8 is shown as U+FFFD, three bytes long: such a line may outgrow the limit.
        assert len(line) > MAX_LINE_BYTES or Message.parse(FIRST + line + b"\r\n\r\n").to == address
    assert (
        repr(CallerID(request.headers["From"])).isprintable()
        or not request.headers["From"].isascii()
    )
    bytes(request.respond(200, to_tag="a1b2"))
    return "accepted"


def timed(data: bytes) -> tuple[str, float]:
    """Return the outcome of a message and the CPU seconds of this thread that it took."""
    before = time.thread_time()
    outcome = exercise(data)
    return outcome, time.thread_time() - before


def run(messages: int, seed: int = 1, state: Path | None = None) -> dict[str, object]:
    """Run `messages` mutated messages and return counts, the slowest, and every failure.

    Args:
        messages: how many in all, those of an earlier run with the same state included.
        seed: of the mutations.
        state: a file to keep the result in, every 10,000 messages, and to resume from.
    """
    seeds = corpus()
    result = _resumed(state, seed)
    outcomes: Counter[str] = Counter(result["outcomes"])
    for number in range(int(result["messages"]), messages):
        data = mutated(seed, number, seeds)
        try:
            outcome, seconds = timed(data)
        except Exception as error:  # noqa: BLE001 - any exception is a finding here
            result["strays"].append({"number": number, "error": f"{type(error).__name__}: {error}"})
            outcome, seconds = "stray", 0.0
        if seconds > LIMIT_SECONDS:
            result["outliers"] += 1
            seconds = min(timed(data)[1] for _ in range(AGAIN))
            if seconds > LIMIT_SECONDS:
                result["slow"].append({"number": number, "ms": round(seconds * 1000, 2)})
        outcomes[outcome] += 1
        if seconds * 1000 > result["slowest_ms"]:
            result["slowest_ms"], result["slowest"] = round(seconds * 1000, 3), number
        result["messages"] = number + 1
        result["outcomes"] = dict(sorted(outcomes.items()))
        if state is not None and (number + 1) % 10_000 == 0:
            state.write_text(json.dumps(result))
    if state is not None:
        state.write_text(json.dumps(result))
    return result


def _resumed(state: Path | None, seed: int) -> dict:
    if state is not None and state.exists():
        result = json.loads(state.read_text())
        if result["seed"] == seed:
            return result
    return {
        "seed": seed,
        "messages": 0,
        "outcomes": {},
        "strays": [],
        "slow": [],
        "outliers": 0,
        "slowest_ms": 0.0,
        "slowest": None,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--show", type=int, help="print message NUMBER as Python bytes and stop")
    options = parser.parse_args()
    if options.show is not None:
        print(mutated(options.seed, options.show, corpus()))
        return 0
    gc.freeze()
    result = run(options.messages, options.seed, options.state)
    print(json.dumps(result, indent=2))
    return 1 if result["strays"] or result["slow"] else 0


def numbered(seed: int, count: int) -> Iterator[bytes]:
    """Yield the first `count` messages of a run, for other harnesses."""
    seeds = corpus()
    return (mutated(seed, number, seeds) for number in range(count))


if __name__ == "__main__":
    sys.exit(main())
