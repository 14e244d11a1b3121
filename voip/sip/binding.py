"""How a registration is carried: its REGISTER requests, their flow, and what keeps that alive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voip.sip.client import ClientRequest
from voip.sip.registration import Registered, RegistrationRefused, Unregistered
from voip.sip.types import SipURI

if TYPE_CHECKING:
    from voip.machine import Flow, Timer
    from voip.sip.core import Core
    from voip.sip.dialog import NextHop
    from voip.sip.messages import Response
    from voip.sip.registration import Registration

__all__ = ["Binding"]


class Binding:
    """One registration of an endpoint.

    Attributes:
        registration: the machine that decides when to ask for what.
        flow: over which the binding was made, None without one.
    """

    __slots__ = ("_core", "_hop", "_keep_alive", "_timer", "flow", "registration")

    def __init__(self, core: Core, registration: Registration, hop: NextHop) -> None:
        self._core = core
        self._hop = hop
        self._keep_alive: Timer | None = None
        self._timer: Timer | None = None
        self.flow: Flow | None = None
        self.registration = registration

    def drain(self, now: float) -> None:
        """Send what the registration wants sent, tell what happened, and watch its deadline."""
        for request in self.registration.outgoing():
            client = ClientRequest(self._core, request, self)
            client.account = self.registration.account
            client.own_hop = True
            client.start(now, hop=self._hop)
        for event in self.registration.events():
            if isinstance(event, Registered):
                self._keep(now)
            elif isinstance(event, Unregistered) or _final(event):
                self._release()
            self._core.happened.append(event)
        wanted = self.registration.deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wanted is not None:
            self._timer = self._core.timers.start_at(wanted.at, wanted.reason, self)

    def progressed(self, client: ClientRequest, response: Response, now: float) -> None:
        """A provisional response changes nothing."""

    def concluded(self, client: ClientRequest, response: Response, now: float) -> None:
        """Hand on the final outcome."""
        contact = None if client.sent is None else client.sent.contact
        if contact is not None and isinstance(contact.uri, SipURI):
            self.registration.contact = contact.uri
        if self.flow != client.flow:
            self._release()
            self.flow = client.flow
            if self.flow is not None:
                self._core.admission.welcome(self.flow.remote.host)
        self.registration.response_received(response, now)
        self.drain(now)

    def failed(self, client: ClientRequest, reason: str, now: float) -> None:
        """Hand on that there is none."""
        self.registration.request_failed(reason, now)
        self.drain(now)

    def flow_lost(self, flow: Flow, now: float) -> None:
        """Register again when the flow of the binding is gone."""
        if flow == self.flow:
            self._release()
            self.registration.flow_lost(now)
            self.drain(now)

    def expired(self, reason: str, now: float) -> None:
        """Let the registration do what is due, or keep the NAT's mapping open."""
        if reason == "keep-alive":
            self._keep_alive = None
            if self.flow is not None:
                self._core.send_raw(self.flow, b"\r\n\r\n")
                self._keep(now)
            return
        self._timer = None
        self.registration.advance(now)
        self.drain(now)

    def _keep(self, now: float) -> None:
        flow = self.flow
        if flow is None:
            return
        stream = self._core.streams.get(flow) if flow.number else None
        if stream is not None:
            stream.keep_alive(self, now)
        elif self._keep_alive is None and self._core.settings.udp_keep_alive:
            self._keep_alive = self._core.timers.start(
                now, self._core.settings.udp_keep_alive, "keep-alive", self
            )

    def _release(self) -> None:
        """Let go of the flow: nothing of ours is at the registrar, or it is gone."""
        if self.flow is not None:
            self._core.admission.dismiss(self.flow.remote.host)
            stream = self._core.streams.get(self.flow) if self.flow.number else None
            if stream is not None:
                stream.let_go(self)
            self.flow = None
        if self._keep_alive is not None:
            self._keep_alive.cancel()
            self._keep_alive = None


def _final(event: object) -> bool:
    """Tell whether a registration is over by the registrar's word.

    One that tries again by itself keeps its flow: the binding may still live, the next REGISTER
    leaves over the same path, and the loss of that path makes it try sooner.
    """
    return isinstance(event, RegistrationRefused) and event.retry_at is None
