"""The driver of a SIP object: sockets below, calls and hooks above, and the way up and down."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from voip.aio import Driver, Recorder
from voip.entropy import EntropyPool
from voip.errors import LocalProtocolError, RegistrationError, TransportError
from voip.hooks import HookRunner
from voip.logs import call_event
from voip.machine import FlowOpened, OpenFlow, Resolve, Resolved, Target, Transmit
from voip.media.plane import InlinePlane
from voip.rtp.call import RTPCall
from voip.rtp.protocol import RealtimeTransportProtocol
from voip.sip import events
from voip.sip.answer import Answer
from voip.sip.departure import next_hop
from voip.sip.description import AnswerBooks
from voip.sip.endpoint import Endpoint
from voip.sip.incoming import IncomingCalls
from voip.sip.messages import Request
from voip.sip.messaging import ApplicationRequests
from voip.sip.registering import AccountRegistration
from voip.sip.registration import BindingExpired, Registered, RegistrationRefused, Unregistered
from voip.sip.resolver import Resolver
from voip.sip.session import CallSession
from voip.sip.streams import StreamConnection, StreamLimits
from voip.sip.tls import client_context, server_context
from voip.sip.transport import SipTransports
from voip.sip.types import URI, OtherURI
from voip.sip.udp import UdpListener
from voip.sockets import local_address_towards
from voip.types import canonical_ip, is_unspecified
from voip.watchdog import Watchdog

if TYPE_CHECKING:
    from voip.machine import Flow
    from voip.sip.account import Account
    from voip.sip.protocol import SessionInitiationProtocol
    from voip.sip.settings import EndpointSettings

__all__ = ["SipDriver"]

logger = logging.getLogger("voip.sip")

# Who has a foothold on this machine needs no connections to harm it.
_OURSELVES = ("127.0.0.1", "::1")

ResultT = TypeVar("ResultT")
_TAPS = {"ACK": "ack_received", "BYE": "bye_received", "CANCEL": "cancel_received"}


class SipDriver(Driver[Endpoint]):
    """Drives the endpoint of one SIP object: sockets below, hooks above.

    Attributes:
        entropy: where all randomness comes from.
        settings: the endpoint's; `listeners` is filled as listeners open.
        transports: the SIP sockets.
        plane: drives the legs.
        rtp: the media sockets.
        answer_books: what is remembered of offers that were answered.
        sessions: the calls that came in, by the identity of their INVITE.
        legs: the calls that have a leg, by it.
        deciding: the calls whose `call_received` is still running.
        ending: hooks that still run though their call is over.
        incoming: what the application says about calls that came in.
        requests: those outside any dialog that the application serves, or sent.
        registering: the registration of the account, None before it was asked for.
        watchdog: names what blocks the loop.
        thread: the identity of the loop's thread.
        adopted: the flow of an asyncio transport that the user made; every request then takes it.
    """

    def __init__(
        self,
        session: SessionInitiationProtocol,
        settings: EndpointSettings,
        *,
        recorder: Recorder | None = None,
    ) -> None:
        self.entropy = EntropyPool()
        drawn = self.entropy if recorder is None else recorder.entropy
        super().__init__(Endpoint(settings, drawn), recorder=recorder)
        self.session = session
        self.settings = settings
        self.thread = threading.get_ident()
        self.sessions: dict[int, CallSession] = {}
        self.legs: dict[Any, CallSession] = {}
        self.deciding: dict[CallSession, asyncio.Task[Any]] = {}
        self.ending: set[asyncio.Task[Any]] = set()
        self.incoming = IncomingCalls(self)
        self.requests = ApplicationRequests(self)
        self.registering: AccountRegistration | None = None
        self.watchdog = Watchdog(self.loop)
        # Reading the system's authorities takes 40 ms: whoever speaks no TLS does not wait for it.
        tls = functools.partial(
            client_context,
            ca_file=session.tls_ca,
            dangerously_skip_certificate_checks=session.dangerously_skip_certificate_checks,
        )
        limits = StreamLimits(trusted=frozenset((*settings.peers, *_OURSELVES)))
        self.transports = SipTransports(self.feed, loop=self.loop, limits=limits, tls=tls)
        self.resolver = Resolver(loop=self.loop)
        self.plane = InlinePlane(self.entropy)
        self.plane.unix_offset = time.time() - self.loop.time()
        first, last = session.rtp_ports
        self.rtp = RealtimeTransportProtocol(
            stun_server_address=session.rtp_stun_server_address,
            ports=range(first, last + 1),
            plane=self.plane,
            entropy=self.entropy,
        )
        self.answer_books = AnswerBooks()
        self.adopted: Flow | None = None

    def transmit(self, output: Any) -> None:
        """Carry out one output of the endpoint."""
        kind = type(output)
        if kind is Transmit:
            self.transports.send(output.flow, output.data)
        elif kind is Resolve:
            self.resolver.resolve(output, self.feed)
        elif kind is OpenFlow and self.adopted is not None:
            self.feed(FlowOpened(self.adopted, output.token))
        else:
            self.transports.transmit(output)

    def handle(self, event: Any) -> None:
        """Carry one event of the endpoint to the call, or to the hook, that it is for."""
        kind = type(event)
        if kind not in _QUIET:
            self.transports.let_go()  # a hook may take long: no answer waits for it
        _HANDLERS[kind](self, event)

    def place(self, command: Callable[[float], ResultT]) -> ResultT:
        """Run a command of a machine below the endpoint at the present time, and drain."""
        if self._recorder is not None:
            return self.command(lambda _, now: command(now))
        try:
            return command(self.loop.time())
        finally:
            self.drain()

    def _call_offered(self, event: events.CallOffered) -> None:
        session = CallSession(self)
        session.begin(event.call)
        self.sessions[id(event.request)] = session
        if logger.isEnabledFor(logging.INFO):
            caller = event.request.headers["From"]
            call_event(logger, "call_received", caller=caller, call_id=event.call.id)
        try:
            result = self.session.call_received(event.request)
        except Exception as error:  # noqa: BLE001 - a hook may raise anything: 500, others go on
            self._call_hook_failed(session, error)
            return
        if result is None or isinstance(result, Answer):
            return
        if inspect.isawaitable(result):
            task = self.spawn(self._await_hook(session, result), "hook call_received")
            self.deciding[session] = task
            task.add_done_callback(lambda _: self.deciding.pop(session, None))

    async def _await_hook(self, session: CallSession, result: Awaitable[Any]) -> None:
        try:
            await result
        except Exception as error:  # noqa: BLE001 - as in _call_offered
            self._call_hook_failed(session, error)
        else:
            if getattr(result, "failed", False):  # in a worker thread, which has reported it
                session.refuse(500)

    def _call_hook_failed(self, session: CallSession, error: Exception) -> None:
        self.session.hooks.failed("call_received", error)
        session.refuse(500)

    def _call_finished(self, event: events.CallFinished) -> None:
        session: CallSession | None = event.call.data
        if session is not None:
            leg = session.leg
            if leg is not None and _ends_with_a_hook(leg):
                self.transports.let_go()
            self.sessions.pop(session.key, None)
            self.legs.pop(leg, None)
            session.finish(event.cause, event.status, event.phrase)
            self._wind_up(session)
            event.call.data = None  # they hold each other

    def _wind_up(self, session: CallSession) -> None:
        """Note which hooks still run though their call is over; a leg ends its own in time."""
        leg, hook = session.leg, self.deciding.get(session)
        if hook is None and (leg is None or not leg._tasks):
            return
        running = set() if leg is None else set(leg._tasks)
        if hook is not None:
            grace = self.loop.call_later(HookRunner.GRACE, hook.cancel)
            hook.add_done_callback(lambda _: grace.cancel())
            running.add(hook)
        self.ending |= running
        for task in running:
            task.add_done_callback(self.ending.discard)

    def _call_confirmed(self, event: events.CallConfirmed) -> None:
        session: CallSession | None = event.call.data
        if session is not None:
            if session.leg is None:  # its offer was late: the leg is made now
                self.transports.let_go()
            session.confirmed(event.request)

    def _call_ringing(self, event: events.CallRinging) -> None:
        call, status = event.call, event.response.status_code
        call_event(logger, "call_ringing", caller=call.remote, call_id=call.id, status=status)

    def _request_arrived(self, event: events.RequestArrived) -> None:
        """Keep what the application serves itself until its `send`; the rest is 405 long before."""
        self.requests.arrived(event)
        self.session.hooks.fire("request_received", event.request)

    def _request_finished(self, event: events.RequestFinished) -> None:
        self.requests.finished(event)

    def _message_seen(self, event: events.MessageSeen) -> None:
        message = event.message
        if event.outgoing:
            self.session.hooks.fire("message_sent", message)
        elif isinstance(message, Request):
            if message.method not in self.settings.methods:
                self.session.hooks.fire("request_received", message)
            tap = _TAPS.get(message.method)
            if tap is not None:
                self.session.hooks.fire(tap, message)
        else:
            self.session.hooks.fire("response_received", message)

    def _got_registered(self, event: Registered) -> None:
        assert self.registering is not None
        self.registering.over(None)
        self.session.hooks.fire("registered")

    def _got_refused(self, event: RegistrationRefused) -> None:
        error = RegistrationError(event.status, event.phrase, answered=event.answered)
        assert self.registering is not None
        self.registering.over(error)
        self.session.hooks.fire("registration_failed", error)

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
        plain = sorted((name.upper() for name in transports if name.lower() != "tls"), reverse=True)
        if plain:
            listeners |= await self.transports.listen_together(plain, host, port)
            port = listeners[plain[0]].port
        if any(name.lower() == "tls" for name in transports):
            if tls_cert is None:
                raise TransportError("TLS needs a certificate: give tls_cert and tls_key")
            secure = tls_port if tls_port is not None else (port + 1 if port else 0)
            context = server_context(tls_cert, tls_key)
            listeners["TLS"] = await self.transports.listen("TLS", host, secure, tls=context)
        self.settings.listeners = listeners
        await self.rtp.listen(host)
        self.watchdog.start()
        for name, local in listeners.items():
            logger.info("listening on %s %s", name, local)

    def adopt(self, transport: asyncio.BaseTransport) -> UdpListener | StreamConnection:
        """Take over a transport that the user made."""
        adopted = self.transports.adopt(transport)
        self.settings.listeners = dict(self.transports.listeners)
        if isinstance(adopted, StreamConnection):
            self.adopted = adopted.flow
        return adopted

    async def register(self, account: Account, expires: int) -> None:
        """Register an account and wait for the registrar's word.

        Raises:
            RegistrationError: the registrar's status and its own words.
        """
        if self.registering is None:
            self.registering = AccountRegistration(self, account, expires)
        await self.registering.register()

    # Where things are

    async def targets(self, uri: URI, account: Account | None) -> tuple[Target, ...]:
        """Return where a request to `uri` may go, nearest choice first (RFC 3263).

        Raises:
            TransportError: the name has no address, or only a proxy knows the way.
        """
        if isinstance(uri, OtherURI):
            raise TransportError(f"cannot call a {uri.scheme}: address")
        try:
            hop = next_hop(uri, account)
        except LocalProtocolError as error:
            raise TransportError(str(error)) from error
        waiting: asyncio.Future[Resolved] = self.loop.create_future()

        def found(answer: Resolved) -> None:
            if not waiting.done():
                waiting.set_result(answer)

        self.resolver.resolve(Resolve(None, *hop), found)
        answer = await waiting
        if not answer.targets:
            raise TransportError(answer.reason or f"{hop.host} has no address")
        if account is not None and hop.host == (account.outbound_proxy or account.aor).host:
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

    async def leave(self, drain_timeout: float) -> None:
        """End calls by BYE, take the registration away, close every socket."""
        self.transports.stop_accepting()
        until = self.now + drain_timeout
        if self.registering is not None:
            self.registering.leave()
        self.command(lambda machine, now: machine.shutdown(now))
        try:
            # The answers to BYE and REGISTER come when they come; nobody but us waits for them.
            while not self.machine.idle and self.now < until:  # noqa: ASYNC110
                await asyncio.sleep(min(0.02, drain_timeout))
            # Whoever stores what was said has the two seconds of every hook, also when we go down.
            hooks = self.ending - {asyncio.current_task()}
            if hooks:
                await asyncio.wait(hooks, timeout=HookRunner.GRACE)
        finally:  # whoever will not wait any longer leaves nothing open either
            self.watchdog.stop()
            self.transports.close()
            self.resolver.close()
            self.close()
            self.rtp.close()
        await self.transports.wait_closed()
        await self.wait_closed()


def _of_call(method: str, *, with_response: bool = False) -> Callable[[Any, Any], None]:
    """Return a handler that hands an event to the session of its call."""

    def handle(_: SipDriver, event: Any) -> None:
        session = event.call.data
        if session is not None:
            getattr(session, method)(event.response if with_response else event.request)

    return handle


def _ends_with_a_hook(leg: RTPCall) -> bool:
    return type(leg).call_ended is not RTPCall.call_ended or "call_ended" in vars(leg)


def _nothing(_: SipDriver, __: Any) -> None:
    """An event that this face has no hook for."""


# They run no code of the user, or look first whether they do.
_QUIET = (events.CallConfirmed, events.CallFinished)

_HANDLERS: dict[type, Callable[[SipDriver, Any], None]] = {
    events.CallOffered: SipDriver._call_offered,
    events.CallRinging: SipDriver._call_ringing,
    events.CallAnswered: _of_call("answered", with_response=True),
    events.CallConfirmed: SipDriver._call_confirmed,
    events.CallReoffered: _of_call("reoffered"),
    events.CallReconfirmed: _of_call("reconfirmed"),
    events.CallReanswered: _of_call("reanswered", with_response=True),
    events.CallFinished: SipDriver._call_finished,
    events.RequestArrived: SipDriver._request_arrived,
    events.RequestFinished: SipDriver._request_finished,
    events.MessageSeen: SipDriver._message_seen,
    Registered: SipDriver._got_registered,
    RegistrationRefused: SipDriver._got_refused,
    Unregistered: _nothing,
    BindingExpired: _nothing,
}
