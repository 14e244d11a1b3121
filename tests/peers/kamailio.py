"""Kamailio as the registrar and proxy of a domain, with digest authentication, no database."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from pathlib import Path
from typing import Self

from peers.certificates import Certificate
from peers.process import LOOPBACK, Peer, PeerError, free_port, program

__all__ = ["DOMAIN", "PASSWORDS", "Kamailio", "require"]

DOMAIN = "lab.test"
PASSWORDS = {"alice": "secret", "bob": "hunter2"}
_CONFIG = Path(__file__).parents[1] / "data" / "kamailio" / "registrar.cfg"


def require() -> str:
    """Return the path of Kamailio, or skip."""
    return program("kamailio", "kamailio")


class Kamailio:
    """One registrar, which may be ended and started again on the same ports.

    Args:
        folder: where it runs.
        grant: the longest registration that it grants, seconds.
        sha256: challenge by SHA-256 instead of MD5.
        words: refuse a wrong password by 403 and words of its own instead of a further 401.
        certificate: its certificate, for TLS.
        domain: what it serves beside its own addresses.
    """

    def __init__(
        self,
        folder: Path,
        *,
        grant: int = 60,
        sha256: bool = False,
        words: bool = False,
        certificate: Certificate | None = None,
        domain: str = DOMAIN,
    ) -> None:
        self.port = free_port(beside=1)
        self.tls_port = self.port + 1
        self.folder = folder
        self.peer: Peer | None = None
        self.log = folder / "kamailio.log"
        self._secure = certificate is not None
        addresses = [f"udp:{LOOPBACK}:{self.port}", f"tcp:{LOOPBACK}:{self.port}"]
        defined = [f'DOMAIN="{domain}"', f"GRANT={grant}"]
        defined += ["WITH_SHA256"] * sha256 + ["WITH_WORDS"] * words
        memory = ["-m", "32", "-M", "4"]
        if certificate is not None:
            addresses.append(f"tls:{LOOPBACK}:{self.tls_port}")
            defined += [
                "WITH_TLS",
                f'CERT="{certificate.certificate}"',
                f'KEY="{certificate.key}"',
            ]
            memory = ["-m", "64", "-M", "8"]
        self._command = [
            *(require(), "-f", str(_CONFIG), "-DD", "-E", "-n", "2", *memory, "-w", str(folder)),
            *(word for address in addresses for word in ("-l", address)),
            *(word for name in defined for word in ("-A", name)),
        ]

    @property
    def proxy(self) -> tuple[str, int]:
        """Its address for UDP and TCP."""
        return LOOPBACK, self.port

    @property
    def tls_proxy(self) -> tuple[str, int]:
        """Its address for TLS."""
        return LOOPBACK, self.tls_port

    async def start(self) -> float:
        """Start it and wait until it answers; returns when it did, on the loop's clock."""
        self.peer = Peer(self._command, self.folder, name="kamailio")
        deadline = time.monotonic() + 15
        for transport in ["udp", "tcp", *["tls"] * self._secure]:
            # In a thread: who is under test may share this loop.
            while not await asyncio.to_thread(self._answers, transport):
                if not self.peer.running or time.monotonic() > deadline:
                    raise PeerError(f"kamailio does not answer:\n{self.peer.output[-3000:]}")
                await asyncio.sleep(0.02)
        return time.monotonic()

    async def stop(self) -> None:
        """End it."""
        if self.peer is not None:
            await self.peer.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def granted(self, user: str) -> list[str]:
        """Return one line for each registration of a user that it took."""
        text = self.log.read_text(errors="replace")
        return re.findall(rf"registers {user} over .*", text)

    def _answers(self, transport: str) -> bool:
        """Tell whether an OPTIONS for itself gets its 200."""
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        port = self.tls_port if transport == "tls" else self.port
        plain = socket.socket(socket.AF_INET, kind)
        plain.settimeout(0.5)
        try:
            plain.connect((LOOPBACK, port))
            connection: socket.socket = plain
            if transport == "tls":
                # Whether the certificate is good is what the tests ask, not the start.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                connection = context.wrap_socket(plain)
            with connection:
                local = connection.getsockname()
                connection.sendall(_options(transport.upper(), local, port))
                return connection.recv(4096).startswith(b"SIP/2.0 200")
        except OSError:
            return False
        finally:
            plain.close()


def _options(transport: str, local: tuple[str, int], port: int) -> bytes:
    return (
        f"OPTIONS sip:{LOOPBACK}:{port} SIP/2.0\r\n"
        f"Via: SIP/2.0/{transport} {local[0]}:{local[1]};branch=z9hG4bKprobe{local[1]}\r\n"
        f"From: <sip:probe@{LOOPBACK}>;tag=1\r\nTo: <sip:{LOOPBACK}:{port}>\r\n"
        f"Call-ID: probe-{local[1]}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()
