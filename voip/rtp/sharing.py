"""Who gets what arrives on the shared socket: tables written per call and read per packet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from voip.errors import ParseError, ProtocolError
from voip.machine import Counters
from voip.rtp.packet import RTPPacket
from voip.rtp.wires import MediaReceiver, SharedSocket
from voip.sockets import Address
from voip.types import HostPort, canonical_ip, is_unspecified

__all__ = ["SharedCalls", "deliver_by_hand", "is_live"]

logger = logging.getLogger("voip.rtp")

#: Addresses behind a NAT that one call may claim.
_CLAIMS = 4


class _Place(NamedTuple):
    """Under what a call is filed."""

    rtp: Address | None
    rtcp: Address | None
    signalling: tuple[str] | None
    named: tuple[str] | None
    claims: list[Address]


def _named(address: HostPort | None) -> HostPort | None:
    """Return an address that packets can come from, else None (`0.0.0.0`: on hold)."""
    return None if address is None or is_unspecified(address.host) else address


class SharedCalls:
    """The calls on one shared socket, by where their packets come from.

    Attributes:
        media: who gets RTP from an address that an SDP names.
        media_rtcp: who gets RTCP from one.

    Args:
        counters: where drops are counted.
    """

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self.media: dict[Address, MediaReceiver] = {}
        self.media_rtcp: dict[Address, MediaReceiver] = {}
        self._places: dict[SharedSocket, _Place] = {}
        self._by_rtp: dict[Address, list[SharedSocket]] = {}
        self._by_rtcp: dict[Address, list[SharedSocket]] = {}
        self._by_ip: dict[Address, list[SharedSocket]] = {}
        self._by_named_ip: dict[Address, list[SharedSocket]] = {}
        self._claims: dict[Address, SharedSocket] = {}

    def __len__(self) -> int:
        """Return how many calls are on the socket."""
        return len(self._places)

    def holds(self, address: Address) -> bool:
        """Tell whether a call on the shared socket has an address to itself."""
        return address in self.media or address in self._claims

    def file(self, shared: SharedSocket) -> None:
        """Take a call in, or note that its addresses or its media changed."""
        self._take_out(shared)
        signalling = _host_key(shared.signalling_ip)
        named = _host_key(shared.remote.host if shared.remote else None)
        place = self._places[shared] = _Place(
            _named(shared.remote),
            _named(shared.remote_rtcp),
            signalling,
            None if named == signalling else named,
            [],
        )
        for table, key in self._entries(place):
            table.setdefault(key, []).append(shared)
        if place.rtp is not None:
            # What an SDP names is stronger than what a NAT showed.
            self._claims.pop(place.rtp, None)
        self._settle(place)

    def remove(self, shared: SharedSocket) -> None:
        """Forget a call; silent when it is unknown."""
        self._take_out(shared)

    def _take_out(self, shared: SharedSocket) -> None:
        place = self._places.pop(shared, None)
        if place is None:
            return
        for table, key in self._entries(place):
            table[key].remove(shared)
            if not table[key]:
                del table[key]
        for address in place.claims:
            if self._claims.get(address) is shared:
                del self._claims[address]
        self._settle(place)

    def _entries(
        self, place: _Place
    ) -> Iterator[tuple[dict[Address, list[SharedSocket]], Address]]:
        if place.rtp is not None:
            yield self._by_rtp, place.rtp
        if place.rtcp is not None:
            yield self._by_rtcp, place.rtcp
        if place.signalling is not None:
            yield self._by_ip, place.signalling
        if place.named is not None:
            yield self._by_named_ip, place.named

    def _settle(self, place: _Place) -> None:
        """Work out who gets what comes from a place's addresses."""
        for media, holders, key in (
            (self.media, self._by_rtp, place.rtp),
            (self.media_rtcp, self._by_rtcp, place.rtcp),
        ):
            if key is None:
                continue
            calls = _owners(holders.get(key, []), key)
            if not calls:
                media.pop(key, None)
            elif len(calls) > 1:
                media[key] = _Nobody(self._contested)
            else:
                media[key] = calls[0].media or _Nobody(self._early)

    def only_call_at(self, address: Any) -> MediaReceiver | None:
        """Return the one call that may send from an address, and remember its claim.

        The call's own rules decide whether the packet counts (RELIABILITY G2). The claim lasts when
        a second call from the same IP comes later.
        """
        shared = self._claims.get(address)
        if shared is not None:
            return shared.media
        host = (canonical_ip(address[0]),)
        calls = self._by_ip.get(host) or self._by_named_ip.get(host)
        if calls is None:
            return None
        if len(calls) > 1:
            self._contested(address)
            return None
        shared = calls[0]
        claims = self._places[shared].claims
        if len(claims) < _CLAIMS:
            claims.append(address)
            self._claims[address] = shared
        return shared.media

    def _contested(self, address: Any) -> None:
        self.counters["rtp_contested_source"] += 1
        if self.counters["rtp_contested_source"] == 1:
            logger.warning("media that two calls could have sent is dropped (and counted)")

    def _early(self, address: Any) -> None:
        self.counters["rtp_early"] += 1


def _host_key(host: str | None) -> tuple[str] | None:
    return None if host is None else (canonical_ip(host),)


def _owners(calls: list[SharedSocket], address: Any) -> list[SharedSocket]:
    """Return the calls that an address belongs to.

    A re-INVITE may name any address: it must not take the media of a call whose signalling comes
    from there, not even by making it doubtful whose they are.
    """
    if len(calls) < 2:
        return calls
    host = canonical_ip(address[0])
    own = [one for one in calls if one.signalling_ip and canonical_ip(one.signalling_ip) == host]
    return own or calls


class _Nobody:
    """Stands where no call gets the packets: two claim them, or the one has no media yet."""

    def __init__(self, count: Callable[[Any], None]) -> None:
        self._count = count

    def receive(self, data: bytes, addr: Any, now: float) -> None:
        """Count."""
        self._count(addr)

    def receive_rtcp(self, data: bytes, addr: Any, now: float) -> None:
        """Count."""
        self._count(addr)

    def unreachable(self, addr: HostPort, now: float) -> None:
        """Nobody sends there."""


# Legs that were registered by hand


def is_live(leg: Any) -> bool:
    """Tell whether a leg's call goes on; a leg made by hand lives until it is unregistered."""
    return getattr(leg, "_ended", None) is None


def deliver_by_hand(leg: Any, data: bytes, address: Any, counters: Counters) -> None:
    """Hand a packet to a leg that was registered by hand.

    Raises:
        Exception: whatever the `packet_received` of a leg that is none of ours raises.
    """
    if not is_live(leg):
        counters["rtp_after_the_end"] += 1
        return
    try:
        srtp = getattr(leg, "srtp", None)
        packet = RTPPacket.parse(data if srtp is None else srtp.unprotect(data))
    except ParseError:
        counters["rtp_malformed"] += 1
        return
    except ProtocolError:
        counters["srtp_refused"] += 1
        return
    failed = getattr(leg, "_frame_failed", None)
    try:
        leg.packet_received(packet, address)
    except Exception as error:
        if failed is None:  # no leg of ours
            raise
        failed("packet_received", error)
    else:
        if failed is not None and leg.hooks.in_a_row:
            leg.hooks.in_a_row.pop("packet_received", None)
