"""A scripted SIP peer: a phone that does what a test tells it, right or wrong.

It shares no code with the stack: it writes text, reads headers by splitting lines, and forgives
nothing, so that a mistake of the parser cannot hide behind the same mistake here. It never
retransmits and answers nothing by itself. It runs on real sockets and on a `VirtualLoop`.

    async with SipPeer.open("127.0.0.1", 0, remote=("127.0.0.1", 5060)) as peer:
        invite = peer.request("INVITE", "sip:echo@127.0.0.1", body=peer.sdp())
        answer = await peer.expect(200)
        peer.ack(answer)
        peer.bye(answer)
        await peer.expect(200)
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from voip.types import HostPort

__all__ = ["SipMessage", "SipPeer"]

Headers = Iterable[tuple[str, str]]


@dataclass(slots=True)
class SipMessage:
    """A message as it came, cut into lines.

    Attributes:
        first_line: the request line or status line.
        headers: name as written and value, in order.
        body: what follows the empty line.
        source: where it came from.
    """

    first_line: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    source: HostPort | None = field(default=None, compare=False)

    @classmethod
    def parse(cls, data: bytes, source: HostPort | None = None) -> SipMessage:
        """Cut bytes into a message; folded lines are not understood."""
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("utf-8").split("\r\n")
        headers = []
        for line in lines:
            name, _, value = line.partition(":")
            headers.append((name.strip(), value.strip()))
        return cls(first, headers, body, source)

    @property
    def status(self) -> int | None:
        """The status of a response, None for a request."""
        return int(self.first_line.split()[1]) if self.first_line.startswith("SIP/") else None

    @property
    def method(self) -> str:
        """The method of a request, or of the request that a response answers."""
        return self.first_line.split()[0] if self.status is None else self["CSeq"].split()[1]

    def __getitem__(self, name: str) -> str:
        """Return the first header of that name; KeyError when there is none."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        raise KeyError(name)

    def all(self, name: str) -> list[str]:
        """Return every header of that name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def contact_uri(self) -> str:
        """The URI of the Contact."""
        return self["Contact"].partition("<")[2].partition(">")[0] or self["Contact"]


class _Inbox:
    """Takes what arrives on either kind of socket."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[SipMessage] = asyncio.Queue()
        self.transport: Any = None
        self._stream = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.strip():
            self.queue.put_nowait(SipMessage.parse(data, HostPort(*addr[:2])))

    def data_received(self, data: bytes) -> None:
        self._stream = (self._stream + data).lstrip(b"\r\n")
        while b"\r\n\r\n" in self._stream:
            head, _, rest = self._stream.partition(b"\r\n\r\n")
            message = SipMessage.parse(head + b"\r\n\r\n")
            length = int(message["Content-Length"])
            if len(rest) < length:
                return
            message.body, self._stream = rest[:length], rest[length:].lstrip(b"\r\n")
            self.queue.put_nowait(message)

    def error_received(self, exc: Exception) -> None: ...

    def eof_received(self) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class SipPeer:
    """One phone with one dialog at a time.

    Attributes:
        local: our address.
        remote: where requests go.
        user: our user part.
        call_id: Call-ID of the requests to come; change it for another dialog.
        tag: our tag.
        log: every message, sent ("→") or received ("←"), as text.
    """

    def __init__(self, inbox: _Inbox, local: HostPort, remote: HostPort, transport: str) -> None:
        self.local = local
        self.remote = remote
        self.transport = transport
        self.user = "peer"
        self.call_id = f"call-{local.port}@{local.host}"
        self.tag = f"peer-{local.port}"
        self.log: list[str] = []
        self._inbox = inbox
        self._numbers = itertools.count(1)
        self._cseq = itertools.count(1)
        self._invite: SipMessage | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        remote: tuple[str, int] = ("127.0.0.1", 5060),
        transport: str = "UDP",
    ) -> AsyncIterator[SipPeer]:
        """Open a peer on a socket of its own; over TCP it connects to `remote`."""
        loop = asyncio.get_running_loop()
        inbox = _Inbox()
        factory: Any = lambda: inbox  # noqa: E731 - asyncio wants a factory
        if transport.upper() == "UDP":
            await loop.create_datagram_endpoint(factory, local_addr=(host, port))
        else:
            local = (host, port) if port else None
            await loop.create_connection(factory, *remote, local_addr=local)
        name = HostPort(*inbox.transport.get_extra_info("sockname")[:2])
        try:
            yield cls(inbox, name, HostPort(*remote), transport.upper())
        finally:
            inbox.transport.close()

    # Out

    def send(self, data: bytes, to: HostPort | None = None) -> None:
        """Send bytes as they are."""
        self.log.append("→ " + data.decode("utf-8", "replace"))
        if self.transport == "UDP":
            self._inbox.transport.sendto(data, tuple(to or self.remote))
        else:
            self._inbox.transport.write(data)

    def request(
        self, method: str, uri: str, *, body: bytes = b"", headers: Headers = ()
    ) -> SipMessage:
        """Send a request outside a dialog; headers given here replace ours."""
        number = next(self._cseq)
        message = self._build(method, uri, number, f"<{uri}>", body, headers)
        if method == "INVITE":
            self._invite = message
        return message

    def ack(self, answer: SipMessage, *, body: bytes = b"") -> SipMessage:
        """Acknowledge a final response to our INVITE (RFC 3261 §13.2.2.4, §17.1.1.3)."""
        number = int(answer["CSeq"].split()[0])
        if (answer.status or 0) < 300:
            uri, extra = (
                answer.contact_uri,
                [("Route", r) for r in answer.all("Record-Route")[::-1]],
            )
        else:  # the same branch as the INVITE: it is part of its transaction
            assert self._invite is not None
            uri = self._invite.first_line.split()[1]
            extra = [("Via", self._invite["Via"])]
        return self._build("ACK", uri, number, answer["To"], body, extra)

    def cancel(self) -> SipMessage:
        """Cancel our INVITE: same Request-URI, branch and number (RFC 3261 §9.1)."""
        assert self._invite is not None
        uri = self._invite.first_line.split()[1]
        number = int(self._invite["CSeq"].split()[0])
        via = [("Via", self._invite["Via"])]
        return self._build("CANCEL", uri, number, self._invite["To"], b"", via)

    def bye(self, dialog: SipMessage, *, headers: Headers = ()) -> SipMessage:
        """End the dialog of a response to our INVITE, or of an INVITE that we answered."""
        return self.in_dialog("BYE", dialog, headers=headers)

    def in_dialog(
        self, method: str, dialog: SipMessage, *, body: bytes = b"", headers: Headers = ()
    ) -> SipMessage:
        """Send a request in the dialog of `dialog`."""
        far = dialog["To"] if dialog.status is not None else dialog["From"]
        number = next(self._cseq)
        message = self._build(method, dialog.contact_uri, number, far, body, headers)
        if method == "INVITE":
            self._invite = message
        return message

    def reply(
        self,
        request: SipMessage,
        status: int,
        reason: str = "Whatever",
        *,
        body: bytes = b"",
        headers: Headers = (),
    ) -> None:
        """Answer a request, to where it came from."""
        given = dict(headers)
        lines = [f"SIP/2.0 {status} {reason}"]
        lines += [f"Via: {via}" for via in request.all("Via")]
        lines.append(f"From: {request['From']}")
        to = request["To"]
        lines.append(f"To: {to}" if status == 100 or "tag=" in to else f"To: {to};tag={self.tag}")
        lines += [f"Call-ID: {request['Call-ID']}", f"CSeq: {request['CSeq']}"]
        lines += [f"Record-Route: {route}" for route in request.all("Record-Route")]
        given.setdefault("Contact", self._contact())
        self.call_id = request["Call-ID"]
        self.send(_finish(lines, given, body), request.source)

    def _contact(self) -> str:
        suffix = "" if self.transport == "UDP" else f";transport={self.transport.lower()}"
        return f"<sip:{self.user}@{self.local}{suffix}>"

    def _build(
        self, method: str, uri: str, number: int, to: str, body: bytes, headers: Headers
    ) -> SipMessage:
        extra = dict(headers)
        branch = f"z9hG4bK-{self.tag}-{next(self._numbers)}"
        fields = {
            "Via": f"SIP/2.0/{self.transport} {self.local};branch={branch};rport",
            "Max-Forwards": "70",
            "From": f"<sip:{self.user}@{self.local.host}>;tag={self.tag}",
            "To": to,
            "Call-ID": self.call_id,
            "CSeq": f"{number} {method}",
            "Contact": self._contact(),
        }
        fields.update(extra)
        data = _finish([f"{method} {uri} SIP/2.0"], fields, body)
        self.send(data)
        return SipMessage.parse(data)

    def sdp(self, port: int = 40000, formats: str = "0", *attributes: str) -> bytes:
        """Return a session description: one audio stream at our host."""
        host = self.local.host
        kind = "IP6" if ":" in host else "IP4"
        lines = ["v=0", f"o=- 1 1 IN {kind} {host}", "s=-", f"c=IN {kind} {host}", "t=0 0"]
        lines.append(f"m=audio {port} RTP/AVP {formats}")
        lines += [f"a={attribute}" for attribute in attributes]
        return "".join(f"{line}\r\n" for line in lines).encode()

    # In

    async def receive(self, *, timeout: float = 5.0) -> SipMessage:
        """Return the next message; TimeoutError when none comes."""
        message = await asyncio.wait_for(self._inbox.queue.get(), timeout)
        self.log.append(f"← {message.first_line}")
        return message

    async def expect(self, wanted: int | str, *, timeout: float = 5.0) -> SipMessage:
        """Return the next message of a status or method; provisional responses are skipped.

        Raises:
            AssertionError: another final response or request came.
            TimeoutError: nothing did.
        """
        while True:
            message = await self.receive(timeout=timeout)
            got = message.status if message.status is not None else message.method
            if got == wanted:
                return message
            if not (isinstance(got, int) and got < 200):
                raise AssertionError(f"wanted {wanted}, got {message.first_line!r}")

    async def expect_nothing(self, *, seconds: float = 1.0) -> None:
        """Check that no message comes."""
        try:
            message = await self.receive(timeout=seconds)
        except TimeoutError:
            return
        raise AssertionError(f"wanted nothing, got {message.first_line!r}")


def _finish(lines: list[str], fields: dict[str, str], body: bytes) -> bytes:
    lines = lines + [f"{name}: {value}" for name, value in fields.items()]
    if body and "Content-Type" not in fields:
        lines.append("Content-Type: application/sdp")
    if "Content-Length" not in fields:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
