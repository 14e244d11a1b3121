"""What an application says about a call that came in: ring, answer, reject, from any thread.

`call_received` may be `@voip.blocking`, so its commands may come from a worker thread; the driver's
calls are touched on the event loop only.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from voip.errors import CallEnded, EndCause, LocalProtocolError
from voip.logs import call_event

if TYPE_CHECKING:
    from voip.sip.answer import Answer
    from voip.sip.driver import SipDriver
    from voip.sip.messages import Request

__all__ = ["IncomingCalls"]

logger = logging.getLogger("voip.sip")


class IncomingCalls:
    """Carries out the commands of a driver's application, each on the event loop.

    Nothing happens to a call that is over.
    """

    __slots__ = ("_driver",)

    def __init__(self, driver: SipDriver) -> None:
        self._driver = driver

    def ring(self, request: Request) -> None:
        """Send 180 Ringing."""
        self._on_loop(functools.partial(self._ring, request))

    def _ring(self, request: Request) -> None:
        session = self._driver.sessions.get(id(request))
        if session is None or session.call is None:
            return
        call = session.call
        with contextlib.suppress(LocalProtocolError):
            self._driver.place(call.ring)
            if logger.isEnabledFor(logging.INFO):
                caller = request.headers["From"]
                call_event(logger, "call_ringing", caller=caller, call_id=call.id)

    def answer(
        self, request: Request, answer: Answer[Any], call_class: type[Any], fields: dict[str, Any]
    ) -> None:
        """Answer with a leg, which `answer` gets.

        Raises:
            LocalProtocolError: this request was answered before.
        """
        self._on_loop(functools.partial(self._answer, request, answer, call_class, fields))

    def _answer(
        self, request: Request, answer: Answer[Any], call_class: type[Any], fields: dict[str, Any]
    ) -> None:
        driver = self._driver
        session = driver.sessions.get(id(request))
        if session is None:
            answer.set_exception(CallEnded(EndCause.CANCELLED))
            return
        if session.answer is not None:
            raise LocalProtocolError("the request was answered before")
        session.answer = answer
        session.choose(call_class, fields)
        if driver.session.rtp_stun_server_address is None:
            session.accept()
        else:
            driver.spawn(session.accept_in_public(), "answer")

    def reject(self, request: Request, status_code: int, reason: str | None) -> None:
        """Send a final response other than 2xx."""
        self._on_loop(functools.partial(self._reject, request, status_code, reason))

    def _reject(self, request: Request, status_code: int, reason: str | None) -> None:
        session = self._driver.sessions.get(id(request))
        if session is None or session.call is None:
            return
        call = session.call
        with contextlib.suppress(LocalProtocolError):
            self._driver.place(lambda now: call.reject(now, status_code, reason))

    def _on_loop(self, command: Callable[[], None]) -> None:
        """Run a command on the event loop: at once, or soon from a worker thread."""
        driver = self._driver
        if threading.get_ident() == driver.thread:
            command()
        else:
            driver.loop.call_soon_threadsafe(self._try, command)

    def _try(self, command: Callable[[], None]) -> None:
        try:
            command()
        except Exception as error:  # noqa: BLE001 - the hook is gone: it is told like a failed one
            self._driver.session.hooks.failed("call_received", error)
