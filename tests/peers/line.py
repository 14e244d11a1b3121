"""`python -m voip echo` as a process: the line that peers call."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from peers.certificates import Certificate
from peers.process import LOOPBACK, Peer, free_port, until

__all__ = ["EchoLine"]


class EchoLine:
    """One echo line on UDP and TCP, and on TLS one port higher where it has a certificate.

    Args:
        folder: where it runs, and where its output goes.
        codec: the only codec that it takes; None takes all.
        certificate: its certificate, for TLS.
        options: further words of its command line.
    """

    def __init__(
        self,
        folder: Path,
        *,
        codec: str | None = None,
        certificate: Certificate | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.port = free_port(beside=1)
        self._command = [sys.executable, "-m", "voip", "echo", "--host", LOOPBACK]
        self._command += ["--port", str(self.port), *options]
        if codec is not None:
            self._command += ["--codec", codec]
        if certificate is not None:
            self._command += ["--tls-cert", str(certificate.certificate)]
            self._command += ["--tls-key", str(certificate.key)]
        self._transports = 2 if certificate is None else 3
        self._folder = folder
        self.peer: Peer | None = None

    async def __aenter__(self) -> EchoLine:
        self.peer = Peer(self._command, self._folder, name="line")
        await until(
            self._listens, seconds=20, what="the line listens", log=self.peer.log
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.peer is not None:
            await self.peer.stop()

    def uri(self, transport: str = "udp") -> str:
        """Return what to dial."""
        port = self.port + (transport == "tls")
        suffix = "" if transport == "udp" else f";transport={transport}"
        return f"sip:echo@{LOOPBACK}:{port}{suffix}"

    @property
    def output(self) -> str:
        """What it has said so far."""
        return "" if self.peer is None else self.peer.output

    def calls(self, state: str) -> list[str]:
        """Return the lines about calls that contain `state`, in order."""
        lines = re.findall(r"^call \d+: .*$", self.output, re.MULTILINE)
        return [line for line in lines if state in line]

    async def said(self, text: str, *, seconds: float = 10.0) -> str:
        """Wait until it said something."""
        assert self.peer is not None
        return await self.peer.said(text, seconds=seconds)

    def _listens(self) -> bool:
        assert self.peer is not None
        assert self.peer.running, self.peer.output
        return self.peer.output.count("listening, dial") >= self._transports
