"""A peer program as a process of ours: found or skipped, started, waited for, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

__all__ = ["Peer", "PeerError", "free_port", "program", "until"]

LOOPBACK = "127.0.0.1"


class PeerError(AssertionError):
    """A peer did not do what it was started for; the message ends with its last words."""


def program(name: str, package: str) -> str:
    """Return the path of a peer, or skip: peers are no dependencies of the suite."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package {package})", allow_module_level=True)
    return found


_given: set[int] = set()


def free_port(host: str = LOOPBACK, *, beside: int = 0) -> int:
    """Return a port that is free over UDP and TCP, and `beside` further ones behind it.

    They lie below the range that the kernel gives to outgoing connections, so that none of those
    takes a port between this look and the peer's start; the process decides where it looks first.
    """
    for step in range(2000):
        port = 12000 + (os.getpid() * 37 + step * (beside + 1)) % 18000
        wanted = range(port, port + beside + 1)
        if not _given.intersection(wanted) and all(_free(host, one) for one in wanted):
            _given.update(wanted)
            return port
    raise PeerError("no free port")


def _free(host: str, port: int) -> bool:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


async def until(
    condition: Callable[[], Any], *, seconds: float, what: str, log: Path | None = None
) -> Any:
    """Wait until a condition about a real peer holds and return its value.

    Raises:
        PeerError: it did not within `seconds`.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while not (value := condition()):
        if clock() > deadline:
            tail = "" if log is None else "\n" + _tail(log)
            raise PeerError(f"{what}: not within {seconds:g} s{tail}")
        await asyncio.sleep(0.02)
    return value


def _tail(log: Path, size: int = 3000) -> str:
    return log.read_text(errors="replace")[-size:] if log.exists() else ""


class Peer:
    """One process in a session of its own, so that its children end with it.

    Args:
        command: the command line.
        folder: where it runs, and where its output goes.
        name: what its log is called.
        environment: what it sees beside our environment.
        pipe: give it a standard input that stays open.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        *,
        name: str = "peer",
        environment: Mapping[str, str] | None = None,
        pipe: bool = False,
    ) -> None:
        self.log = folder / f"{name}.log"
        self.name = name
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process.poll() is None

    async def said(self, text: str, *, seconds: float = 10.0) -> str:
        """Wait until it said something, and return all that it said.

        Raises:
            PeerError: it did not, or it ended before.
        """

        def done() -> bool:
            if text in self.output:
                return True
            if not self.running and text not in self.output:
                raise PeerError(f"{self.name} ended before it said {text!r}:\n{_tail(self.log)}")
            return False

        await until(done, seconds=seconds, what=f"{self.name} says {text!r}", log=self.log)
        return self.output

    async def ended(self, *, seconds: float) -> int:
        """Wait until it ended by itself, and return its exit status.

        Raises:
            PeerError: it lives on.
        """
        await until(
            lambda: not self.running, seconds=seconds, what=f"{self.name} ends", log=self.log
        )
        return self.process.wait()

    async def stop(self, number: int = signal.SIGTERM, *, seconds: float = 5.0) -> int:
        """End it, by force when asking does not help; returns the exit status. Idempotent."""
        if self.running:
            self.process.send_signal(number)
            try:
                await until(lambda: not self.running, seconds=seconds, what="end")
            except PeerError:
                os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdin is not None:
            self.process.stdin.close()
        status = self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # children that outlived it
        return status

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
