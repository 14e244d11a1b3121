"""Every exception that voip raises on purpose.

```text
VoIPError
├── ProtocolError
│   ├── LocalProtocolError      we (or the application) asked for something the state forbids
│   └── RemoteProtocolError     the peer broke a rule
│       └── ParseError          bytes that cannot be represented (also a ValueError)
├── NegotiationError            offer and answer have nothing in common
│   └── UnsupportedCodecError   (also a NotImplementedError)
├── CallFailed                  an outgoing call was refused: status and phrase
├── RegistrationError           the registrar said no: status and phrase
├── AuthenticationError         a challenge that we cannot or must not answer
├── TransportError              a socket, a connection or a name that failed
│   └── PortsExhaustedError     no RTP port is left in the configured range
├── ProviderError               a model or a service behind a call failed
└── CallEnded                   the call is over: cause, status and phrase
```
"""

from __future__ import annotations

import enum

__all__ = [
    "AuthenticationError",
    "CallEnded",
    "CallFailed",
    "EndCause",
    "LocalProtocolError",
    "NegotiationError",
    "ParseError",
    "PortsExhaustedError",
    "ProtocolError",
    "ProviderError",
    "RegistrationError",
    "RemoteProtocolError",
    "TransportError",
    "UnsupportedCodecError",
    "VoIPError",
]


class VoIPError(Exception):
    """The root of everything that voip raises on purpose."""


class ProtocolError(VoIPError):
    """A rule of a protocol was broken."""


class LocalProtocolError(ProtocolError):
    """A command that the current state forbids: a mistake of the caller, never of the peer."""


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule.

    Attributes:
        status: the SIP status that the peer is owed, when the protocol has one.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class ParseError(RemoteProtocolError, ValueError):
    """Bytes that cannot be represented.

    Attributes:
        fragment: the offending bytes, cut to 64.
    """

    def __init__(
        self, message: str, fragment: bytes | str = b"", *, status: int | None = 400
    ) -> None:
        cut = fragment[:64]
        super().__init__(f"{message}: {cut!r}" if cut else message, status=status)
        self.fragment = cut


class NegotiationError(VoIPError):
    """Offer and answer have nothing in common."""


class UnsupportedCodecError(NegotiationError, NotImplementedError):
    """No codec that both sides support; the message lists what was offered, and what is known."""


class _StatusError(VoIPError):
    """An error that carries the peer's status and its own words."""

    def __init__(self, status: int, phrase: str) -> None:
        super().__init__(f"{status} {phrase}".rstrip())
        self.status = status
        self.phrase = phrase


class CallFailed(_StatusError):  # noqa: N818 - the public contract names it so
    """An outgoing call was not answered.

    Attributes:
        status: the final SIP status, 408 when nobody replied.
        phrase: the peer's reason phrase.
    """


class RegistrationError(_StatusError):
    """The registrar refused.

    Attributes:
        status: the final SIP status, 408 when nobody replied.
        phrase: the registrar's own words.
        answered: whether they are; False when nobody replied, and the phrase says why.
    """

    def __init__(self, status: int, phrase: str, *, answered: bool = True) -> None:
        super().__init__(status, phrase)
        self.answered = answered


class AuthenticationError(VoIPError):
    """A challenge that we cannot answer, or must not."""


class TransportError(VoIPError):
    """A socket, a connection or a host name that failed."""


class PortsExhaustedError(TransportError):
    """No RTP port is left in the configured range."""


class ProviderError(VoIPError):
    """A model or a service behind a call failed."""


class EndCause(enum.StrEnum):
    """Why a call is over."""

    LOCAL_HANGUP = "local_hangup"
    REMOTE_HANGUP = "remote_hangup"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    NO_ANSWER = "no_answer"
    FAILED = "failed"
    ACK_TIMEOUT = "ack_timeout"
    MEDIA_TIMEOUT = "media_timeout"
    TRANSPORT_LOST = "transport_lost"
    HOOK_FAILED = "hook_failed"
    SHUTDOWN = "shutdown"


class CallEnded(VoIPError):  # noqa: N818 - the public contract names it so
    """The call is over; handed to `call_ended`, raised to whoever still waits for the call.

    Attributes:
        cause: why.
        status: the SIP status that ended it, when one did.
        phrase: the reason phrase that came with it.
    """

    def __init__(self, cause: EndCause, status: int | None = None, phrase: str = "") -> None:
        words = f"{status} {phrase}".rstrip() if status is not None else phrase
        super().__init__(f"{cause.value}: {words}" if words else cause.value)
        self.cause = cause
        self.status = status
        self.phrase = phrase
