"""The call leg that deals in packets, and the ports through which legs meet the world.

A leg knows two ports: `MediaTransport` (its `wire`) and `Signalling` (`sip`). The few methods at
the end of `RTPCall` are the only ones below the shells that touch asyncio, so that a leg made by
hand works without an engine.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from voip.errors import CallEnded, EndCause
from voip.hooks import OwnHooks, event_hook, frame_hook
from voip.legs import Extensible
from voip.logs import call_event, mask
from voip.rtp.packet import RTPPacket
from voip.sdp.types import MediaDescription

__all__ = [
    "MediaEngine",
    "MediaTransport",
    "PacketSender",
    "RTPCall",
    "SRTPSession",
    "Signalling",
]

logger = logging.getLogger("voip.rtp")


class PacketSender(Protocol):
    """What a leg asks of `rtp`: the legs by remote address, and a way to send."""

    calls: dict[Any, Any]

    def send(self, data: bytes, addr: Any) -> None:
        """Send one datagram."""


class MediaTransport(Protocol):
    """A leg's own port to its medium, set by the engine that adopts the leg."""

    def send(self, packet: RTPPacket) -> None:
        """Send one packet to the far end."""

    def clear(self) -> bool:
        """Drop what is queued for sending; True when something was playing."""

    def close(self) -> None:
        """Release the medium; a second time does nothing."""

    def describe(self) -> MediaDescription:
        """Return the m= section as it is agreed on now."""

    def start(self) -> None:
        """Let media flow (again)."""

    def stop(self) -> None:
        """Hold media; the medium stays open."""


class MediaEngine(Protocol):
    """What an adopted leg asks of its engine; a leg made by hand has none."""

    @property
    def remote(self) -> Any:
        """Where packets go; None when unknown."""

    def push(self, packet: RTPPacket) -> None:
        """Take one packet into the jitter buffer."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Call back after `delay` seconds of media time; returns an object with `cancel()`."""


class Signalling(Protocol):
    """What a leg asks of the protocol that set it up."""

    async def hang_up(self, call: Any, cause: EndCause = EndCause.LOCAL_HANGUP) -> None:
        """End the call by BYE, CANCEL or a final response, as its state asks; then `call._end`."""

    async def update(self, call: Any, media: MediaDescription) -> None:
        """Agree on new media (a re-INVITE)."""

    async def transfer(self, call: Any, target: str) -> None:
        """Send the far end elsewhere."""


class SRTPSession(Protocol):
    """The keys of one call's media."""

    def protect(self, data: bytes) -> bytes:
        """Return an RTP packet encrypted."""

    def unprotect(self, data: bytes) -> bytes:
        """Return an RTP packet decrypted."""


@dataclass(kw_only=True, eq=False, repr=False)
class RTPCall(Extensible):
    """One leg of a call, in packets.

    Attributes:
        rtp: the shared RTP socket, or anything with `calls` and `send(data, addr)`; None for a leg
            without UDP.
        sip: the protocol that set the call up; None on raw RTP.
        media: the negotiated m= section.
        caller: the remote party; masked in logs.
        srtp: the keys of an encrypted call.
        call_id: names the call in logs.
        wire: the leg's own port, set by the engine that adopts it; None until then.
    """

    rtp: PacketSender | None = field(repr=False)
    sip: Signalling | None = field(repr=False)
    media: MediaDescription = field(repr=False)
    caller: str = field(repr=False)
    srtp: SRTPSession | None = field(default=None, repr=False)
    call_id: str = field(default="", repr=False)
    wire: MediaTransport | None = field(init=False, default=None, repr=False)

    _engine: MediaEngine | None = field(init=False, default=None, repr=False)
    _transmit: Callable[[bytes, Any], None] | None = field(init=False, default=None, repr=False)
    _ended: CallEnded | None = field(init=False, default=None, repr=False)
    # A set of its own once there is a task; most calls never have one.
    _tasks: AbstractSet[asyncio.Task[Any]] = field(init=False, default=frozenset(), repr=False)
    _waiters: dict[str, list[asyncio.Future[None]]] = field(
        init=False, default_factory=dict, repr=False
    )
    _worker: ThreadPoolExecutor | None = field(init=False, default=None, repr=False)

    #: Runs the hooks of this leg, and counts what fails in them.
    hooks = OwnHooks()

    def __post_init__(self) -> None:
        """Derive what follows from the fields; subclasses call `super().__post_init__()`."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.call_id or hex(id(self))} {mask(self.caller)}>"

    @property
    def remote_address(self) -> Any:
        """Where packets go; None when unknown.

        What the engine agreed on or learned, else the key under which `rtp.calls` holds this leg.
        """
        if self._engine is not None:
            return self._engine.remote
        if self.rtp is not None:
            for address, leg in self.rtp.calls.items():
                if leg is self:
                    return address
        return None

    # Hooks

    @frame_hook
    def packet_received(self, packet: RTPPacket, addr: Any) -> None:
        """Take one packet, parsed and decrypted."""

    @event_hook
    def call_started(self) -> Any:
        """The call is up: its 200 was sent or received."""

    @event_hook
    def call_ended(self, reason: CallEnded) -> Any:
        """The call is over; what this starts has two seconds."""

    @event_hook
    def dtmf_received(self, digit: str, duration_ms: float) -> Any:
        """The caller pressed a key; once per press, whichever way it was signalled."""

    def hook_failed(self, exc: BaseException) -> None:
        """A hook of this call raised; the call goes on."""
        logger.error("call %s: a hook failed", self.call_id or hex(id(self)), exc_info=exc)

    # Commands

    @classmethod
    def negotiate_codec(cls, remote_media: MediaDescription) -> MediaDescription:
        """Choose from what the peer offers: an m= section with the chosen format.

        Raises:
            NotImplementedError: this class has no codecs of its own.
        """
        raise NotImplementedError(f"{cls.__name__} does not negotiate codecs")

    def send_packet(self, packet: RTPPacket, addr: Any) -> None:
        """Serialise, encrypt when there are keys, and send one packet."""
        transmit = self._transmit
        if transmit is None:
            if self.rtp is None:
                if self.wire is not None:
                    self.wire.send(packet)
                return
            transmit = self.rtp.send
        data = packet.__bytes__()  # 0.07 µs less than bytes(packet)
        if self.srtp is not None:
            data = self.srtp.protect(data)
        transmit(data, addr)

    async def hang_up(self) -> None:
        """End the call (BYE, CANCEL or a final response, by its state), then release its media."""
        await self._hang_up(EndCause.LOCAL_HANGUP)

    async def _hang_up(self, cause: EndCause) -> None:
        if self._ended is None:
            if self.sip is not None:
                await self.sip.hang_up(self, cause)
            else:
                self._end(CallEnded(cause))

    # The life of a leg; for engines and shells

    def _begin(self) -> None:
        """The call is up."""
        self.hooks.fire("call_started")

    def _end(self, reason: CallEnded) -> None:
        """The call is over: release its media, tell the hook, give what still runs its grace."""
        if self._ended is not None:
            return
        self._ended = reason
        if self.wire is not None:
            self.wire.close()
        for task in self._tasks:
            if task.get_name().startswith("media "):
                task.cancel()
        if logger.isEnabledFor(logging.INFO):
            facts = self._facts() | {"cause": reason.cause.value, "status": reason.status}
            call_event(logger, "call_ended", caller=self.caller, **facts, phrase=reason.phrase)
        self.hooks.fire("call_ended", reason)
        self.hooks.close(self._let_go)

    def _facts(self) -> dict[str, Any]:
        """Return what the events of this call say about it."""
        return {"call_id": self.call_id}

    def _frame_failed(self, name: str, error: BaseException) -> None:
        """A frame hook raised; on the fiftieth frame in a row the call ends."""
        if self.hooks.frame_failed(name, error) and self._ended is None:
            logger.error(
                "call %s: %s failed on %d frames in a row, hanging up: %r",
                self.call_id or hex(id(self)),
                name,
                self.hooks.FAILURES_LIMIT,
                error,
            )
            self._spawn(self._hang_up(EndCause.HOOK_FAILED), "hang up")

    # The small asyncio helpers: nothing else below the shells knows the event loop.

    def _spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that this leg owns; its failure is reported."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        tasks = self._tasks
        if not isinstance(tasks, set):
            tasks = self._tasks = set()
        tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        assert isinstance(self._tasks, set)
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.hooks.failed(task.get_name(), error)

    def _call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(delay, callback)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _sleep_until(self, at: float) -> None:
        delay = at - asyncio.get_running_loop().time()
        if delay > 0:
            await asyncio.sleep(delay)

    async def _wait(self, what: str) -> None:
        """Wait for the next `_wake(what)`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(what, []).append(future)
        await future

    def _wake(self, what: str) -> None:
        if self._waiters:
            for future in self._waiters.pop(what, ()):
                if not future.done():
                    future.set_result(None)

    @staticmethod
    def _random(size: int) -> int:
        return int.from_bytes(os.urandom(size), "big")

    def _run_in_thread(self, function: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a function in this call's own worker thread, after those before it."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, f"voip {self.call_id}".rstrip())
        return asyncio.get_running_loop().run_in_executor(self._worker, function)

    def _let_go(self) -> None:
        """Let go of the medium and the worker thread; what has not begun never will."""
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)
        if self._engine is not None:
            self.wire = self._engine = EndedMedia(self._engine.remote, self.media)


class EndedMedia:
    """Stands for the medium of a leg that is over.

    The leg and its medium hold each other; without this both would stay until a garbage collection.
    """

    __slots__ = ("_media", "remote")

    def __init__(self, remote: Any, media: MediaDescription) -> None:
        self.remote = remote
        self._media = media

    def send(self, packet: RTPPacket) -> None:
        """Send nothing."""

    def push(self, packet: RTPPacket) -> None:
        """Take nothing."""

    def clear(self) -> bool:
        """Drop nothing."""
        return False

    def close(self) -> None:
        """It is closed."""

    def describe(self) -> MediaDescription:
        """Return the m= section as it was agreed on last."""
        return self._media

    def start(self) -> None:
        """No media flows any more."""

    def stop(self) -> None:
        """No media flows any more."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Never call back: media time has ended."""
        return _NEVER


class _Never:
    __slots__ = ()

    def cancel(self) -> None:
        """Nothing will happen."""


_NEVER = _Never()
