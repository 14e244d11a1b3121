"""From a host in a URI to targets to try: address literals at once, names by A and AAAA.

Names are looked up in threads of their own, few and counted, so that a slow name server delays
nobody but those who asked (RELIABILITY §1 and 3.3 row 13). NAPTR and SRV (RFC 3263 §4.1, §4.2) are
not asked; without them §4 says: the port of the URI or the default one, UDP for `sip:` and TLS
for `sips:`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from voip.machine import Counters, Resolve, Resolved, Target

__all__ = ["Resolver"]

_NAME_LENGTH = 253  # RFC 1035 §2.3.4, without the root's dot
_DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}
_CACHED_NAMES = 1024

Lookup = Callable[[str], Sequence[str]]
Sink = Callable[[Resolved], None]


def system_lookup(host: str) -> list[str]:
    """Return the addresses of a name, in the order to try (RFC 6724); blocks.

    Raises:
        OSError: there are none.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(slots=True, eq=False)
class _Query:
    """One name that is being looked up, and who waits for it."""

    host: str
    waiting: list[tuple[Resolve, Sink]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


class Resolver:
    """Answers `Resolve` with `Resolved`.

    Args:
        loop: the event loop; the running one when absent.
        lookup: host name to addresses; blocks, runs in a thread, raises OSError.
        timeout: seconds after which a name counts as not found.
        threads: look-ups at the same time.
        queue: names that may wait for a thread; more are refused at once.
        cache_seconds: how long addresses are kept; failures a tenth of that.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        lookup: Lookup = system_lookup,
        timeout: float = 5.0,
        threads: int = 4,
        queue: int = 256,
        cache_seconds: float = 60.0,
    ) -> None:
        self.counters: Counters = Counter()
        self.cache_seconds = cache_seconds
        self.timeout = timeout
        self._loop = loop or asyncio.get_running_loop()
        self._lookup = lookup
        self._threads = threads
        self._limit = queue
        self._running = 0
        self._queue: deque[_Query] = deque()
        self._queries: dict[str, _Query] = {}
        self._cache: dict[str, tuple[float, tuple[str, ...], str]] = {}
        self._closed = False

    def resolve(self, wish: Resolve, feed: Sink) -> None:
        """Call `feed(Resolved)`, at once when the answer is known."""
        transports = _transports(wish)
        host = wish.host.removeprefix("[").removesuffix("]")
        if not transports:
            # RFC 5630 §3.1.3: a sips URI is never served over UDP.
            feed(Resolved(wish.token, (), f"sips: does not go over {wish.transport}"))
            return
        if _is_address(host):
            feed(Resolved(wish.token, _targets(wish, (host,))))
            return
        name = host.rstrip(".").lower() if host.isascii() else ""
        refusal = _refusal(name)
        if refusal:
            self.counters["names_refused"] += 1
            feed(Resolved(wish.token, (), f"{wish.host}: {refusal}"))
            return
        cached = self._cache.get(name)
        if cached is not None and cached[0] > self._loop.time():
            feed(Resolved(wish.token, _targets(wish, cached[1]), cached[2]))
            return
        self._ask(name, wish, feed)

    def _ask(self, name: str, wish: Resolve, feed: Sink) -> None:
        query = self._queries.get(name)
        if query is None:
            if self._closed or len(self._queue) >= self._limit:
                self.counters["queries_refused"] += 1
                feed(Resolved(wish.token, (), f"{name}: too many names are being looked up"))
                return
            query = self._queries[name] = _Query(name)
            query.timer = self._loop.call_later(self.timeout, self._timed_out, query)
            self._queue.append(query)
            self._start()
        query.waiting.append((wish, feed))

    def _start(self) -> None:
        while self._queue and self._running < self._threads:
            query = self._queue.popleft()
            if not query.waiting and query.timer is None:  # timed out in the queue
                continue
            self._running += 1
            # A daemon: a name server that never answers must not hold up the end of the process.
            threading.Thread(
                target=self._work, args=(query,), name=f"resolve {query.host}", daemon=True
            ).start()

    def _work(self, query: _Query) -> None:
        """Run in a thread: look up, and hand the result to the loop."""
        addresses: tuple[str, ...] = ()
        reason = ""
        try:
            addresses = tuple(self._lookup(query.host))
        except (OSError, UnicodeError) as error:
            reason = f"{query.host}: {getattr(error, 'strerror', None) or error}"
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
            self._loop.call_soon_threadsafe(self._found, query, addresses, reason)

    def _found(self, query: _Query, addresses: tuple[str, ...], reason: str) -> None:
        self._running -= 1
        if not addresses and not reason:
            reason = f"{query.host}: no addresses"
        seconds = self.cache_seconds if addresses else self.cache_seconds / 10
        if len(self._cache) >= _CACHED_NAMES:
            self._cache.clear()
        self._cache[query.host] = (self._loop.time() + seconds, addresses, reason)
        self._answer(query, addresses, reason)
        self._start()

    def _timed_out(self, query: _Query) -> None:
        self.counters["queries_timed_out"] += 1
        query.timer = None
        self._answer(query, (), f"{query.host}: no answer from the name server")

    def _answer(self, query: _Query, addresses: tuple[str, ...], reason: str) -> None:
        if self._queries.get(query.host) is query:
            del self._queries[query.host]
        if query.timer is not None:
            query.timer.cancel()
            query.timer = None
        waiting, query.waiting = query.waiting, []
        if self._closed:
            return
        for wish, feed in waiting:
            feed(Resolved(wish.token, _targets(wish, addresses), reason))

    def close(self) -> None:
        """Answer nobody any more. Idempotent."""
        self._closed = True
        self._queue.clear()
        for query in list(self._queries.values()):
            self._answer(query, (), "closed")


def _transports(wish: Resolve) -> tuple[str, ...]:
    asked = wish.transport.upper() if wish.transport else None
    if wish.secure:
        # RFC 5630 §3.1.3: with sips, transport=tcp means TLS over TCP.
        return ("TLS",) if asked in (None, "TCP", "TLS") else ()
    if asked is not None:
        return (asked,) if asked in _DEFAULT_PORTS else ()
    # RFC 3263 §4.1 ends at UDP; TCP behind it serves peers that have only that.
    return ("UDP", "TCP")


def _targets(wish: Resolve, addresses: Sequence[str]) -> tuple[Target, ...]:
    domain = wish.host.removeprefix("[").removesuffix("]")
    return tuple(
        Target(transport, address, wish.port or _DEFAULT_PORTS[transport], domain)
        for transport in _transports(wish)
        for address in addresses
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _refusal(name: str) -> str:
    """Return why a name is not looked up, "" when it is."""
    if not name or len(name) > _NAME_LENGTH:
        return "not a host name"
    last = name.rpartition(".")[2]
    if last == "invalid":
        return "the name says that it does not exist (RFC 6761)"
    if last.isdigit() or last.startswith("0x"):
        # The C library reads 0x7f.1 and 2130706433 as addresses, past every address policy.
        return "neither a host name nor an address"
    return ""
