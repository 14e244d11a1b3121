"""`python -m voip` as a process of its own, as a user would start it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Self

from peers.process import LOOPBACK, Peer, free_port

__all__ = ["VoipEcho", "voip"]

ROOT = Path(__file__).parents[2]


def voip(
    folder: Path, *arguments: str | Path, password: str | None = None, name: str = "voip"
) -> Peer:
    """Start `python -m voip` with some arguments; a password goes by the environment."""
    environment: dict[str, str] = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    if password is not None:
        environment["SIP_PASSWORD"] = password
    command = [sys.executable, "-m", "voip", *arguments]
    return Peer(command, folder, name=name, environment=environment)


class VoipEcho:
    """`python -m voip echo` on a port of this machine.

    Args:
        folder: where it runs.
        arguments: further words of its command line.
        password: what SIP_PASSWORD is.
    """

    def __init__(
        self, folder: Path, *arguments: str | Path, password: str | None = None, name: str = "echo"
    ) -> None:
        self.port = free_port(beside=1)
        where = ("--host", LOOPBACK, "--port", str(self.port))
        self.peer = voip(folder, "echo", *arguments, *where, password=password, name=name)

    @property
    def output(self) -> str:
        """What it has printed."""
        return self.peer.output

    def cpu_seconds(self) -> float:
        """Return the CPU time that it has used, user and system."""
        fields = Path(f"/proc/{self.peer.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self) -> int:
        """Return the memory that it holds."""
        pages = Path(f"/proc/{self.peer.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def __aenter__(self) -> Self:
        await self.peer.said("listening, dial", seconds=20)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> int:
        """End it as Ctrl-C does; returns its exit status."""
        return await self.peer.stop(signal.SIGINT, seconds=10)
