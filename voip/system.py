"""What the operating system does for UDP sockets: addresses, buffers, routes, ICMP errors."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from voip.errors import TransportError
from voip.types import HostPort

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

__all__ = [
    "RECEIVE_BUFFER_BYTES",
    "TRANSIENT",
    "Address",
    "bind_udp",
    "bound",
    "cannot_bind",
    "enlarge_receive_buffer",
    "is_in_use",
    "local_address_towards",
    "report_icmp_errors",
    "socket_family",
    "unreachable",
    "words",
]

# Those who read logs know it by the name of the face.
logger = logging.getLogger("voip.sockets")

RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024
"""The kernel's default holds 256 packets: a stall of 50 ms on a busy socket."""

# Not in the socket module (linux/in.h, linux/in6.h, linux/errqueue.h).
_IP_RECVERR = 11
_IPV6_RECVERR = 25
_EXTENDED_ERROR = struct.Struct("=IBBBBII")
_ORIGIN_LOCAL = 1
_LINUX = sys.platform == "linux"
# Where the system takes it, one call fewer for each call's two sockets.
_NONBLOCKING = getattr(socket, "SOCK_NONBLOCK", 0)
_DATAGRAMS = int(socket.SOCK_DGRAM | _NONBLOCKING)

TRANSIENT = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.EPERM, errno.EMSGSIZE}
"""The network is full, a filter said no, the datagram is too long: counted, the call survives."""

Address = tuple[Any, ...]
"""What the socket module takes and gives: host and port, two more items for IPv6."""


def most_open_files() -> int:
    """Return how many files and sockets the process may have open at a time."""
    if resource is None:
        return 512  # what the C library of Windows allows
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1_000_000 if soft == resource.RLIM_INFINITY else soft


# What `socket.socket` adds to `SocketType` costs 1 µs, and a call's two sockets need none of it.
SocketT = TypeVar("SocketT", bound=socket.SocketType)


def socket_family(host: str) -> socket.AddressFamily:
    """Return the address family of an IP literal."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def bind_udp(host: str, port: int) -> socket.socket:
    """Return a non-blocking UDP socket, bound.

    Raises:
        TransportError: the address is in use, not ours, or not an IP address, or the process has no
            sockets left.
    """
    return bound(socket.socket, host, port)


def bound(kind: Callable[..., SocketT], host: str, port: int) -> SocketT:
    """Return a non-blocking UDP socket of a class, bound; see `bind_udp`."""
    family = socket_family(host)
    try:
        sock = kind(family, _DATAGRAMS)
    except OSError as error:  # too many open files
        raise cannot_bind(host, port, error) from error
    try:
        if not _NONBLOCKING:
            sock.setblocking(False)
        if family is socket.AF_INET6:
            # `::` next to `0.0.0.0` on one port, and no IPv4 in IPv6 spelling in any flow.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise cannot_bind(host, port, error) from error
    return sock


def cannot_bind(host: str, port: int, error: OSError) -> TransportError:
    """Return what to raise where an address cannot be bound."""
    return TransportError(f"UDP {HostPort(host, port)}: {words(error)}")


def is_in_use(error: TransportError) -> bool:
    """Tell whether a socket could not be bound because somebody else has the port."""
    cause = error.__cause__
    # EACCES is what Windows says of a port that is held exclusively.
    return isinstance(cause, OSError) and cause.errno in (errno.EADDRINUSE, errno.EACCES)


def words(error: OSError) -> str:
    """Return what went wrong, in words, without the number and the address that asyncio adds."""
    if error.errno == errno.EADDRINUSE:
        return "the port is in use"
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error)


def enlarge_receive_buffer(sock: socket.SocketType, size_bytes: int = RECEIVE_BUFFER_BYTES) -> int:
    """Ask for a receive buffer, past the system's limit where we may; log what was granted."""
    options = [socket.SO_RCVBUF]
    if _LINUX:
        options.insert(0, getattr(socket, "SO_RCVBUFFORCE", 33))  # asm-generic/socket.h
    for option in options:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, size_bytes)
        except OSError:
            continue
        break
    granted = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if _LINUX:
        granted //= 2  # the kernel doubles what was asked for, for its own bookkeeping (socket(7))
    level = logging.DEBUG if granted >= size_bytes else logging.INFO
    logger.log(level, "receive buffer: %d bytes granted of %d", granted, size_bytes)
    return granted


def local_address_towards(remote_host: str) -> str:
    """Return the local address from which a remote one is reached; nothing is sent.

    Raises:
        TransportError: no route leads there.
    """
    with socket.socket(socket_family(remote_host), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((remote_host, 9))
        except OSError as error:
            raise TransportError(f"no route to {remote_host}: {words(error)}") from error
        return cast(str, probe.getsockname()[0])


def report_icmp_errors(sock: socket.SocketType) -> None:
    """Have the kernel queue ICMP errors with the address they are about (ip(7), IP_RECVERR)."""
    if not _LINUX:
        return
    with contextlib.suppress(OSError):
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)


def unreachable(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the errno of an extended error that means "not reached", else None."""
    for _, kind, data in ancillary:
        if kind in (_IP_RECVERR, _IPV6_RECVERR) and len(data) >= _EXTENDED_ERROR.size:
            number, origin, *_ = _EXTENDED_ERROR.unpack_from(data)
            if origin != _ORIGIN_LOCAL and number not in TRANSIENT:
                return int(number)
    return None
