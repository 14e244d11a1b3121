"""Who gets what arrives on the shared socket: tables that are worked out per call, read per packet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from voip.machine import Counters
from voip.rtp.wires import MediaReceiver, SharedSocket
from voip.sockets import Address
from voip.types import canonical_ip, is_unspecified

__all__ = ["SharedCalls"]

logger = logging.getLogger("voip.rtp")

#: Addresses behind a NAT that one call may claim.
_CLAIMS = 4


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
        self._sockets: list[SharedSocket] = []
        self._by_ip: dict[str, list[SharedSocket]] = {}
        self._claims: dict[Address, SharedSocket] = {}

    def add(self, shared: SharedSocket) -> None:
        """Take a call in."""
        self._sockets.append(shared)
        self.refresh()

    def remove(self, shared: SharedSocket) -> None:
        """Forget a call."""
        self._sockets.remove(shared)
        self.refresh()

    def holds(self, address: Address) -> bool:
        """Tell whether a call on the shared socket has an address to itself."""
        return address in self.media or address in self._claims

    def refresh(self) -> None:
        """Work out the tables, after a call came, moved or went."""
        self.media = self._table(rtcp=False)
        self.media_rtcp = self._table(rtcp=True)
        self._by_ip = {}
        for shared in self._sockets:
            hosts = {shared.signalling_ip, shared.remote.host if shared.remote else None}
            for host in {canonical_ip(host) for host in hosts if host is not None}:
                self._by_ip.setdefault(host, []).append(shared)
        # What an SDP names is stronger than what a NAT showed.
        self._claims = {
            address: shared
            for address, shared in self._claims.items()
            if shared in self._sockets and address not in self.media
        }

    def _table(self, *, rtcp: bool) -> dict[Address, MediaReceiver]:
        table: dict[Address, MediaReceiver] = {}
        for shared in self._sockets:
            address = shared.remote_rtcp if rtcp else shared.remote
            if address is None or is_unspecified(address.host):
                continue
            if address in table:
                table[address] = _Nobody(self._contested)
            else:
                table[address] = shared.media or _Nobody(self._early)
        return table

    def only_call_at(self, address: Any) -> MediaReceiver | None:
        """Return the one call that may send from an address, and remember its claim.

        The call's own rules decide whether the packet counts (RELIABILITY G2). The claim lasts when
        a second call from the same IP comes later.
        """
        shared = self._claims.get(address)
        if shared is not None:
            return shared.media
        calls = self._by_ip.get(canonical_ip(address[0]))
        if calls is None:
            return None
        if len(calls) > 1:
            self._contested(address)
            return None
        shared = calls[0]
        if sum(holder is shared for holder in self._claims.values()) < _CLAIMS:
            self._claims[address] = shared
        return shared.media

    def _contested(self, address: Any) -> None:
        self.counters["rtp_contested_source"] += 1
        if self.counters["rtp_contested_source"] == 1:
            logger.warning("media that two calls could have sent is dropped (and counted)")

    def _early(self, address: Any) -> None:
        self.counters["rtp_early"] += 1


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
