"""UDP sockets as SIP and RTP need them: drained by a reader callback, with errors that have names.

One wake-up of the loop reads until nothing is left, up to a bound, so that a flood on one socket
leaves the others their turn. asyncio's datagram protocol costs four times as much per packet and is
used only where `add_reader` is missing (the Proactor loop). An ICMP error names the remote address
that it is about (Linux, IP_RECVERR), so that it ends exactly that path.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import select
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sized
from typing import Any, cast

from voip.gathering import GatheredReader
from voip.machine import Counters
from voip.poller import READS_PER_WAKE_UP, Poller
from voip.system import (
    RECEIVE_BUFFER_BYTES,
    TRANSIENT,
    Address,
    bind_udp,
    bound,
    cannot_bind,
    enlarge_receive_buffer,
    is_in_use,
    local_address_towards,
    report_icmp_errors,
    socket_family,
    unreachable,
    words,
)
from voip.types import HostPort

__all__ = [
    "Address",
    "UdpSocket",
    "bind_udp",
    "enlarge_receive_buffer",
    "is_in_use",
    "local_address_towards",
    "socket_family",
    "words",
]

logger = logging.getLogger(__name__)

_LINUX = sys.platform == "linux"
_HAS_POLL = hasattr(select, "poll")
_QUESTIONS = 2
# Answers that wait for the end of a wake-up: the first datagram wakes its reader, which costs twice
# what a datagram costs otherwise; more of them would keep the first one waiting too long.
_HELD_DATAGRAMS = 8
_HELD_SECONDS = 0.001


class UdpSocket(asyncio.DatagramProtocol):
    """One UDP socket on the loop; also an asyncio datagram protocol, for loops without readers.

    Args:
        received: called as `received(data, address)` for each datagram; what it raises is counted
            and reported, the next datagram is read all the same.
        lost: called as `lost(remote, reason)` when the network says that a remote is not reached.
        max_bytes: longer datagrams are dropped and counted.
        counters: where drops are counted; own ones when absent.
        poller: reads the socket with many others; a reader of the loop's own does when absent.
        gathers: whether datagrams in quick succession may wait a millisecond before they are read,
            as media may; where not, answers to what is read together wait for each other instead.
    """

    def __init__(
        self,
        received: Callable[[bytes, Address], None],
        lost: Callable[[HostPort, str], None],
        *,
        max_bytes: int = 65535,
        counters: Counters | None = None,
        poller: Poller | None = None,
        gathers: bool = True,
    ) -> None:
        self.counters: Counters = Counter() if counters is None else counters
        self._received = received
        self._lost = lost
        self._max_bytes = max_bytes
        self._poller = poller
        self._gathers = gathers

    # What most sockets never have is no attribute of theirs: two are made for each call.
    closed = False
    _loop: asyncio.AbstractEventLoop | None = None
    _sock: socket.SocketType | None = None
    _address: HostPort | None = None
    _transport: asyncio.DatagramTransport | None = None
    _opening: asyncio.Task[Any] | None = None
    _reader: GatheredReader | None = None
    _reading = False
    _tells_errors = False
    _has_more: Callable[[int], Sized]
    _questions = 0
    _untold = 0
    _held: list[tuple[bytes, Address]] | None = None

    # Opening and closing

    def bind(self, host: str, port: int, loop: asyncio.AbstractEventLoop) -> HostPort:
        """Bind, and read on the loop; see `open`.

        Returns:
            The address that the socket is bound to.

        Raises:
            TransportError: the port is in use, or the address is not ours.
        """
        self.open(host, port, loop)
        address = HostPort(host, port) if port else self.address
        assert address is not None
        return address

    def open(self, host: str, port: int, loop: asyncio.AbstractEventLoop) -> None:
        """Bind, and read on the loop, when nobody asks where.

        Where the loop has no readers, an asyncio transport is made in the background: `opened`
        waits for it.

        Raises:
            TransportError: the port is in use, or the address is not ours.
        """
        self._loop, self.closed = loop, False
        # A virtual loop (voip.testing) has sockets in memory.
        ether = getattr(loop, "ether", None)
        if ether is not None:
            try:
                self._transport = ether.open_datagram(self, HostPort(host, port), None)
            except OSError as error:
                raise cannot_bind(host, port, error) from error
        else:
            sock = bound(socket.SocketType, host, port)
            try:
                self._read(sock, loop)
            except OSError as error:
                self._sock = None
                sock.close()
                raise cannot_bind(host, port, error) from error

    def _read(self, sock: socket.SocketType, loop: asyncio.AbstractEventLoop) -> None:
        self._sock, self._address, self._tells_errors = sock, None, False
        try:
            if self._poller is None:
                self._reader = GatheredReader(
                    loop, sock.fileno(), self._readable, gathers=self._gathers
                )
                if _HAS_POLL:
                    poll = select.poll()
                    poll.register(sock.fileno(), select.POLLIN)
                    self._has_more, self._questions = poll.poll, _QUESTIONS
            else:
                self._poller.add(sock.fileno(), self._read_one, loop)
        except NotImplementedError:  # the Proactor loop of Windows
            whole = socket.socket(fileno=sock.detach())
            self._sock = whole
            endpoint = loop.create_datagram_endpoint(lambda: self, sock=whole)
            self._opening = loop.create_task(endpoint, name="open a UDP socket")
            self._opening.add_done_callback(self._is_open)
        else:
            self._reading = True

    def _is_open(self, opening: asyncio.Task[Any]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is not None:
            self.counters["open_failed"] += 1

    async def opened(self) -> None:
        """Wait until the socket is read; only where the loop has no readers is there a wait."""
        if self._opening is not None:
            await asyncio.wait([self._opening])

    def enlarge(self, size_bytes: int = RECEIVE_BUFFER_BYTES) -> None:
        """Ask for a large receive buffer; what is granted is logged."""
        sock = self._sock
        if sock is None and self._transport is not None:
            sock = self._transport.get_extra_info("socket")
        if sock is not None:
            enlarge_receive_buffer(sock, size_bytes)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Adopt an asyncio datagram transport."""
        if self.closed or self._transport not in (None, transport):
            transport.close()  # closed while it was made, or another took its place
            return
        self._sock = None  # the transport owns it
        self._transport = cast(asyncio.DatagramTransport, transport)
        with contextlib.suppress(RuntimeError):  # fed by hand, without a loop
            self._loop = asyncio.get_running_loop()
        if hasattr(transport, "max_size"):
            # asyncio reads into 256 KiB for each datagram: 17–23 µs against 6–9.
            transport.max_size = self._max_bytes + 1

    def close(self) -> None:
        """Stop reading and close the socket. Idempotent."""
        self.closed = True
        self.let_go()
        sock, self._sock = self._sock, None
        if sock is not None and self._opening is None:
            if self._reading:
                self._reading = False
                if self._poller is not None:
                    self._poller.remove(sock.fileno())
                elif self._reader is not None:
                    self._reader.close()
            sock.close()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def pass_to(
        self,
        received: Callable[[bytes, Address], None],
        lost: Callable[[HostPort, str], None],
        untold: int = 0,
    ) -> None:
        """Tell somebody else from now on.

        Args:
            received: as for the socket.
            lost: as for the socket.
            untold: datagrams that may be lost before errors are asked for.
        """
        self._received, self._lost, self._untold = received, lost, untold

    @property
    def address(self) -> HostPort | None:
        """What the socket is bound to, None when it is closed."""
        if self._sock is not None:
            if self._address is None:
                self._address = HostPort(*self._sock.getsockname()[:2])
            return self._address
        if self._transport is not None:
            name = self._transport.get_extra_info("sockname")
            return None if name is None else HostPort(*name[:2])
        return None

    # In

    def _readable(self) -> bool:
        """Read what is there, up to a bound; True when there may be more."""
        if self._gathers:
            return self._read_all()
        self._held = []
        try:
            return self._read_all()
        finally:
            # What these sends bring about (an ICMP error, another target) is sent at once.
            held, self._held = self._held, None
            if held:
                self._send_all(held)

    def _read_all(self) -> bool:
        sock = self._sock
        if sock is None:
            return False
        receive, size, questions = sock.recvfrom, self._max_bytes + 1, self._questions
        assert self._loop is not None
        clock = self._loop.time
        until = clock() + _HELD_SECONDS
        for count in range(READS_PER_WAKE_UP):
            if count <= questions and count and not self._has_more(0):
                break
            try:
                data, address = receive(size)
            except (BlockingIOError, InterruptedError):
                if not count:  # woken for the error queue alone
                    self._read_errors()
                break
            except OSError as error:
                self._receive_failed(error)
            else:
                self.datagram_received(data, address)
                if self._held and clock() > until:
                    self.let_go()
                    until = clock() + _HELD_SECONDS
            if self._sock is None:  # closed by what was received, or lost
                return False
        else:
            return True
        # To ask whether there is more costs 0.4 µs, a read that finds nothing 1.2 (its exception):
        # worth it while wake-ups find one datagram or two.
        self._questions = _QUESTIONS if _HAS_POLL and count <= _QUESTIONS else 0
        return False

    def _read_one(self) -> None:
        """Read one datagram: a poller asks again as long as there are more."""
        sock = self._sock
        if sock is None:
            return
        try:
            data, address = sock.recvfrom(self._max_bytes + 1)
        except (BlockingIOError, InterruptedError):
            self._read_errors()
        except OSError as error:
            self._receive_failed(error)
        else:
            self.datagram_received(data, address)

    def _receive_failed(self, error: OSError) -> None:
        self.counters["receive_error"] += 1
        if not self._read_errors():
            logger.debug("receive failed: %s", error)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Pass one datagram on."""
        if len(data) > self._max_bytes:
            self.counters["datagram_too_long"] += 1
            return
        try:
            self._received(data, addr)
        except Exception as error:  # the edge: one datagram must not cost the rest
            self.counters["receiver_failed"] += 1
            context = {"message": "a datagram could not be handled", "exception": error}
            if self._loop is not None:
                self._loop.call_exception_handler(context)
            else:
                logger.error("a datagram could not be handled", exc_info=error)

    def error_received(self, exc: Exception) -> None:
        """Count an error that asyncio reports; whom it is about is not known here."""
        self.counters["receive_error"] += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that asyncio closed the transport; not one that another took the place of."""
        if self._transport is None or self._transport.is_closing():
            self._transport = None
            self.closed = True

    def _read_errors(self) -> int:
        """Read the error queue; return how many entries it had."""
        sock = self._sock
        if not _LINUX or sock is None:
            return 0
        for count in range(READS_PER_WAKE_UP):
            try:
                _, ancillary, _, address = sock.recvmsg(64, 256, socket.MSG_ERRQUEUE)
            except OSError:
                return count
            self.counters["icmp_error"] += 1
            number = unreachable(ancillary)
            if number is not None and address:
                self._lost(HostPort(*address[:2]), os.strerror(number).lower())
            if self._sock is None:
                return count + 1
        return READS_PER_WAKE_UP

    # Out

    def send(self, data: bytes, address: Address) -> None:
        """Send one datagram. Never raises: what fails is counted, or reported as lost.

        It leaves at once. Where nothing gathers, answers to what a wake-up reads leave together, at
        its end at the latest, or when `let_go` is called.
        """
        held = self._held
        if held is None:
            self._send(data, address)
            return
        held.append((data, address))
        if len(held) >= _HELD_DATAGRAMS:
            self.let_go()

    def let_go(self) -> None:
        """Send what is held until the end of the wake-up."""
        held = self._held
        if held:
            self._held = []
            self._send_all(held)

    def _send_all(self, held: list[tuple[bytes, Address]]) -> None:
        for data, address in held:
            try:
                self._send(data, address)
            except Exception as error:  # noqa: BLE001 - what is no address costs only itself
                self.counters["send_error"] += 1
                logger.debug("send failed: %s", error)

    def _send(self, data: bytes, address: Address) -> None:
        sock = self._sock
        if sock is None:
            self._send_by_transport(data, address)
            return
        if not self._tells_errors:
            # Errors are about what was sent: many a call's second socket never sends.
            if self._untold:
                self._untold -= 1
            else:
                self._tells_errors = True
                report_icmp_errors(sock)
        try:
            sock.sendto(data, address)
        except OSError as error:
            self._send_failed(error, data, address)

    def _send_by_transport(self, data: bytes, address: Address) -> None:
        if self._transport is None:
            self.counters["send_after_close"] += 1
            return
        try:
            self._transport.sendto(data, address)
        except (OSError, ValueError) as error:
            # Transports that are connected refuse other addresses with ValueError.
            self.counters["send_error"] += 1
            logger.debug("send failed: %s", error)

    def _send_failed(self, error: OSError, data: bytes, address: Address) -> None:
        if self._read_errors() and self._sock is not None:
            # The kernel reported an earlier datagram's ICMP error and sent nothing: once more.
            try:
                self._sock.sendto(data, address)
            except OSError as again:
                error = again
            else:
                return
        name = errno.errorcode.get(error.errno or 0, "unknown")
        self.counters[f"send_error_{name.lower()}"] += 1
        if error.errno not in TRANSIENT and not self.closed:
            self._lost(HostPort(*address[:2]), words(error))
