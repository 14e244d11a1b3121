"""Keep one binding alive at a registrar (RFC 3261 §10, recovery after RFC 5626 §4.5).

The machine knows REGISTER requests and their final outcomes. Via, Contact, retransmission and
digest challenges belong to the endpoint that sends what `outgoing` gives.

| state | input | action | next |
| --- | --- | --- | --- |
| idle, refused | start | REGISTER | trying |
| trying | 2xx | refresh at 50–90 % of the grant | bound |
| trying | 423 | longer expiry, REGISTER at once | trying |
| trying | 401, 403, 404 … | tell the application | refused |
| trying | other failure, timeout | back off | waiting |
| bound, waiting | deadline | REGISTER | trying |
| bound, waiting | flow lost | REGISTER at once, then often | trying |
| trying | flow lost | back off, shortly | waiting |
| trying | stop | (RFC 3261 §10.2: one REGISTER at a time) | stopping |
| stopping | any outcome | REGISTER with Expires 0 | leaving |
| bound, waiting | stop | REGISTER with Expires 0 | leaving |
| leaving | any outcome | tell the application | idle (trying after start) |
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from voip.errors import ParseError
from voip.machine import Counters, Deadline, Entropy
from voip.sip.account import Account
from voip.sip.messages import Request, Response
from voip.sip.types import NameAddress, SipURI

__all__ = [
    "BindingExpired",
    "Registered",
    "Registration",
    "RegistrationRefused",
    "RegistrationSettings",
    "RegistrationState",
    "Unregistered",
]

# What trying again with the same request will not mend: the application has to know.
_PERMANENT = frozenset((401, 403, 404, 405, 407, 410, 416, 420, 604, 606))
_MAX_SECONDS = 2**31 - 1


class RegistrationState(enum.StrEnum):
    """Where a registration stands."""

    IDLE = "idle"
    TRYING = "trying"
    BOUND = "bound"
    WAITING = "waiting"
    STOPPING = "stopping"
    LEAVING = "leaving"
    REFUSED = "refused"


_IN_FLIGHT = (RegistrationState.TRYING, RegistrationState.STOPPING, RegistrationState.LEAVING)


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """Times in seconds.

    Attributes:
        expires: what is asked for.
        max_expires: the most that a 423 may raise it to.
        refresh_share: the refresh comes at a random share of the granted time between these.
        base: RFC 5626 §4.5 base-time with all flows down.
        longest: RFC 5626 §4.5 max-time.
        quick: the wait between tries after a lost flow is uniform between these …
        quick_for: … for so long, and as RFC 5626 says afterwards.
        max_retry_after: a Retry-After beyond this is cut.
    """

    expires: int = 3600
    max_expires: int = 86_400
    refresh_share: tuple[float, float] = (0.5, 0.75)
    base: float = 30.0
    longest: float = 1800.0
    quick: tuple[float, float] = (2.0, 4.0)
    quick_for: float = 300.0
    max_retry_after: float = 3600.0


@dataclass(slots=True)
class Registered:
    """The registrar granted the binding, at first or again, for `expires` seconds."""

    registration: Registration
    expires: int


@dataclass(slots=True)
class Unregistered:
    """The binding was taken away as asked, or the registrar was asked in vain."""

    registration: Registration


@dataclass(slots=True)
class BindingExpired:
    """The granted time is over and no refresh worked: nobody reaches us until `Registered`."""

    registration: Registration


@dataclass(slots=True)
class RegistrationRefused:
    """A try failed: the registrar's status and words, 408 when it said nothing.

    `retry_at` is when the next try leaves; None when there is none until `start`. `answered` tells
    whether the registrar said so; else the phrase is the transport's, or "timeout".
    """

    registration: Registration
    status: int
    phrase: str
    retry_at: float | None
    answered: bool = True


Event = Registered | Unregistered | BindingExpired | RegistrationRefused


class Registration:
    """One binding of one account.

    Attributes:
        account: whose.
        contact: the URI that the endpoint put into Contact, which tells our binding from others.
        wanted: the expiry asked for: the one of the settings, or what a 423 raised it to.
        state: where it stands.
        expires_at: when the granted binding ends, None without one.
        counters: of what was ignored.
    """

    def __init__(
        self,
        account: Account,
        *,
        entropy: Entropy,
        expires: int | None = None,
        settings: RegistrationSettings | None = None,
        contact: SipURI | None = None,
    ) -> None:
        self.account = account
        self.settings = settings or RegistrationSettings()
        self.contact = contact
        self.wanted = self.settings.expires if expires is None else expires
        self.state = RegistrationState.IDLE
        self.expires_at: float | None = None
        self.counters = Counters()
        self._entropy = entropy
        # RFC 3261 §10.2: one Call-ID for all registrations to a registrar, CSeq rises by one.
        self._call_id = entropy(16).hex()
        self._tag = entropy(8).hex()
        self._cseq = 0
        self._failures = 0
        self._raised = False
        self._returning = False
        self._quick_until: float | None = None
        self._next: float | None = None
        self._out: list[Request] = []
        self._events: list[Event] = []

    # Commands

    def start(self, now: float) -> None:
        """Register, and stay registered; drain outgoing. Without effect while it runs."""
        if self.state is RegistrationState.STOPPING:
            self.state = RegistrationState.TRYING
        elif self.state is RegistrationState.LEAVING:
            self._returning = True
        elif self.state in (RegistrationState.IDLE, RegistrationState.REFUSED):
            self._failures = 0
            self._try()

    def stop(self, now: float) -> None:
        """Unregister; drain outgoing and events. Without effect when nothing is registered."""
        if self.state is RegistrationState.TRYING:
            self.state = RegistrationState.STOPPING
        elif self.state is RegistrationState.LEAVING:
            self._returning = False
        elif self.state in (RegistrationState.BOUND, RegistrationState.WAITING):
            self._leave()

    # Inputs

    def response_received(self, response: Response, now: float) -> None:
        """Take the final response to the REGISTER under way, challenges excepted."""
        if not self._in_flight:
            self.counters["registration.stray_response"] += 1
            return
        try:
            # The endpoint counts on when it answers challenges; ours must stay ahead.
            self._cseq = max(self._cseq, response.cseq.number)
        except ParseError:
            self.counters["registration.bad_cseq"] += 1
        if self.state is not RegistrationState.TRYING:
            self._after_stop(response)
        elif 200 <= response.status_code < 300:
            self._granted(response, now)
        elif response.status_code == 423 and self._raise_expiry(response):
            self._try()
        else:
            self._refused(response, now)

    def request_failed(self, reason: str, now: float) -> None:
        """Learn that no final response came: a timeout, or the transport failed."""
        if not self._in_flight:
            self.counters["registration.stray_failure"] += 1
        elif self.state is RegistrationState.TRYING:
            self._retry(408, reason, now, self._wait(now), answered=False)
        else:
            self._after_stop(None)

    def flow_lost(self, now: float) -> None:
        """Learn that the connection of the binding ended: the registrar cannot reach us over it."""
        if self.state in (RegistrationState.BOUND, RegistrationState.WAITING):
            self._quick_until = now + self.settings.quick_for
            self._failures = 0
            self._try()
        elif self.state is RegistrationState.TRYING:
            # The request under way fails too, and then the quick waits begin.
            self._quick_until = self._quick_until or now + self.settings.quick_for

    # Verbs

    def advance(self, now: float) -> None:
        """Do what is due; drain outgoing and events."""
        if self.expires_at is not None and now >= self.expires_at:
            self.expires_at = None
            self._events.append(BindingExpired(self))
        if self._next is not None and now >= self._next:
            self._try()

    def deadline(self) -> Deadline | None:
        """Return when `advance` is wanted next, and why."""
        due = []
        if self._next is not None:
            refresh = self.state is RegistrationState.BOUND
            due.append(Deadline(self._next, "refresh" if refresh else "retry"))
        if self.expires_at is not None:
            due.append(Deadline(self.expires_at, "binding_expires"))
        return min(due, default=None)

    def outgoing(self) -> list[Request]:
        """Return and forget the requests to send, without Via and Contact."""
        out, self._out = self._out, []
        return out

    def events(self) -> list[Event]:
        """Return and forget what happened."""
        events, self._events = self._events, []
        return events

    # Actions

    @property
    def _in_flight(self) -> bool:
        return self.state in _IN_FLIGHT

    def _try(self) -> None:
        self.state = RegistrationState.TRYING
        self._next = None
        self._out.append(self._request(self.wanted))

    def _leave(self) -> None:
        self.state = RegistrationState.LEAVING
        self._next = None
        self._out.append(self._request(0))

    def _request(self, expires: int) -> Request:
        self._cseq += 1
        aor = str(self.account.address)
        return Request(
            "REGISTER",
            self.account.registrar,
            [
                ("Max-Forwards", "70"),
                ("From", f"<{aor}>;tag={self._tag}"),
                ("To", f"<{aor}>"),
                ("Call-ID", self._call_id),
                ("CSeq", f"{self._cseq} REGISTER"),
                ("Expires", str(expires)),
            ],
        )

    def _granted(self, response: Response, now: float) -> None:
        granted = self._granted_expiry(response)
        if granted <= 0:
            self._retry(response.status_code, "no binding granted", now, self._wait(now))
            return
        self.account.registered()
        self._failures, self._raised, self._quick_until = 0, False, None
        self.state = RegistrationState.BOUND
        self.expires_at = now + granted
        # RFC 3261 §10.2.4, of what was granted and not of what was asked.
        self._next = now + granted * self._between(*self.settings.refresh_share)
        self._events.append(Registered(self, granted))

    def _granted_expiry(self, response: Response) -> int:
        """Return the seconds granted to our binding (RFC 3261 §10.3 step 8)."""
        try:
            contacts = response.contacts
        except ParseError:
            self.counters["registration.bad_contact"] += 1
            contacts = []
        ours = [c for c in contacts if self.contact is not None and self.contact.matches(c.uri)]
        default = _seconds(response.headers.raw("Expires"))
        if default is None:
            default = self.wanted
        # A registrar may rewrite the contact of a client behind NAT: then the shortest counts.
        granted = [_contact_expiry(contact, default) for contact in ours or contacts]
        return min(granted, default=default)

    def _raise_expiry(self, response: Response) -> bool:
        """Ask for what a 423 wants (RFC 3261 §10.2.8); once per try, and only more than before."""
        least = _seconds(response.headers.raw("Min-Expires"))
        if self._raised or least is None or not self.wanted < least <= self.settings.max_expires:
            return False
        self._raised = True
        self.wanted = least
        return True

    def _refused(self, response: Response, now: float) -> None:
        status, phrase = response.status_code, response.reason
        if status in _PERMANENT:
            self.state = RegistrationState.REFUSED
            self.expires_at = self._next = None
            self._events.append(RegistrationRefused(self, status, phrase, None))
            return
        wait = self._wait(now)
        after = _seconds(response.headers.raw("Retry-After"))
        if after is not None:
            # Never before the time that the server named, and not all at that very moment.
            named = min(float(after), self.settings.max_retry_after)
            wait = max(wait, named * self._between(1.0, 1.1)) if named else wait
        self._retry(status, phrase, now, wait)

    def _retry(
        self, status: int, phrase: str, now: float, wait: float, *, answered: bool = True
    ) -> None:
        self.state = RegistrationState.WAITING
        self._raised = False
        self._next = now + wait
        self._events.append(RegistrationRefused(self, status, phrase, self._next, answered))

    def _wait(self, now: float) -> float:
        """Return how long to back off."""
        settings = self.settings
        self._failures += 1
        if self._quick_until is not None and now < self._quick_until:
            self._failures = 0
            return self._between(*settings.quick)
        # RFC 5626 §4.5: uniform between 50 and 100 % of base · 2^failures, at most max-time.
        longest = min(settings.longest, settings.base * 2.0 ** min(self._failures - 1, 16))
        if self.expires_at is not None:
            # While the binding lives, several tries must fit into what is left of it.
            longest = min(longest, max((self.expires_at - now) / 4, 1.0))
        return longest * self._between(0.5, 1.0)

    def _after_stop(self, response: Response | None) -> None:
        permanent = response is not None and response.status_code in _PERMANENT
        if self.state is RegistrationState.STOPPING and not permanent:
            self._leave()
        else:
            self._gone()

    def _gone(self) -> None:
        self.state = RegistrationState.IDLE
        self.expires_at = self._next = None
        self._events.append(Unregistered(self))
        if self._returning:
            self._returning = False
            self._try()

    def _between(self, low: float, high: float) -> float:
        return low + (high - low) * int.from_bytes(self._entropy(4), "big") / 2**32

    def __repr__(self) -> str:
        return f"<Registration at {self.account.aor.host!r}, {self.state}>"


def _seconds(value: bytes | str | None) -> int | None:
    """Return the number that a value starts with (Retry-After may carry a comment), or None."""
    if value is None:
        return None
    data = value if isinstance(value, bytes) else value.encode("utf-8", "replace")
    digits = data[: len(data) - len(data.lstrip(b"0123456789"))]
    # More than ten digits are beyond RFC 3261 §20.19's 2**32-1 anyway.
    return min(int(digits[:11]), _MAX_SECONDS) if digits else None


def _contact_expiry(contact: NameAddress, default: int) -> int:
    seconds = _seconds(contact.parameters.get("expires"))
    return default if seconds is None else seconds
