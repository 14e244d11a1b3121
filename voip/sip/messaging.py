"""Requests outside any dialog that the application serves or sends, such as MESSAGE."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from voip.errors import LocalProtocolError, TransportError
from voip.sip.transactions import State

if TYPE_CHECKING:
    from voip.sip import events
    from voip.sip.account import Account
    from voip.sip.client import ClientRequest
    from voip.sip.driver import SipDriver
    from voip.sip.messages import Request, Response
    from voip.sip.transactions import ServerTransaction

__all__ = ["ApplicationRequests"]

# What a request of the application leaves to us.
_OURS = ("Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length")


class ApplicationRequests:
    """Who waits for which response, on both sides.

    Args:
        driver: runs the endpoint.
    """

    def __init__(self, driver: SipDriver) -> None:
        self._driver = driver
        # Oldest first: all of them have the same time to be answered (timer J).
        self._arrived: dict[Any, ServerTransaction] = {}
        self._asked: dict[ClientRequest, asyncio.Future[Response]] = {}

    def arrived(self, event: events.RequestArrived) -> None:
        """Keep a request until its response, or until it is too late for one."""
        while self._arrived:
            oldest = next(iter(self._arrived))
            if self._arrived[oldest].state is not State.TERMINATED:
                break
            del self._arrived[oldest]
        self._arrived[_identity(event.request)] = event.transaction

    def answer(self, response: Response) -> None:
        """Send the response to a request that arrived.

        Raises:
            LocalProtocolError: nothing waits for this response.
        """
        key = _identity(response)
        transaction = self._arrived.get(key)
        if transaction is None or transaction.state is State.TERMINATED:
            raise LocalProtocolError("no request waits for this response")
        machine = self._driver.machine
        self._driver.place(lambda now: machine.respond(transaction, response, now))
        if response.status_code >= 200:
            self._arrived.pop(key, None)

    async def ask(self, request: Request, account: Account | None) -> Response:
        """Send a request and return its final response.

        Raises:
            TransportError: nobody answered.
            LocalProtocolError: a call sends such requests.
        """
        driver = self._driver
        headers = [(name, value) for name, value in request.headers.items() if name not in _OURS]
        client = driver.command(
            lambda machine, now: machine.request(
                request.method,
                str(request.uri),
                now=now,
                body=request.raw_body,
                headers=headers,
                account=account,
            )
        )
        if client.done and client.response is None:
            raise TransportError("the request could not be sent")
        waiting: asyncio.Future[Response] = driver.loop.create_future()
        self._asked[client] = waiting
        return await waiting

    def finished(self, event: events.RequestFinished) -> None:
        """Tell whoever waits for the response to a request of ours."""
        waiting = self._asked.pop(event.client, None)
        if waiting is None or waiting.done():
            return
        if event.response is not None:
            waiting.set_result(event.response)
        else:
            waiting.set_exception(TransportError(event.reason or "no answer"))
            waiting.exception()  # whoever waits gets it; nobody else is to be warned


def _identity(message: Request | Response) -> Any:
    via = message.via
    return message.call_id, message.cseq, via.branch, via.sent_by
