"""Where a call's media comes from, and where ours may go: the rules for learning an address.

Packets from the SDP address always win. Any other address must be a candidate for ten packets in
order, of one SSRC, with a negotiated payload type, and its IP must be the SDP's or the signalling
source's; then it is locked until a re-INVITE. What a candidate sends meanwhile is held, and
delivered once it is locked. Without these rules whoever sprays a port receives the call (RTP bleed,
ES2017-04, CVE-2025-53399).

| packet from | nothing locked | locked to it | locked elsewhere |
| --- | --- | --- | --- |
| the SDP address | lock, accept | accept | lock back, accept |
| an IP that the mode allows | hold; lock at ten | accept | drop |
| anywhere else | drop | accept ("anywhere" only) | drop |
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from voip.machine import Counters
from voip.rtp.packet import RTPPacket
from voip.types import HostPort, canonical_ip

__all__ = ["RemoteSource", "SourceRules", "Verdict", "may_send_to"]

#: Packets in order that prove a candidate; Asterisk takes 4, PJSIP 10.
PROOF_PACKETS = 10
#: Candidates under observation at once; a spray from many ports must not cost memory.
MAX_CANDIDATES = 4
#: A candidate that fell silent makes room after this.
CANDIDATE_SECONDS = 2.0
#: RELIABILITY F2: packets to an address that is not the signalling source's, before one came back.
UNPROVEN_PACKETS = 250
#: Losses that a proof survives.
MAX_GAP = 4


class Verdict(enum.Enum):
    """What becomes of a packet."""

    ACCEPT = "accept"
    HELD = "held"
    DROP = "drop"


@dataclass(slots=True)
class SourceRules:
    """What is known about the peer's media address before the first packet.

    Attributes:
        mode: "strict" takes the SDP address only; "learn" also another port of the SDP's or the
            signalling source's IP; "anywhere" takes any address and is for those who know why.
        sdp: the address in the peer's description; None when it gave none.
        signalling_ip: where its signalling comes from.
        payload_types: the numbers that were negotiated; empty takes all.
        sdp_rtcp: the peer's RTCP address.
        trusted: whether the peer was authenticated or is a listed one, so that media may go to an
            address which nothing has proven yet, for as long as it likes.
        acknowledged: whether the peer has shown that it gets our signalling: its ACK, or its 2xx.
    """

    mode: Literal["strict", "learn", "anywhere"] = "learn"
    sdp: HostPort | None = None
    signalling_ip: str | None = None
    payload_types: AbstractSet[int] = frozenset()
    sdp_rtcp: HostPort | None = None
    trusted: bool = False
    acknowledged: bool = True

    def rank(self, ip: str) -> int:
        """Return how well an IP is known: 0 the SDP's, 1 the signalling's, 2 a stranger's."""
        if self.sdp is not None and ip == self.sdp.host:
            return 0
        return 1 if ip == self.signalling_ip else 2


@dataclass(slots=True)
class _Candidate:
    rank: int
    packet: RTPPacket
    seen: float
    held: list[RTPPacket] = field(default_factory=list)

    def continues(self, packet: RTPPacket) -> bool:
        """Whether a packet follows the last one: same source, in order, plausible timestamp."""
        last = self.packet
        step = (packet.sequence_number - last.sequence_number) & 0xFFFF
        ticks = (packet.timestamp - last.timestamp) & 0xFFFFFFFF
        # Ten seconds at 48 kHz: silence suppression may pause, a forger's clock jumps.
        return packet.ssrc == last.ssrc and 1 <= step <= MAX_GAP and ticks <= 480_000


class RemoteSource:
    """The peer's media address of one call.

    Attributes:
        locked: the address that packets are accepted from; None before the first is.
        released: packets that were held for the address that has just been locked; deliver them,
            oldest first, before the packet that was accepted, and clear the list (`take_released`).
    """

    __slots__ = (
        "_candidates",
        "_counters",
        "_may_send",
        "_named",
        "_rtcp",
        "_settled",
        "_unproven",
        "locked",
        "released",
        "rules",
    )

    def __init__(self, rules: SourceRules, counters: Counters | None = None) -> None:
        self._counters = counters
        self.locked: HostPort | None = None
        self.released: list[RTPPacket] = []
        self._rtcp: HostPort | None = None
        self._candidates: dict[HostPort, _Candidate] = {}
        self._unproven = 0
        self._settled = False
        self._configure(rules)
        self._named = self.rules.sdp

    @property
    def counters(self) -> Counters:
        """What was dropped, by reason; made on first use, as most calls drop nothing."""
        counters = self._counters
        if counters is None:
            counters = self._counters = Counters()
        return counters

    def _configure(self, rules: SourceRules) -> None:
        sdp = _canonical(rules.sdp)
        signalling_ip = rules.signalling_ip and _one_spelling(rules.signalling_ip)
        self.rules = SourceRules(
            rules.mode,
            sdp,
            signalling_ip,
            rules.payload_types,
            _canonical(rules.sdp_rtcp),
            rules.trusted,
            rules.acknowledged,
        )
        self._may_send = sdp is not None and may_send_to(sdp, signalling_ip)

    def renegotiated(self, rules: SourceRules) -> None:
        """Take the rules of a new offer or answer.

        A new SDP address forgets what was learnt. Where the address stays (hold, resume, also by
        `0.0.0.0`), what was learnt stays in use too, yet until the next packet from it another
        candidate may prove itself: a NAT may have changed its mind together with the phone.
        """
        mode = self.rules.mode
        self._configure(rules)
        self._candidates.clear()
        self.released.clear()
        self._settled = False
        sdp = self.rules.sdp
        if mode != self.rules.mode or (sdp is not None and sdp != self._named):
            self.locked = self._rtcp = None
            self._unproven = 0
        self._named = sdp or self._named

    def accept(self, packet: RTPPacket, addr: tuple[str, int], now: float) -> Verdict:
        """Judge a packet; after ACCEPT, look at `released` first.

        Args:
            packet: the packet, parsed.
            addr: where it came from, spelled as `canonical_ip` does.
            now: monotonic seconds.
        """
        rules = self.rules
        if rules.payload_types and packet.payload_type not in rules.payload_types:
            self.counters["rtp_payload_type"] += 1
            return Verdict.DROP
        if addr == self.locked:
            self._settled = True
            return Verdict.ACCEPT
        if addr == rules.sdp:
            self._lock(HostPort(*addr))
            return Verdict.ACCEPT
        if self._settled or rules.mode == "strict":
            self.counters["rtp_source"] += 1
            return Verdict.DROP
        rank = rules.rank(addr[0])
        if rank == 2 and rules.mode != "anywhere":
            self.counters["rtp_source"] += 1
            return Verdict.DROP
        return self._observe(packet, HostPort(*addr), rank, now)

    def _observe(self, packet: RTPPacket, addr: HostPort, rank: int, now: float) -> Verdict:
        candidate = self._candidates.get(addr)
        if candidate is None:
            if not self._room(rank, now):
                self.counters["rtp_candidates"] += 1
                return Verdict.DROP
            candidate = self._candidates[addr] = _Candidate(rank, packet, now, [packet])
            return Verdict.HELD
        if not candidate.continues(packet):
            candidate.held.clear()
            self.counters["rtp_candidate_restarts"] += 1
        candidate.packet, candidate.seen = packet, now
        # A better known IP that is sending decides first; what waits longer than the proof is cut.
        if len(candidate.held) + 1 < PROOF_PACKETS or self._is_preceded(candidate, now):
            candidate.held.append(packet)
            del candidate.held[: -(PROOF_PACKETS - 1)]
            return Verdict.HELD
        self._lock(addr)
        self.released = candidate.held
        return Verdict.ACCEPT

    def _room(self, rank: int, now: float) -> bool:
        """Make room for a candidate: silent ones go, then one that is known less well."""
        table = self._candidates
        for addr in [one for one in table if now - table[one].seen > CANDIDATE_SECONDS]:
            del table[addr]
        if len(table) < MAX_CANDIDATES:
            return True
        worst = max(table, key=lambda one: table[one].rank)
        if table[worst].rank > rank:
            del table[worst]
            return True
        return False

    def _is_preceded(self, candidate: _Candidate, now: float) -> bool:
        return any(
            one.rank < candidate.rank and now - one.seen < CANDIDATE_SECONDS
            for one in self._candidates.values()
        )

    def _lock(self, addr: HostPort) -> None:
        if self.locked is not None:
            self.counters["rtp_source_changed"] += 1
        self.locked = addr
        self._settled = True
        self._rtcp = None
        self._candidates.clear()

    def take_released(self) -> list[RTPPacket]:
        """Return and forget the packets that were held for the address now locked."""
        packets, self.released = self.released, []
        return packets

    # Where ours goes

    @property
    def remote(self) -> HostPort | None:
        """Where RTP goes: the locked address, else the SDP's where that may be sent to."""
        if self.locked is not None:
            return self.locked
        return self.rules.sdp if self._may_send else None

    def destination(self) -> HostPort | None:
        """Return where to send one RTP packet now, or None; counts what goes to the unproven.

        RELIABILITY F2: an INVITE that names a victim must not become a stream of packets at it, so
        an address other than the signalling source gets 250 packets before something comes back.
        The source of a datagram may be forged too: until the ACK is here, it counts as unproven.
        """
        if self.locked is not None:
            return self.locked
        if not self._may_send:
            return None
        rules = self.rules
        proven = rules.trusted or (rules.acknowledged and _is_at(rules.sdp, rules.signalling_ip))
        if not proven:
            if self._unproven >= UNPROVEN_PACKETS:
                self.counters["rtp_unproven_destination"] += 1
                return None
            self._unproven += 1
        return rules.sdp

    def unreachable(self) -> None:
        """Take an ICMP refusal: an address that nothing has proven gets no more packets."""
        self.counters["rtp_unreachable"] += 1
        sdp = self.rules.sdp
        if self.locked is None and not self.rules.trusted and sdp is not None:
            self._may_send = self._may_send and sdp.host == self.rules.signalling_ip

    # RTCP

    @property
    def remote_rtcp(self) -> HostPort | None:
        """Where RTCP goes: the learnt address, else the SDP's while RTP goes to the SDP's too."""
        if self._rtcp is not None:
            return self._rtcp
        declared = self.rules.sdp_rtcp
        if declared is None or self.remote is None:
            return None
        return declared if declared.host == self.remote.host else None

    def accept_rtcp(self, addr: tuple[str, int]) -> bool:
        """Judge a valid compound packet by its source; learns the port behind a NAT.

        RTCP is taken from its SDP address and from the IP that RTP is locked to.
        """
        if addr == self._rtcp:
            return True
        if addr == self.rules.sdp_rtcp:
            self._rtcp = None
            return True
        if self.rules.mode == "strict" or self.locked is None or addr[0] != self.locked.host:
            self.counters["rtcp_source"] += 1
            return False
        if self._rtcp is None:
            self._rtcp = HostPort(*addr)
            return True
        self.counters["rtcp_source"] += 1
        return False


def _is_at(address: HostPort | None, host: str | None) -> bool:
    return address is None or address.host == host


_one_spelling = lru_cache(maxsize=1024)(canonical_ip)


def _canonical(address: HostPort | None) -> HostPort | None:
    if address is None:
        return None
    host = _one_spelling(address.host)
    return address if host == address.host else HostPort(host, address.port)


_CGNAT = ipaddress.IPv4Network("100.64.0.0/10")


# Bounded, and only a shortcut: reading an address takes microseconds, a call asks several times.
@lru_cache(maxsize=1024)
def _scope(ip: str) -> int | None:
    """Return how far an address reaches: 0 this host, 1 the link, 2 the site, 3 the world."""
    try:
        address = ipaddress.ip_address(canonical_ip(ip))
    except ValueError:
        return None
    if address.is_multicast or address.is_unspecified or str(address) == "255.255.255.255":
        return None
    if address.is_loopback:
        return 0
    if address.is_link_local:
        return 1
    if isinstance(address, ipaddress.IPv4Address):
        # 0.0.0.0/8 and 240.0.0.0/4 are nobody's; 192.0.2.0/24 and its like serve in documents.
        if address.packed[0] in (0, *range(240, 256)):
            return None
        return 2 if address in _CGNAT or _is_site(address) else 3
    return 2 if address.packed[0] & 0xFE == 0xFC else 3


def _is_site(address: ipaddress.IPv4Address) -> bool:
    return any(address in network for network in _SITES)


_SITES = tuple(
    ipaddress.IPv4Network(one) for one in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)


def may_send_to(address: HostPort, signalling_ip: str | None) -> bool:
    """Tell whether media may go to an address that a description names (RELIABILITY F3).

    An address of this host, this link or this site is taken from a peer in the same range or a
    nearer one only: a stranger must not aim our packets at what is behind our firewall.
    Multicast, broadcast, unspecified addresses and ports below 1024 are never sent to. Such a peer
    is not refused: behind a NAT its private address is usual, and its real one is learnt.
    """
    scope = _scope(address.host)
    if scope is None or address.port < 1024:
        return False
    if signalling_ip is None:
        return True
    if address.host == _one_spelling(signalling_ip):
        return True
    origin = _scope(signalling_ip)
    if origin is None:
        return scope == 3
    return scope == origin if scope == 1 else scope >= origin
