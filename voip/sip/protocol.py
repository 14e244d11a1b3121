"""The SIP object: what a user subclasses to answer calls, or makes to place them.

    class MySession(SessionInitiationProtocol):
        def call_received(self, request):
            self.answer(request, call_class=EchoCall)

    MySession().run()

It owns listeners, flows and calls; the protocol itself is the endpoint's (`voip.sip.endpoint`), a
machine without a clock or a socket, which the driver of `voip.sip.serving` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from voip.errors import EndCause, LocalProtocolError, RegistrationError
from voip.hooks import HookRunner, event_hook
from voip.legs import Extensible
from voip.machine import Counters
from voip.sip.account import Account
from voip.sip.answer import Answer
from voip.sip.driver import SipDriver
from voip.sip.messages import Message, Request, Response
from voip.sip.serving import AdoptedTransport, run_until_signal
from voip.sip.session import CallSession
from voip.sip.settings import EndpointSettings
from voip.types import HostPort, canonical_ip

if TYPE_CHECKING:
    from voip.rtp.call import RTPCall
    from voip.sdp.types import MediaDescription

__all__ = ["SIP", "SessionInitiationProtocol"]

logger = logging.getLogger("voip.sip")

LegT = TypeVar("LegT", bound="RTPCall")


@dataclass(kw_only=True, eq=False, repr=False)
class SessionInitiationProtocol(AdoptedTransport, Extensible):
    """Answers and makes calls over SIP, with an account or with none.

    Attributes:
        aor: our address of record, `sip:alice@example.com`; None just listens.
        username: the name for digest authentication; the AOR's user part when absent.
        password: the password; the AOR's when absent. Never shown, never logged.
        outbound_proxy: where every request of the account goes first.
        rtp_stun_server_address: the STUN server that tells our public media address; None asks
            nobody.
        rtp_ports: first and last port of the range for calls that cannot share one socket.
        media_address: the IP address that session descriptions name; by default that of the
            interface which reaches the peer.
        peers: IP addresses of trunks: exempt from the limits for strangers.
        max_calls: calls at a time; further ones get 503.
        methods: further methods that the application serves: `request_received` gets the request,
            `send(request.respond(…))` answers it.
        accept: body types that requests may have; a session description belongs to it.
        user_agent: value of User-Agent and Server; empty tells nothing.
        tls_ca: PEM file with the authorities that may vouch for a SIP domain; the system's when
            absent.
        dangerously_skip_certificate_checks: take any certificate. Whoever is between us and the
            server can then listen and speak.
        registration_expires: seconds of a registration that we ask for.
    """

    aor: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    outbound_proxy: tuple[str, int] | None = None
    rtp_stun_server_address: tuple[str, int] | None = None
    rtp_ports: tuple[int, int] = (10000, 20000)
    media_address: str | None = None
    peers: Sequence[str] = ()
    max_calls: int = 10_000
    methods: Sequence[str] = ()
    accept: Sequence[str] = ("application/sdp",)
    user_agent: str = ""
    tls_ca: str | Path | None = None
    dangerously_skip_certificate_checks: bool = False
    registration_expires: int = 3600

    _driver: SipDriver | None = field(init=False, default=None, repr=False)
    _account: Account | None = field(init=False, default=None, repr=False)
    _workers: ThreadPoolExecutor | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        """Check what can be checked before anything is opened.

        Raises:
            ParseError: the AOR is no SIP address.
        """
        if self.aor is not None:
            self._account = Account(
                self.aor,
                username=self.username,
                password=self.password,
                outbound_proxy=None
                if self.outbound_proxy is None
                else HostPort(*self.outbound_proxy),
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self.calls)} calls>"

    @functools.cached_property
    def hooks(self) -> HookRunner:
        """Runs the hooks of this object, and counts what fails in them."""
        return HookRunner(self)

    # Hooks

    @event_hook
    def call_received(self, request: Request) -> Any:
        """Take an INVITE: `ringing`, `answer` or `reject` it; unanswered, it ends at 180 s."""
        self.reject(request, status_code=480)

    @event_hook
    def registered(self) -> Any:
        """The registrar has us: once after each successful REGISTER."""

    @event_hook
    def registration_failed(self, error: RegistrationError) -> Any:
        """The registrar refused or is away; `error` has its own words."""

    @event_hook
    def ack_received(self, request: Request) -> Any:
        """An ACK came in (a tap: the endpoint has dealt with it)."""

    @event_hook
    def bye_received(self, request: Request) -> Any:
        """A BYE came in (a tap: the endpoint has dealt with it)."""

    @event_hook
    def cancel_received(self, request: Request) -> Any:
        """A CANCEL came in (a tap: the endpoint has dealt with it)."""

    @event_hook
    def request_received(self, request: Request) -> Any:
        """Any request came in (a tap)."""

    @event_hook
    def response_received(self, response: Response) -> Any:
        """Any response came in (a tap)."""

    @event_hook
    def message_sent(self, message: Message) -> Any:
        """Any message went out (a tap)."""

    def hook_failed(self, exc: BaseException) -> None:
        """A hook of this object raised; everything goes on."""
        logger.error("a hook of %s failed", type(self).__name__, exc_info=exc)

    # Incoming calls

    def ringing(self, request: Request) -> None:
        """Send 180 Ringing; nothing when the call is over or answered."""
        self._running.incoming.ring(request)

    def answer(self, request: Request, *, call_class: type[LegT], **fields: Any) -> Answer[LegT]:
        """Answer an INVITE with a leg of `call_class`; the answer starts at once.

        Args:
            request: what `call_received` was given.
            call_class: the class of the leg.
            **fields: further fields of the leg.

        Returns:
            An awaitable, and coroutine, that yields the leg once its 200 is sent; it may be
            ignored. Awaiting raises NegotiationError (488 was sent), CallEnded (the caller gave
            up first) or PortsExhaustedError (503 was sent).

        Raises:
            LocalProtocolError: this request was answered before.
        """
        answer: Answer[LegT] = Answer()
        self._running.incoming.answer(request, answer, call_class, fields)
        return answer

    def reject(
        self, request: Request, *, status_code: int = 486, reason: str | None = None
    ) -> None:
        """Refuse an INVITE; nothing when the call is over or answered.

        Raises:
            ValueError: the status is no refusal (300 to 699), or the reason no line of text.
        """
        if not 300 <= status_code <= 699:
            raise ValueError(f"{status_code} is no refusal")
        self._running.incoming.reject(request, status_code, reason)

    # Outgoing calls

    async def dial(self, uri: str, *, call_class: type[LegT], **fields: Any) -> LegT:
        """Call somebody and wait until they answer.

        Args:
            uri: `sip:bob@example.com`, `sips:…`, `sip:…;transport=tcp`, or `tel:` with a proxy.
            call_class: the class of the leg.
            **fields: further fields of the leg.

        Returns:
            The answered leg.

        Raises:
            CallFailed: the call was refused (the peer's status and phrase) or nobody replied (408).
            ParseError: the URI is none.
            TransportError: the host has no address, or no route leads there.
            NegotiationError: both sides have no codec in common.
        """
        driver = self._running
        session = CallSession(driver)
        session.choose(call_class, fields)
        leg: LegT = await session.dial(uri, self._account)
        return leg

    async def send(self, message: Request | Response) -> Response | None:
        """Send a message of the application's own.

        Args:
            message: a request outside any dialog (not INVITE, ACK or CANCEL; Via, From, Call-ID and
                CSeq are ours), or the response to a request that `request_received` was given and
                whose method is one of `methods`.

        Returns:
            The final response to a request; None for a response.

        Raises:
            TransportError: nobody answered.
            LocalProtocolError: nothing waits for this response, or a call sends such requests.
        """
        requests = self._running.requests
        if isinstance(message, Response):
            requests.answer(message)
            return None
        return await requests.ask(message, self._account)

    # Signalling, as a leg uses it

    def _session_of(self, leg: Any) -> CallSession | None:
        return None if self._driver is None else self._driver.legs.get(leg)

    async def hang_up(self, call: Any, cause: EndCause = EndCause.LOCAL_HANGUP) -> None:
        """End the call of a leg: BYE, CANCEL or a final response, by the state of its dialog."""
        session = self._session_of(call)
        if session is not None:
            session.hang_up(cause)

    async def update(self, call: Any, media: MediaDescription) -> None:
        """Offer new media for a leg's call by a re-INVITE (hold, resume) and wait for the answer.

        Raises:
            CallFailed: the peer refused; the call goes on as it was.
            LocalProtocolError: the leg has no call, or another offer is under way.
        """
        session = self._session_of(call)
        if session is None:
            raise LocalProtocolError("the leg has no call")
        await session.update(str(media.direction or "sendrecv"))

    async def transfer(self, call: Any, target: str) -> None:
        """Send the far end elsewhere (RFC 3515).

        Raises:
            LocalProtocolError: always: transfers are not built yet.
        """
        raise LocalProtocolError("this endpoint does not transfer calls")

    # Registration

    async def register(self) -> None:
        """Register the account and wait for the registrar's word; refreshes follow by themselves.

        Raises:
            RegistrationError: the registrar's status and its own words.
            LocalProtocolError: there is no account.
        """
        if self._account is None:
            raise LocalProtocolError("there is no account to register: give an aor")
        await self._running.register(self._account, self.registration_expires)

    # Running

    @contextlib.asynccontextmanager
    async def serve(
        self,
        host: str = "0.0.0.0",  # noqa: S104 - a phone that nobody can reach is none
        port: int = 5060,
        transports: Sequence[str] = ("udp", "tcp"),
        **tls: Any,
    ) -> AsyncIterator[Self]:
        """Listen, register when there is an account, and leave by BYE and unregistering.

        Args:
            host: the IP address to listen on.
            port: the port for UDP and TCP; 0 for any. TLS has the next one.
            transports: of "udp", "tcp", "tls".
            **tls: `tls_cert` and `tls_key` (PEM files), `tls_port`.

        Raises:
            TransportError: a port is in use, or an address is not ours.
            RegistrationError: the registrar refused.
        """
        self._open()
        try:
            await self._running.listen(host, port, transports, **tls)
            if self._account is not None:
                await self.register()
            yield self
        finally:
            await self.close()

    def run(self, **serve: Any) -> None:
        """Serve until SIGINT or SIGTERM; blocks. Takes what `serve` takes."""
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run_until_signal(self, **serve))

    async def close(self, *, drain_timeout: float = 5.0) -> None:
        """End every call by BYE, unregister, and close every socket. Idempotent.

        Args:
            drain_timeout: seconds for the answers to BYE and REGISTER.
        """
        driver = self._driver
        if driver is None:
            return
        try:
            await driver.leave(drain_timeout)
        finally:
            self._driver = None
            self.hooks.cancel()
            if self._workers is not None:
                self._workers.shutdown(wait=False)
                self._workers = None

    # For the driver, and for the runner of hooks

    @property
    def _running(self) -> SipDriver:
        if self._driver is None:
            raise LocalProtocolError("not running: use serve(), run() or an asyncio transport")
        return self._driver

    def _open(self) -> SipDriver:
        if self._driver is not None:
            raise LocalProtocolError("this object runs already")
        settings = EndpointSettings(
            contact_user=_contact_user(self._account),
            user_agent=self.user_agent,
            peers=frozenset(canonical_ip(peer) for peer in self.peers),
            max_calls=self.max_calls,
            methods=tuple(self.methods),
            accept=tuple(self.accept),
            trace=any(_overridden(type(self), name) for name in _TRACED),
        )
        self._driver = SipDriver(self, settings)
        return self._driver

    def _adopted_ready(self) -> None:
        driver = self._running
        host = next(iter(driver.settings.listeners.values()), HostPort("0.0.0.0", 0)).host  # noqa: S104
        driver.spawn(driver.rtp.listen(host), "open media")
        if self._account is not None:
            self._spawn(self.register(), "register")

    @property
    def counters(self) -> Counters:
        """What was dropped, refused or absorbed, by name."""
        driver = self._running
        media = driver.rtp.counters + driver.watchdog.counters
        return driver.machine.counters + driver.counters + driver.transports.counters + media

    @property
    def listeners(self) -> dict[str, HostPort]:
        """Where we listen: transport ("UDP", "TCP", "TLS") to address."""
        return dict(self._running.settings.listeners)

    @property
    def calls(self) -> list[Any]:
        """The legs of the calls that are up."""
        return [] if self._driver is None else list(self._driver.legs)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        return self._running.spawn(coroutine, name)

    def _call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)

    def _run_in_thread(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        if self._workers is None:
            self._workers = ThreadPoolExecutor(1, "voip sip")
        return asyncio.get_running_loop().run_in_executor(self._workers, function)


SIP = SessionInitiationProtocol

_TRACED = (
    "ack_received",
    "bye_received",
    "cancel_received",
    "message_sent",
    "request_received",
    "response_received",
)


def _overridden(cls: type, name: str) -> bool:
    return getattr(cls, name) is not getattr(SessionInitiationProtocol, name)


def _contact_user(account: Account | None) -> str:
    return (account.aor.raw_user or "voip") if account is not None else "voip"
