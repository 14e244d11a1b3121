"""sipp as a caller or as a callee: built-in scenarios, with their figures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from peers.process import LOOPBACK, Peer, PeerError, free_port, program, until

__all__ = ["Outcome", "SippCallee", "call", "require"]


def require() -> str:
    """Return the path of sipp, or skip."""
    return program("sipp", "sip-tester")


@dataclass(frozen=True)
class Outcome:
    """What sipp says at its end.

    Attributes:
        status: 0 when all calls went well, 1 when some failed, 255 for what stopped it.
        successful: calls that followed the scenario to its end.
        failed: calls that did not.
        retransmissions: messages that sipp sent more than once.
        log: all of its output.
    """

    status: int
    successful: int
    failed: int
    retransmissions: int
    log: str


def _outcome(peer: Peer, status: int) -> Outcome:
    log = peer.output
    return Outcome(
        status,
        _figure(log, r"Successful call\s*\|\s*\d+\s*\|\s*(\d+)"),
        _figure(log, r"Failed call\s*\|\s*\d+\s*\|\s*(\d+)"),
        _retransmissions(log),
        log[-4000:],
    )


def _figure(log: str, pattern: str) -> int:
    found = re.findall(pattern, log)
    if not found:
        raise PeerError(f"sipp gave no figures:\n{log[-2000:]}")
    return int(found[-1])


def _retransmissions(log: str) -> int:
    """Add up the second column of the last screen of the scenario: what sipp sent again."""
    screen = log[log.rfind("Scenario Screen") :]
    rows = re.findall(r"^\s+(?:INVITE|ACK|BYE) -+>\s+\d+\s+(\d+)", screen, re.MULTILINE)
    return sum(map(int, rows))


async def call(
    folder: Path,
    port: int,
    *,
    calls: int,
    rate: int = 100,
    transport: str = "u1",
    hold_ms: int = 0,
    seconds: float = 60.0,
) -> Outcome:
    """Call a port of this machine by the built-in `uac` scenario: INVITE, ACK, BYE.

    Args:
        folder: where sipp may write.
        port: whom to call.
        calls: how many.
        rate: calls a second.
        transport: u1, t1 (one socket), un, tn (one for each call).
        hold_ms: how long each call lasts.
        seconds: when it must be over.
    """
    command = [
        *(require(), f"{LOOPBACK}:{port}", "-sn", "uac", "-t", transport, "-nostdin"),
        *("-i", LOOPBACK, "-bind_local", "-p", str(free_port()), "-max_socket", "2000"),
        *("-m", str(calls), "-r", str(rate), "-d", str(hold_ms)),
        *("-mp", str(free_port(beside=3)), "-cp", str(free_port())),
    ]
    async with Peer(command, folder, name=f"sipp-{transport}") as peer:
        return _outcome(peer, await peer.ended(seconds=seconds))


class SippCallee:
    """sipp's built-in `uas` scenario on a port of this machine.

    Args:
        folder: where sipp may write.
        calls: how many calls end it.
        transport: u1 or t1.
    """

    def __init__(self, folder: Path, *, calls: int, transport: str = "u1") -> None:
        self.port = free_port()
        command = [
            *(require(), "-sn", "uas", "-t", transport, "-nostdin", "-m", str(calls)),
            *("-i", LOOPBACK, "-bind_local", "-p", str(self.port)),
            *("-mi", LOOPBACK, "-mp", str(free_port(beside=3)), "-rtp_echo"),
            *("-cp", str(free_port())),
        ]
        self.peer = Peer(command, folder, name=f"sipp-uas-{transport}")
        self._kind = "udp" if transport.startswith("u") else "tcp"

    async def __aenter__(self) -> Self:
        await until(
            lambda: _bound(self._kind, self.port),
            seconds=10,
            what="sipp listens",
            log=self.peer.log,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.peer.stop()

    async def outcome(self, *, seconds: float = 30.0) -> Outcome:
        """Return its figures at its end: 4 s after the last BYE, by which time it is sure."""
        return _outcome(self.peer, await self.peer.ended(seconds=seconds))


def _bound(kind: str, port: int) -> bool:
    """Tell whether somebody is bound to a port, without sending anything to it."""
    table = Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
    return any(line.split()[1].endswith(f":{port:04X}") for line in table)
