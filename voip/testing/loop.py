"""An asyncio event loop on virtual time, with sockets in memory.

Nothing waits: when every task does, the clock jumps to the next timer. A call of half an hour runs
in milliseconds, the same way each time. UDP and TCP go through a `Network`; there are no file
descriptors, so `add_reader` is missing, as on Windows, and what uses it must have its plain path.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from voip.testing.network import Network
from voip.testing.sockets import Ether, MemoryDatagramTransport, MemoryServer
from voip.types import HostPort

__all__ = ["StalledError", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

THREAD_PATIENCE_SECS = 30.0


class StalledError(RuntimeError):
    """Every task waits and no timer runs: nothing would ever happen again."""


class _Selector:
    """Stands where a loop keeps its selector: instead of waiting, it moves the clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.pass_time(timeout)
        return []

    def close(self) -> None:
        pass


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose time is virtual and whose sockets are in memory.

    Work in threads (`run_in_executor`, `asyncio.to_thread`) takes no virtual time: the clock stands
    still until it is done.

    Args:
        network: what lies between the sockets; a perfect one by default.
        start: the time at which the clock starts.
        hosts: names that `getaddrinfo` knows, with their addresses.
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        start: float = 1000.0,
        hosts: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.network = network or Network()
        self.hosts = dict(hosts or {})
        self.ether = Ether(self, self.network)
        self._now = start
        self._woken = threading.Event()
        self._threads = 0
        self._selector = _Selector(self)

    def time(self) -> float:
        """Return the virtual time."""
        return self._now

    def pass_time(self, timeout: float | None) -> None:
        """Move the clock to the next timer, or wait for a thread.

        Raises:
            StalledError: there is neither, or the thread never ends.
        """
        if timeout == 0 or self._woken.is_set():
            self._woken.clear()
            return
        if self._threads:
            if not self._woken.wait(THREAD_PATIENCE_SECS):
                raise StalledError(f"a thread has run for {THREAD_PATIENCE_SECS:.0f} s")
            self._woken.clear()
        elif timeout is None:
            raise StalledError(
                f"at {self._now:.3f} s every task waits and no timer runs"
                f" (seed {self.network.seed})"
            )
        else:
            self._now += timeout

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none: virtual sockets schedule their callbacks."""

    def _write_to_self(self) -> None:
        self._woken.set()

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run `func` in a thread while the clock stands still."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *timeout: float | None) -> None:
        """Wait for the threads of the default executor; that is a thread too."""
        self._threads += 1
        try:
            await super().shutdown_default_executor(*timeout)
        finally:
            self._threads -= 1

    def _thread_done(self, future: asyncio.Future[Any]) -> None:
        self._threads -= 1

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | bytes | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that asyncio gives it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Resolve literals and the names in `hosts`; everything else is unknown."""
        name = host.decode() if isinstance(host, bytes) else host or "0.0.0.0"  # noqa: S104
        known = self.hosts.get(name.lower(), name)
        return socket.getaddrinfo(known, port, family, type, proto, flags | socket.AI_NUMERICHOST)

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        **options: Any,
    ) -> tuple[MemoryDatagramTransport, Any]:
        """Open a UDP socket in memory; `sock=` is refused."""
        if options.get("sock") is not None:
            raise NotImplementedError("a virtual loop has no real sockets")
        remote = HostPort(*remote_addr[:2]) if remote_addr else None
        local = HostPort(*(local_addr or ("0.0.0.0", 0))[:2])  # noqa: S104
        protocol = protocol_factory()
        transport = self.ether.open_datagram(protocol, local, remote)
        await asyncio.sleep(0)  # connection_made comes before the transport is handed out
        return transport, protocol

    async def create_connection(
        self,
        protocol_factory: Callable[[], Any],
        host: str | None = None,
        port: int | None = None,
        *,
        local_addr: tuple[str, int] | None = None,
        ssl: Any = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        """Open a TCP connection in memory; TLS is refused."""
        if ssl or host is None or port is None or options.get("sock") is not None:
            raise NotImplementedError("a virtual loop has plain streams only")
        target = HostPort(self.hosts.get(host.lower(), host), port)
        local = HostPort(*local_addr[:2]) if local_addr else None
        await asyncio.sleep(2 * self.network.delay(local.host if local else "", target.host))
        protocol = protocol_factory()
        transport = self.ether.connect(protocol, local, target)
        await asyncio.sleep(0)
        return transport, protocol

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        host: str | None = None,
        port: int = 0,
        *,
        ssl: Any = None,
        **options: Any,
    ) -> MemoryServer:
        """Listen for TCP connections in memory; TLS is refused."""
        if ssl or options.get("sock") is not None:
            raise NotImplementedError("a virtual loop has plain streams only")
        return self.ether.listen(protocol_factory, HostPort(host or "0.0.0.0", port))  # noqa: S104


def run_virtual(
    main: Coroutine[Any, Any, T],
    *,
    network: Network | None = None,
    hosts: Mapping[str, str] | None = None,
) -> T:
    """Run a coroutine to its end in virtual time, as `asyncio.run` does in real time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(network, hosts=hosts)) as runner:
        return runner.run(main)
