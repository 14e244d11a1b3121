"""How a SIP object meets the loop: its driver, its listeners, its way up and its way down."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voip.aio import Driver, Recorder
from voip.errors import TransportError
from voip.machine import FlowOpened, OpenFlow, Resolve, Resolved, Target
from voip.media.plane import InlinePlane
from voip.rtp.protocol import RealtimeTransportProtocol
from voip.sip.endpoint import Endpoint
from voip.sip.resolver import Resolver
from voip.sip.streams import StreamConnection
from voip.sip.tls import client_context, server_context
from voip.sip.transport import SipTransports
from voip.sip.types import URI, SipURI
from voip.sip.udp import UdpListener
from voip.sockets import local_address_towards
from voip.types import canonical_ip, is_unspecified

if TYPE_CHECKING:
    from voip.machine import Flow
    from voip.sip.account import Account
    from voip.sip.protocol import SessionInitiationProtocol
    from voip.sip.settings import EndpointSettings

__all__ = ["AdoptedTransport", "SipDriver", "run_until_signal"]

logger = logging.getLogger("voip.sip")


class SipDriver(Driver[Endpoint]):
    """Drives the endpoint of one SIP object: sockets below, hooks above.

    Attributes:
        settings: the endpoint's; `listeners` is filled as listeners open.
        transports: the SIP sockets.
        plane: drives the legs.
        rtp: the media sockets.
        adopted: the flow of an asyncio transport that the user made; every request then takes it.
    """

    def __init__(
        self,
        session: SessionInitiationProtocol,
        settings: EndpointSettings,
        *,
        recorder: Recorder | None = None,
    ) -> None:
        entropy = secrets.token_bytes if recorder is None else recorder.entropy
        super().__init__(Endpoint(settings, entropy), recorder=recorder)
        self.session = session
        self.settings = settings
        tls = client_context(
            ca_file=session.tls_ca,
            dangerously_skip_certificate_checks=session.dangerously_skip_certificate_checks,
        )
        self.transports = SipTransports(self.feed, loop=self.loop, tls=tls)
        self.resolver = Resolver(loop=self.loop)
        self.plane = InlinePlane(secrets.token_bytes)
        first, last = session.rtp_ports
        self.rtp = RealtimeTransportProtocol(
            stun_server_address=session.rtp_stun_server_address,
            ports=range(first, last + 1),
            plane=self.plane,
        )
        self.adopted: Flow | None = None

    def transmit(self, output: Any) -> None:
        """Carry out one output of the endpoint."""
        if type(output) is Resolve:
            self.resolver.resolve(output, self.feed)
        elif type(output) is OpenFlow and self.adopted is not None:
            self.feed(FlowOpened(self.adopted, output.token))
        else:
            self.transports.transmit(output)

    def handle(self, event: Any) -> None:
        """Hand one event of the endpoint to the SIP object."""
        self.session.handle(event)

    # Up

    async def listen(
        self,
        host: str,
        port: int,
        transports: Sequence[str],
        *,
        tls_cert: str | Path | None = None,
        tls_key: str | Path | None = None,
        tls_port: int | None = None,
    ) -> None:
        """Open the listeners; UDP and TCP share one number, also when any will do.

        Raises:
            TransportError: a port is in use, an address is not ours, TLS has no certificate.
        """
        host = host.strip("[]")
        listeners = dict(self.settings.listeners)
        for name in sorted(transports, key=str.lower, reverse=True):  # UDP first: it fixes the port
            if name.lower() == "tls":
                continue
            listeners[name.upper()] = local = await self.transports.listen(name, host, port)
            port = local.port
        if any(name.lower() == "tls" for name in transports):
            if tls_cert is None:
                raise TransportError("TLS needs a certificate: give tls_cert and tls_key")
            secure = tls_port if tls_port is not None else (port + 1 if port else 0)
            context = server_context(tls_cert, tls_key)
            listeners["TLS"] = await self.transports.listen("TLS", host, secure, tls=context)
        self.settings.listeners = listeners
        await self.rtp.listen(host)
        for name, local in listeners.items():
            logger.info("listening on %s %s", name, local)

    def adopt(self, transport: asyncio.BaseTransport) -> UdpListener | StreamConnection:
        """Take over a transport that the user made."""
        adopted = self.transports.adopt(transport)
        self.settings.listeners = dict(self.transports.listeners)
        if isinstance(adopted, StreamConnection):
            self.adopted = adopted.flow
        return adopted

    # Where things are

    async def targets(self, uri: URI, account: Account | None) -> tuple[Target, ...]:
        """Return where a request to `uri` may go, nearest choice first (RFC 3263).

        Raises:
            TransportError: the name has no address, or only a proxy knows the way.
        """
        transport: str | None = None
        host, port, secure = "", None, False
        if isinstance(uri, SipURI):
            transport = uri.parameters.get("transport")
            host, port, secure = uri.host, uri.port, uri.scheme == "sips"
        elif account is None or account.outbound_proxy is None:
            raise TransportError(f"only an outbound proxy knows the way to {uri}")
        if account is not None and account.outbound_proxy is not None:
            host, port = account.outbound_proxy
            transport = transport or account.aor.parameters.get("transport")
            secure = secure or account.aor.scheme == "sips"
        waiting: asyncio.Future[Resolved] = self.loop.create_future()

        def found(answer: Resolved) -> None:
            if not waiting.done():
                waiting.set_result(answer)

        self.resolver.resolve(
            Resolve(None, host, port, transport.upper() if transport else None, secure), found
        )
        answer = await waiting
        if not answer.targets:
            raise TransportError(answer.reason or f"{host} has no address")
        if account is not None and host == (account.outbound_proxy or account.aor).host:
            account.resolved(answer.targets)  # the only places that may see its digests
        return self._reachable(answer.targets)

    def _reachable(self, targets: tuple[Target, ...]) -> tuple[Target, ...]:
        """Leave out UDP where no UDP listener is open: nothing could come back."""
        if "UDP" in self.settings.listeners or self.adopted is not None:
            return targets
        return tuple(one for one in targets if one.transport != "UDP") or targets

    def local_address(self, remote_host: str) -> str:
        """Return the address of ours that a peer sees.

        Raises:
            TransportError: no route leads there.
        """
        bound = self.settings.listeners.get("UDP") or self.settings.listeners.get("TCP")
        if bound is not None and not is_unspecified(bound.host):
            return bound.host
        return local_address_towards(canonical_ip(remote_host))

    # Down

    async def leave(self, registration: Any, drain_timeout: float) -> None:
        """End calls by BYE, take the registration away, close every socket."""
        self.transports.stop_accepting()
        until = self.now + drain_timeout
        if registration is not None:
            self.command(lambda machine, now: machine.unregister(registration, now))
        self.command(lambda machine, now: machine.shutdown(now))
        # The answers to BYE and REGISTER come when they come; nobody but us waits for them.
        while not self.machine.idle and self.now < until:  # noqa: ASYNC110
            await asyncio.sleep(min(0.02, drain_timeout))
        self.transports.close()
        await self.transports.wait_closed()
        self.resolver.close()
        self.close()
        await self.wait_closed()
        self.rtp.close()


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
