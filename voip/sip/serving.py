"""How a SIP object is run: until a signal, or over an asyncio transport that the user made."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

from voip.sip.driver import SipDriver
from voip.sip.streams import StreamConnection
from voip.sip.udp import UdpListener

if TYPE_CHECKING:
    from voip.sip.protocol import SessionInitiationProtocol

__all__ = ["AdoptedTransport", "run_until_signal"]


class AdoptedTransport:
    """The methods of an asyncio protocol: a few lines that adopt one asyncio transport.

    They let `loop.create_connection(lambda: MySession(…), …)` and `create_datagram_endpoint` work.
    """

    _adopted: UdpListener | StreamConnection | None = None
    _driver: SipDriver | None

    def _open(self) -> SipDriver:
        raise NotImplementedError

    def _adopted_ready(self) -> None:
        """The transport is adopted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Adopt a transport; an account registers over it."""
        self._adopted = self._open().adopt(transport)
        self._adopted_ready()

    def data_received(self, data: bytes) -> None:
        """Pass bytes of the adopted connection on."""
        if isinstance(self._adopted, StreamConnection):
            self._adopted.data_received(data)

    def eof_received(self) -> None:
        """Pass the end of the adopted connection on."""
        if isinstance(self._adopted, StreamConnection):
            self._adopted.eof_received()

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        """Pass a datagram on."""
        if isinstance(self._adopted, UdpListener):
            self._adopted.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        """Pass an error of the adopted socket on."""
        if isinstance(self._adopted, UdpListener):
            self._adopted.error_received(exc)

    def pause_writing(self) -> None:
        """Pass it on: the adopted connection bounds its own backlog."""
        if isinstance(self._adopted, StreamConnection):
            self._adopted.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if isinstance(self._adopted, StreamConnection):
            self._adopted.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the end on."""
        if self._adopted is not None:
            self._adopted.connection_lost(exc)


async def run_until_signal(session: SessionInitiationProtocol, **serve: Any) -> None:
    """Serve until SIGINT or SIGTERM, then leave by BYE and unregistering."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows has no such thing: KeyboardInterrupt ends `asyncio.run` there.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    async with session.serve(**serve):
        await stop.wait()
