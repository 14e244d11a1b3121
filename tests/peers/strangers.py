"""Who is not wanted: bare sockets that send anything and remember what came back.

They work on a `VirtualLoop` and on real sockets alike.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from voip.rtp.packet import RTPPacket

__all__ = ["Stranger", "StrangerOverTcp", "request"]

Address = tuple[str, int]
_PORTS = itertools.cycle(range(20000, 60000))


def request(
    method: str,
    source: Address,
    *,
    uri: str = "sip:line@192.0.2.1",
    number: int = 1,
    via: str = "UDP",
    extra: Sequence[str] = (),
    body: bytes = b"",
    **fields: str,
) -> bytes:
    """Return a whole request; `fields` replace To, From, Call-ID, CSeq or branch."""
    host, port = source
    name = f"{host}-{port}-{number}"
    lines = [
        f"{method} {uri} SIP/2.0",
        f"Via: SIP/2.0/{via} {host}:{port};branch={fields.get('branch', f'z9hG4bK-{name}')};rport",
        "Max-Forwards: 70",
        f"From: {fields.get('sender', f'<sip:x@{host}>;tag={name}')}",
        f"To: {fields.get('to', f'<{uri}>')}",
        f"Call-ID: {fields.get('call_id', name)}",
        f"CSeq: {fields.get('cseq', f'1 {method}')}",
        f"Contact: <sip:x@{host}:{port}>",
        *extra,
    ]
    if body:
        lines.append("Content-Type: application/sdp")
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Stranger(asyncio.DatagramProtocol):
    """A UDP socket.

    Attributes:
        address: where it is.
        got: what came, with its time.
    """

    def __init__(self) -> None:
        self.address: Address = ("", 0)
        self.got: list[tuple[float, bytes]] = []
        self._transport: Any = None
        self._number = 0

    @classmethod
    async def at(cls, host: str, port: int = 0) -> Stranger:
        """Open one."""
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_datagram_endpoint(cls, local_addr=(host, port))
        return protocol

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Remember what came."""
        self.got.append((asyncio.get_running_loop().time(), data))

    @property
    def statuses(self) -> list[int]:
        """The status codes of the responses that came."""
        return [int(data[8:11]) for _, data in self.got if data[:4] == b"SIP/"]

    @property
    def audio(self) -> list[RTPPacket]:
        """The RTP packets that came."""
        return [RTPPacket.parse(data) for _, data in self.got if data[0] >> 6 == 2]

    def send(self, data: bytes, to: Address) -> None:
        """Send one datagram."""
        self._transport.sendto(data, to)

    def speak(self, to: Address, *, ssrc: int = 1, payload: bytes = b"", **fields: Any) -> None:
        """Send the next packet of a stream: 20 ms of PCMU at full level, unless told otherwise."""
        self._number += 1
        number = fields.get("number", self._number)
        timestamp = fields.get("timestamp", number * 160) & 0xFFFFFFFF
        kind = fields.get("payload_type", 0)
        packet = RTPPacket(kind, number & 0xFFFF, timestamp, ssrc, payload or b"\x00" * 160)
        self.send(bytes(packet), to)

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()


class StrangerOverTcp(asyncio.Protocol):
    """A TCP connection.

    Attributes:
        got: every byte that came.
        opened_at: when it stood.
        lost_at: when it ended; None while it stands.
    """

    def __init__(self) -> None:
        self.got = bytearray()
        self.opened_at = 0.0
        self.lost_at: float | None = None
        self.lost = asyncio.get_running_loop().create_future()
        self._transport: Any = None

    @classmethod
    async def to(cls, remote: Address, host: str, port: int = 0) -> StrangerOverTcp:
        """Connect from `host`."""
        loop = asyncio.get_running_loop()
        if port == 0 and not hasattr(loop, "ether"):
            local: Address = (host, 0)
        else:
            local = (host, port or next(_PORTS))
        _, protocol = await loop.create_connection(cls, *remote, local_addr=local)
        return protocol

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport
        self.opened_at = asyncio.get_running_loop().time()

    def data_received(self, data: bytes) -> None:
        """Remember what came."""
        self.got += data

    def connection_lost(self, exc: Exception | None) -> None:
        """Note when it ended."""
        self.lost_at = asyncio.get_running_loop().time()
        if not self.lost.done():
            self.lost.set_result(None)

    @property
    def lasted(self) -> float:
        """Seconds that it stood; infinity while it does."""
        return float("inf") if self.lost_at is None else self.lost_at - self.opened_at

    def send(self, data: bytes) -> None:
        """Send bytes, unless it is over."""
        if self.lost_at is None:
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()
