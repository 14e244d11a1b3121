"""What one SIP endpoint can be told: its limits, its timers, its addresses, what it serves."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from voip.sip.admission import AdmissionSettings
from voip.sip.framing import FramingLimits
from voip.types import HostPort

__all__ = ["EndpointSettings", "Timing"]


@dataclass(slots=True)
class Timing:
    """Lengths in seconds; the defaults are those of RFC 3261 §17.1.1.1 and RELIABILITY §1.

    Attributes:
        t1: estimate of the round trip.
        t2: the longest interval between repeats of a non-INVITE request or a response.
        t4: how long a message stays in the network.
        trying: silence after which the transaction says 100 by itself (RFC 3261 §17.2.1).
        ringing: how long an INVITE may stay without a final response.
        ring_again: interval at which a ringing UAS repeats itself (RFC 3261 §13.3.1.1).
        resolve: how long a name may take.
        open: how long a connection may take, and how long a target may stay silent while another
            one is left to try.
    """

    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    trying: float = 0.2
    ringing: float = 180.0
    ring_again: float = 60.0
    resolve: float = 5.0
    open: float = 4.0

    @property
    def give_up(self) -> float:
        """64·T1: timers B, F, H, J, L, M and the wait for an ACK."""
        return 64 * self.t1


@dataclass(slots=True)
class EndpointSettings:
    """Settings of one endpoint; read-only once it runs.

    Attributes:
        listeners: transport ("UDP", "TCP", "TLS") to where we listen; the port goes into Via and
            Contact.
        contact_user: user part of our Contact.
        public_address: what peers reach us at, when that differs from the flow's own local address.
        user_agent: value of User-Agent in our requests; empty: nothing is told about us.
        methods: further methods that are handed up as `RequestArrived`.
        supported: option tags that we understand.
        accept: body types that we take.
        peers: addresses (not names) of trunks: exempt from the limits for strangers, and allowed to
            speak for a dialog of each other.
        timing: the timers.
        trying_at_once: say 100 as soon as an INVITE arrives instead of after `timing.trying`.
        max_calls: calls at a time; further ones get 503 with Retry-After.
        max_early_dialogs: early dialogs of one outgoing INVITE.
        max_datagram_request: a larger request prefers TCP where a target offers it
            (RFC 3261 §18.1.1).
        auth_retries: answered challenges per request, 401 and 407 together.
        glare_retries: tries of a re-INVITE that met 491.
        retry_after: seconds told with 503.
        udp_keep_alive: seconds between the CRLFs that keep a NAT's mapping for a binding over UDP
            open; 0 sends none.
        admission: what strangers may cost; None takes the defaults, with `peers` exempt.
        framing: what one connection may cost; None takes the defaults.
        trace: report every message as `MessageSeen`.
    """

    listeners: Mapping[str, HostPort] = field(default_factory=dict)
    contact_user: str = field(default="voip", repr=False)
    public_address: HostPort | None = None
    user_agent: str = ""
    methods: Collection[str] = ()
    supported: Collection[str] = ()
    accept: Collection[str] = ("application/sdp",)
    peers: Collection[str] = ()
    timing: Timing = field(default_factory=Timing)
    trying_at_once: bool = False
    max_calls: int = 1_000_000
    max_early_dialogs: int = 8
    max_datagram_request: int = 1300
    auth_retries: int = 2
    glare_retries: int = 5
    retry_after: int = 5
    udp_keep_alive: float = 25.0
    admission: AdmissionSettings | None = None
    framing: FramingLimits | None = None
    trace: bool = False

    def __post_init__(self) -> None:
        """Check what goes onto the wire as it is.

        Raises:
            ValueError: a control character, which would end the line that it stands on.
        """
        told = (self.contact_user, self.user_agent, *self.methods, *self.supported, *self.accept)
        for text in told:
            if any(character < " " or character == "\x7f" for character in text):
                raise ValueError(f"control character in {text[:64]!r}")
