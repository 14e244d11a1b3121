"""What an endpoint tells its owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from voip.errors import EndCause

if TYPE_CHECKING:
    from voip.machine import Flow
    from voip.sip.client import ClientRequest
    from voip.sip.invite import Call
    from voip.sip.messages import Message, Request, Response
    from voip.sip.transactions import ServerTransaction

__all__ = [
    "CallAnswered",
    "CallConfirmed",
    "CallFinished",
    "CallOffered",
    "CallReanswered",
    "CallReconfirmed",
    "CallReoffered",
    "CallRinging",
    "MessageSeen",
    "RequestArrived",
    "RequestFinished",
]


@dataclass(slots=True)
class CallOffered:
    """An INVITE came in; `call.ring`, `call.accept` or `call.reject` is wanted."""

    call: Call
    request: Request


@dataclass(slots=True)
class CallRinging:
    """A provisional response other than 100 came for a call of ours."""

    call: Call
    response: Response


@dataclass(slots=True)
class CallAnswered:
    """Our call got its 2xx; the ACK has left, unless the INVITE had no offer (`acknowledge`)."""

    call: Call
    response: Response


@dataclass(slots=True)
class CallConfirmed:
    """The ACK for our 2xx is here; its body is the answer when the offer was ours."""

    call: Call
    request: Request


@dataclass(slots=True)
class CallReoffered:
    """A re-INVITE came in; `call.answer_offer` or `call.refuse_offer` is wanted."""

    call: Call
    request: Request


@dataclass(slots=True)
class CallReconfirmed:
    """The ACK for our 2xx of a re-INVITE is here; its body is the answer to an offer of ours."""

    call: Call
    request: Request


@dataclass(slots=True)
class CallReanswered:
    """Our re-INVITE is over: its final response, None when there was none."""

    call: Call
    response: Response | None


@dataclass(slots=True)
class CallFinished:
    """The call is over: once per call, at the moment it is decided, whatever still lingers."""

    call: Call
    cause: EndCause
    status: int | None
    phrase: str


@dataclass(slots=True)
class RequestArrived:
    """A request that the endpoint does not serve itself; `endpoint.respond` is wanted."""

    transaction: ServerTransaction
    request: Request


@dataclass(slots=True)
class RequestFinished:
    """A request of `endpoint.request` is over: its final response, or None and the reason."""

    client: ClientRequest
    response: Response | None
    reason: str


@dataclass(slots=True)
class MessageSeen:
    """One message that passed, when `settings.trace` asks for it."""

    message: Message
    flow: Flow
    outgoing: bool
