"""What an unknown source may cost before its message is parsed.

Cheap questions in order: could this be SIP at all, is the source trusted, does its budget have
room? Budgets are token buckets: one per address (IPv4 /32, IPv6 /64), one per network (/24, /48)
and one for all strangers together, in tables of bounded size, so that forged sources cannot make
the defence the leak. Over budget a request is shed with one stateless 503, a few times in a row,
and then silently.

Trusted are loopback, the listed peers, and whoever is welcome just now: the far ends of dialogs and
registrations. Legal behaviour (retransmissions, OPTIONS pings, many phones behind one address) fits
into the budget; nobody is banned for longer than his own bucket takes to fill.
"""

from __future__ import annotations

import enum
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from voip.machine import Counters, Flow
from voip.sip.framing import is_sip, only_line_ends
from voip.types import canonical_ip

__all__ = ["Admission", "AdmissionSettings", "Verdict", "source_key"]

_FIRST_LINE_BYTES = 8192


class Verdict(enum.Enum):
    """What becomes of a message."""

    ADMIT = "admit"
    DROP = "drop"
    SHED = "shed"


# A member of an enumeration takes as long to name as the rest of a check.
_ADMIT, _DROP = Verdict.ADMIT, Verdict.DROP


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """Limits for strangers; rates are messages per second.

    Attributes:
        enabled: False lets everything that looks like SIP pass.
        peers: address literals of trunks, exempt from every limit.
        source_rate: of one address; `source_burst` may come at once.
        network_rate: of one /24 or /48; `network_burst` likewise.
        total_rate: of all strangers together; `total_burst` likewise.
        shed_rate: 503 answers to all strangers together; beyond it, silence.
        rejects_in_a_row: 503 answers to one source before it gets silence.
        max_sources: addresses, and networks, that are remembered.
        max_message_bytes: a longer datagram is dropped.
        max_pending_invites: unanswered INVITEs of one address.
        max_transactions: server transactions of all strangers.
        max_trusted_transactions: server transactions of all others.
    """

    enabled: bool = True
    peers: Collection[str] = ()
    source_rate: float = 20.0
    source_burst: float = 40.0
    network_rate: float = 100.0
    network_burst: float = 200.0
    total_rate: float = 1000.0
    total_burst: float = 2000.0
    shed_rate: float = 50.0
    rejects_in_a_row: int = 10
    max_sources: int = 10_000
    max_message_bytes: int = 65_535
    max_pending_invites: int = 50
    max_transactions: int = 10_000
    max_trusted_transactions: int = 1_000_000


class _Bucket:
    """Tokens that come back with time; 0.2 kB, since ten thousand of them are kept."""

    __slots__ = ("at", "refused", "tokens")

    def __init__(self, tokens: float, now: float) -> None:
        self.tokens = tokens
        self.at = now
        self.refused = 0

    def fill(self, rate: float, burst: float, now: float) -> bool:
        """Add what time brought; whether a whole token is there."""
        if now > self.at:
            self.tokens = min(burst, self.tokens + (now - self.at) * rate)
            self.at = now
            if self.tokens >= burst:
                self.refused = 0
        return self.tokens >= 1.0


class _Table:
    """Buckets by key; the one that was used longest ago makes room."""

    __slots__ = ("_buckets", "_burst", "_limit", "_rate")

    def __init__(self, rate: float, burst: float, limit: int) -> None:
        self._rate = rate
        self._burst = burst
        self._limit = limit
        # A plain dict finds its first key by walking over all that were deleted before it.
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, key: str, now: float) -> tuple[_Bucket, bool]:
        """Return the bucket of a key, and whether it has a token."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            self._buckets.move_to_end(key)
        else:
            if len(self._buckets) >= self._limit:
                self._buckets.popitem(last=False)
            bucket = self._buckets[key] = _Bucket(self._burst, now)
        return bucket, bucket.fill(self._rate, self._burst, now)


class Admission:
    """The doorkeeper of one endpoint.

    Attributes:
        settings: the limits.
        counters: of everything that was turned away, shared with the endpoint.
    """

    def __init__(
        self, settings: AdmissionSettings | None = None, counters: Counters | None = None
    ) -> None:
        self.settings = settings = settings or AdmissionSettings()
        self._enabled = settings.enabled
        self._longest = settings.max_message_bytes
        self.counters = Counters() if counters is None else counters
        self._peers = frozenset(canonical_ip(peer) for peer in settings.peers)
        self._welcome: Counter[str] = Counter()
        size = settings.max_sources
        self._sources = _Table(settings.source_rate, settings.source_burst, size)
        self._networks = _Table(settings.network_rate, settings.network_burst, size)
        self._total = _Table(settings.total_rate, settings.total_burst, 1)
        self._sheds = _Table(settings.shed_rate, settings.shed_rate, 1)
        self._invites: Counter[str] = Counter()
        # Those of strangers and those of all others.
        self._transactions = [0, 0]
        self._most = (settings.max_transactions, settings.max_trusted_transactions)

    @property
    def remembered(self) -> int:
        """How many sources are in the tables."""
        return len(self._sources)

    # Messages

    def admit(self, flow: Flow, data: bytes, now: float) -> Verdict:
        """Tell what becomes of a datagram or a framed message, before it is parsed."""
        end = data.find(b"\r", 0, _FIRST_LINE_BYTES)
        first = data[end - 8 : end] if end > 8 else b""
        if first != b" SIP/2.0" or len(data) > self._longest:
            reason = self._unfit(data)
            if reason:
                self.counters[f"admission.{reason}"] += 1
                return _DROP
        plain = _plain(flow.remote.host)
        if not self._enabled or self._trusts(plain):
            return _ADMIT
        return self._spend(_source_key(plain), data, now)

    def trusted(self, host: str) -> bool:
        """Tell whether an address is exempt: loopback, a listed peer, or welcome just now."""
        return self._trusts(_plain(host))

    def _trusts(self, plain: str) -> bool:
        if plain.startswith("127.") or plain == "::1":
            return True
        return plain in self._peers or plain in self._welcome

    def welcome(self, host: str) -> None:
        """Exempt an address: a dialog or registration with it began. Count with `dismiss`."""
        self._welcome[canonical_ip(host)] += 1

    def dismiss(self, host: str) -> None:
        """End one `welcome`; silent when there is none."""
        _count_down(self._welcome, canonical_ip(host))

    def _unfit(self, data: bytes) -> str:
        if len(data) > self._longest:
            return "too_large"
        if data.startswith(b"SIP/2.0 ") and data.find(b"\r", 0, _FIRST_LINE_BYTES) > 8:
            return ""
        start = 0
        while data[start : start + 1] in (b"\r", b"\n"):
            start += 1
            if start > 4:
                return "keep_alive" if only_line_ends(data) else "not_sip"
        end = data.find(b"\r", start, start + _FIRST_LINE_BYTES)
        if end < 0:
            return "keep_alive" if only_line_ends(data) else "not_sip"
        return "" if is_sip(data[start:end]) else "not_sip"

    def _spend(self, key: str, data: bytes, now: float) -> Verdict:
        source, fits_source = self._sources.bucket(key, now)
        network, fits_network = self._networks.bucket(_network_key(key), now)
        total, fits_total = self._total.bucket("", now)
        if fits_source and fits_network and fits_total:
            source.tokens -= 1.0
            network.tokens -= 1.0
            total.tokens -= 1.0
            source.refused = 0
            return _ADMIT
        where = "source" if not fits_source else "network" if not fits_network else "total"
        self.counters[f"admission.over_{where}_rate"] += 1
        source.refused += 1
        if source.refused > self.settings.rejects_in_a_row or not _may_be_answered(data):
            return _DROP
        # Sources may be forged: all of them together get no more than this many answers.
        sheds, fits = self._sheds.bucket("", now)
        if not fits:
            self.counters["admission.shed_silently"] += 1
            return _DROP
        sheds.tokens -= 1.0
        return Verdict.SHED

    # What is held

    def take_invite(self, flow: Flow) -> bool:
        """Count an INVITE that waits for its final response; False when its source has too many."""
        plain = _plain(flow.remote.host)
        if not self._enabled or self._trusts(plain):
            return True
        key = _source_key(plain)
        if self._invites[key] >= self.settings.max_pending_invites:
            self.counters["admission.pending_invites"] += 1
            return False
        self._invites[key] += 1
        return True

    def give_invite(self, flow: Flow) -> None:
        """End what `take_invite` counted; silent when it counted nothing."""
        if self._invites:
            _count_down(self._invites, source_key(flow.remote.host))

    def take_transaction(self, flow: Flow) -> bool | None:
        """Count a server transaction; the result goes to `give_transaction`.

        Returns:
            Whether it is a trusted one's, or None when it must not be made.
        """
        trusted = not self._enabled or self._trusts(_plain(flow.remote.host))
        held = self._transactions
        if held[trusted] >= self._most[trusted]:
            self.counters["admission.transactions"] += 1
            return None
        held[trusted] += 1
        return trusted

    def give_transaction(self, trusted: bool) -> None:
        """End a transaction that `take_transaction` counted."""
        self._transactions[trusted] = max(0, self._transactions[trusted] - 1)


def _count_down(counter: Counter[str], key: str) -> None:
    left = counter.get(key, 0) - 1
    if left > 0:
        counter[key] = left
    else:
        counter.pop(key, None)


def _plain(host: str) -> str:
    """Return an address as it is compared; IPv4, nearly all of it, is that already."""
    return canonical_ip(host) if ":" in host else host


def source_key(host: str) -> str:
    """Return what stands for one subscriber: an IPv4 address, or an IPv6 /64."""
    return _source_key(_plain(host))


def _source_key(plain: str) -> str:
    return ipaddress.IPv6Address(plain).packed[:8].hex(":", 2) if ":" in plain else plain


def _network_key(key: str) -> str:
    """Return the /24 or /48 of a source key."""
    return key[:14] if ":" in key else key.rpartition(".")[0]


def _may_be_answered(data: bytes) -> bool:
    """Tell whether a 503 may be sent: not to a response, and never to an ACK (RFC 3261 §17)."""
    start = data.lstrip(b"\r\n")[:4]
    return start not in (b"ACK ", b"SIP/")
