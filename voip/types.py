"""Addresses and serial-number arithmetic: what every floor shares."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple

__all__ = ["HostPort", "canonical_ip", "is_loopback", "is_unspecified", "unwrap"]


class HostPort(NamedTuple):
    """A host (name, IPv4 or unbracketed IPv6 literal) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


_MEMORABLE = 64
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def canonical_ip(host: str) -> str:
    """Return the one spelling of an address under which it is compared.

    IPv4 inside IPv6 (mapped, 6to4, NAT64) is unmapped first, since the standard library classifies
    `::ffff:127.0.0.1` as neither loopback nor private on Python 3.11. A zone identifier is dropped,
    a host name is returned in lower case.
    """
    # The same peers come again and again, and reading an address costs 6 µs; a long name is not
    # worth the room.
    return _remembered(host) if len(host) <= _MEMORABLE else _canonical(host)


def _canonical(host: str) -> str:
    bare = host.strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return bare.lower()
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return str(inner)
    return str(address)


_remembered = lru_cache(maxsize=2048)(_canonical)


def is_loopback(host: str) -> bool:
    """Tell whether an address literal is a loopback address; a host name is not."""
    try:
        return ipaddress.ip_address(canonical_ip(host)).is_loopback
    except ValueError:
        return False


def is_unspecified(host: str) -> bool:
    """Tell whether an address literal is `0.0.0.0` or `::` (RFC 3264 §8.4: hold)."""
    return canonical_ip(host) in ("0.0.0.0", "::")  # noqa: S104 - told, not bound


def unwrap(value: int, reference: int, bits: int = 16) -> int:
    """Return the integer nearest to `reference` whose low `bits` bits are `value`.

    Sequence numbers and timestamps become unbounded integers at the door, so that nothing wraps
    inside (RFC 3550 §A.1 in closed form). The result may be negative just after a start near zero.
    """
    span = 1 << bits
    delta = (value - reference) & (span - 1)
    if delta >= span >> 1:
        delta -= span
    return reference + delta
