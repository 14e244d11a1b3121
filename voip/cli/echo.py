"""`voip echo`: a line that says back what it hears."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voip.audio.echo import EchoCall
from voip.cli.messages import describe, ending
from voip.cli.output import CallRow, Output
from voip.cli.running import (
    CommandSession,
    SessionOptions,
    UsageError,
    need_pem,
    open_session,
    parse_host,
    serving,
    with_codec,
)
from voip.errors import CallEnded
from voip.logs import mask
from voip.media.measure import level_dbfs
from voip.sockets import local_address_towards
from voip.types import HostPort, is_unspecified

__all__ = ["EchoLine", "EchoOptions", "EchoSession", "echo"]


@dataclass(slots=True)
class EchoOptions(SessionOptions):
    """What the command line asked for; see `voip echo --help`."""

    aor: str | None = None
    port: int = 5060
    tls_cert: Path | None = None
    tls_key: Path | None = None

    @property
    def transports(self) -> tuple[str, ...]:
        """UDP and TCP always, TLS where there is a certificate."""
        return ("udp", "tcp", "tls") if self.tls_cert is not None else ("udp", "tcp")

    @property
    def serve(self) -> dict[str, Any]:
        """What `serve` takes.

        Raises:
            UsageError: the host is none of this machine, or certificate and key are not there.
        """
        given = {"host": parse_host(self.host), "port": self.port, "transports": self.transports}
        if self.tls_cert is None:
            if self.tls_key is not None:
                raise UsageError("--tls-key needs --tls-cert, the certificate that it is for")
            return given
        need_pem("--tls-cert", self.tls_cert, "CERTIFICATE")
        need_pem("--tls-key", self.tls_key, "PRIVATE KEY")
        if self.tls_key is None:
            try:
                need_pem("--tls-cert", self.tls_cert, "PRIVATE KEY")
            except UsageError as error:
                raise UsageError(f"{error}: give --tls-key") from None
        return given | {"tls_cert": self.tls_cert, "tls_key": self.tls_key}


class EchoLine(EchoCall):
    """An echo that tells what happens."""

    output: Output | None = None
    row: CallRow | None = None

    def _tell(self, state: str, said: str = "") -> None:
        if self.output is not None and self.row is not None:
            self.output.change(self.row, state, said)

    def call_started(self) -> None:
        """Say which codec it is."""
        if self.row is not None:
            self.row.codec = self.codec.encoding_name
        self._tell("listening", f"answered with {self.codec.encoding_name}")

    def audio_received(self, *, audio: NDArray[np.float32], rms: float) -> None:
        """Keep the level for the display."""
        if self.row is not None:
            self.row.level_dbfs = 20 * float(np.log10(max(rms, 1e-6)))
        super().audio_received(audio=audio, rms=rms)

    async def speech_buffer_ready(self, audio: NDArray[np.float32]) -> None:
        """Say it back, and that it does."""
        seconds = len(audio) / self.RESAMPLING_RATE_HZ
        self._tell("speaking", f"heard {seconds:.1f} s at {level_dbfs(audio):.0f} dBFS, saying it")
        await super().speech_buffer_ready(audio)

    def call_ended(self, reason: CallEnded) -> None:
        """Say how long it was."""
        if self.output is not None and self.row is not None:
            self._tell("ended", f"ended after {self.row.seconds:.1f} s: {ending(reason)}")
            self.output.forget(self.row)


class EchoSession(CommandSession):
    """Answers every call with an echo."""

    call_class: type[EchoLine] = EchoLine

    def call_received(self, request: Any) -> None:
        """Answer, whoever is wanted."""
        row = None
        if self.output is not None:
            row = self.output.call(mask(request.headers["From"]))
            self.output.change(row, "ringing", f"from {row.party} to {mask(str(request.uri))}")
        answer = self.answer(request, call_class=self.call_class, output=self.output, row=row)
        self._spawn(self._watch(answer, row), "watch an answer")

    async def _watch(self, answer: Any, row: CallRow | None) -> None:
        try:
            await answer
        except Exception as error:  # noqa: BLE001 - whatever it is, the line stays open
            if self.output is not None and row is not None:
                self.output.change(row, "refused", f"not answered: {describe(error)}")
                self.output.forget(row)


def dialable(listeners: dict[str, HostPort]) -> list[str]:
    """Return the URIs to dial, one for each transport."""
    uris = []
    for transport, local in listeners.items():
        host = local.host
        if is_unspecified(host):
            try:  # the address of the way out; nothing is sent
                host = local_address_towards("2001:db8::1" if ":" in host else "192.0.2.1")
            except OSError:
                host = "::1" if ":" in host else "127.0.0.1"
        bracketed = f"[{host}]" if ":" in host else host
        suffix = "" if transport == "UDP" else f";transport={transport.lower()}"
        uris.append(f"sip:echo@{bracketed}:{local.port}{suffix}")
    return uris


def make_session(options: SessionOptions, output: Output) -> EchoSession:
    """Return the session that the options ask for.

    Raises:
        UsageError: they ask for what cannot be.
    """
    call_class = with_codec(EchoLine, options.codec)
    return open_session(EchoSession, options, output, call_class=call_class)


def echo(options: EchoOptions, output: Output) -> Coroutine[Any, Any, int]:
    """Return what runs the line until it is cancelled, which is how Ctrl-C ends it.

    Its outcome is the exit status. What the options ask for is checked here, and a password asked
    for: before there is an event loop, which would take Ctrl-C from the prompt.

    Raises:
        UsageError: they ask for what cannot be.
    """
    serve = options.serve
    return _run(make_session(options, output), output, serve)


async def _run(session: EchoSession, output: Output, serve: dict[str, Any]) -> int:
    with output:
        try:
            async with serving(session, output, serve):
                for uri in dialable(session.listeners):
                    output.say(f"listening, dial {uri}", "bold")
                # What is there now stays for ever: no collection during a call looks at it again.
                gc.collect()
                gc.freeze()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            output.say("stopped")
    return 0
