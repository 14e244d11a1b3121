"""STUN (RFC 8489): messages, and the Binding client that finds our public address.

The client believes a response only when its 96-bit transaction id is one that we drew, it comes
from the server that was asked, and it carries an XOR-MAPPED-ADDRESS. There is no server here: an
unauthenticated request on a SIP or media port is answered with nothing (RELIABILITY F5).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
import zlib
from dataclasses import dataclass, field

from voip.errors import ParseError
from voip.machine import Counters, Deadline, Entropy
from voip.types import HostPort, canonical_ip

__all__ = ["StunClient", "StunFailed", "StunMapped", "StunMessage"]

MAGIC_COOKIE = 0x2112A442
MAX_BYTES = 2048
MAX_ATTRIBUTES = 32

BINDING = 0x001
REQUEST, INDICATION, SUCCESS, ERROR = 0b00, 0b01, 0b10, 0b11

MAPPED_ADDRESS = 0x0001
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
MESSAGE_INTEGRITY_SHA256 = 0x001C
XOR_MAPPED_ADDRESS = 0x0020
SOFTWARE = 0x8022
FINGERPRINT = 0x8028

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
#: Comprehension-required attributes that a Binding response may bear (RFC 8489 §14).
_KNOWN = frozenset(
    {
        *(MAPPED_ADDRESS, USERNAME, MESSAGE_INTEGRITY, ERROR_CODE, XOR_MAPPED_ADDRESS),
        *(0x000A, 0x0014, 0x0015, 0x001D, 0x001E, MESSAGE_INTEGRITY_SHA256),
    }
)


@dataclass(slots=True)
class StunMessage:
    """One STUN message (RFC 8489 §5).

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |0 0|  M11–M7 |C| M6–M4 |C| M3–M0 |         message length        |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                         magic cookie                          |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                    transaction id, 96 bits                    |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        method: 1 is Binding.
        kind: the class: 0 request, 1 indication, 2 success, 3 error response.
        transaction_id: 12 bytes.
        attributes: (type, value) in order, without padding.
        raw: the bytes that it was parsed from, for the checks; empty when built here.
    """

    method: int
    kind: int
    transaction_id: bytes
    attributes: list[tuple[int, bytes]] = field(default_factory=list)
    raw: bytes = field(default=b"", repr=False, compare=False)

    @classmethod
    def parse(cls, data: bytes) -> StunMessage:
        """Read one datagram.

        Raises:
            ParseError: not STUN, or a length that lies.
        """
        if not 20 <= len(data) <= MAX_BYTES or len(data) % 4:
            raise ParseError("not a STUN message: length", data[:20])
        kind, length, cookie, transaction_id = _HEADER.unpack_from(data)
        if kind & 0xC000 or cookie != MAGIC_COOKIE or length != len(data) - 20:
            raise ParseError("not a STUN message: header", data[:20])
        attributes: list[tuple[int, bytes]] = []
        at = 20
        while at < len(data):
            number, size = _ATTRIBUTE.unpack_from(data, at)
            end = at + 4 + size
            if end > len(data) or len(attributes) == MAX_ATTRIBUTES:
                raise ParseError("not a STUN message: attribute", data[at : at + 20])
            attributes.append((number, data[at + 4 : end]))
            at = end + -size % 4
        method = kind & 0x000F | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2
        return cls(
            method, (kind & 0x0100) >> 7 | (kind & 0x0010) >> 4, transaction_id, attributes, data
        )

    def _type(self) -> int:
        method = self.method
        spread = method & 0x000F | (method & 0x0070) << 1 | (method & 0x0F80) << 2
        return spread | (self.kind & 2) << 7 | (self.kind & 1) << 4

    def _joined(self, extra: int = 0) -> bytes:
        """Return the message; its length counts `extra` bytes that are yet to come."""
        body = b"".join(
            _ATTRIBUTE.pack(number, len(value)) + value + bytes(-len(value) % 4)
            for number, value in self.attributes
        )
        head = _HEADER.pack(self._type(), len(body) + extra, MAGIC_COOKIE, self.transaction_id)
        return head + body

    def __bytes__(self) -> bytes:
        return self._joined()

    def get(self, number: int) -> bytes | None:
        """Return the value of the first attribute of that type, or None (RFC 8489 §14)."""
        for one, value in self.attributes:
            if one == number:
                return value
        return None

    @property
    def mapped(self) -> HostPort | None:
        """The XOR-MAPPED-ADDRESS; None when there is none that can be read.

        A plain MAPPED-ADDRESS is not taken: NAT boxes rewrite it (RFC 8489 §15.2).
        """
        value = self.get(XOR_MAPPED_ADDRESS)
        if value is None or len(value) < 8:
            return None
        port = int.from_bytes(value[2:4], "big") ^ MAGIC_COOKIE >> 16
        mask = MAGIC_COOKIE.to_bytes(4, "big") + self.transaction_id
        raw = bytes(one ^ two for one, two in zip(value[4:], mask, strict=False))
        if (value[1], len(value)) not in ((1, 8), (2, 20)) or not port:
            return None
        return HostPort(str(ipaddress.ip_address(raw)), port)

    def add_mapped(self, address: HostPort) -> None:
        """Add an XOR-MAPPED-ADDRESS."""
        packed = ipaddress.ip_address(address.host).packed
        mask = MAGIC_COOKIE.to_bytes(4, "big") + self.transaction_id
        raw = bytes(one ^ two for one, two in zip(packed, mask, strict=False))
        port = (address.port ^ MAGIC_COOKIE >> 16).to_bytes(2, "big")
        family = b"\x00\x01" if len(packed) == 4 else b"\x00\x02"
        self.attributes.append((XOR_MAPPED_ADDRESS, family + port + raw))

    @property
    def error(self) -> tuple[int, str] | None:
        """The code and the phrase of an ERROR-CODE, or None."""
        value = self.get(ERROR_CODE)
        if value is None or len(value) < 4:
            return None
        return (value[2] & 7) * 100 + value[3], value[4:].decode("utf-8", "replace")

    def add_integrity(self, key: bytes) -> None:
        """Add a MESSAGE-INTEGRITY (HMAC-SHA1, RFC 8489 §14.5)."""
        mac = hmac.new(key, self._joined(24), hashlib.sha1).digest()
        self.attributes.append((MESSAGE_INTEGRITY, mac))

    def add_fingerprint(self) -> None:
        """Add a FINGERPRINT (RFC 8489 §14.7), the last attribute there is."""
        crc = zlib.crc32(self._joined(8)) ^ 0x5354554E
        self.attributes.append((FINGERPRINT, crc.to_bytes(4, "big")))

    def has_integrity(self, key: bytes) -> bool:
        """Check the MESSAGE-INTEGRITY of a parsed message."""
        at, value = self._find(MESSAGE_INTEGRITY)
        if value is None or len(value) != 20:
            return False
        # §14.5: over all that precedes it, with a length that ends with this attribute.
        head = self.raw[:2] + (at + 24 - 20).to_bytes(2, "big") + self.raw[4:at]
        return hmac.compare_digest(hmac.new(key, head, hashlib.sha1).digest(), value)

    def has_fingerprint(self) -> bool:
        """Check the FINGERPRINT of a parsed message, which must be its last attribute."""
        at, value = self._find(FINGERPRINT)
        if value is None or len(value) != 4 or at + 8 != len(self.raw):
            return False
        return (zlib.crc32(self.raw[:at]) ^ 0x5354554E).to_bytes(4, "big") == value

    def _find(self, number: int) -> tuple[int, bytes | None]:
        at = 20
        for one, value in self.attributes:
            if one == number:
                return at, value
            at += 4 + len(value) + -len(value) % 4
        return at, None

    def unknown(self) -> list[int]:
        """Return the comprehension-required attributes that are not understood (§14)."""
        return [number for number, _ in self.attributes if number < 0x8000 and number not in _KNOWN]


@dataclass(slots=True)
class StunMapped:
    """The server saw us under this address."""

    address: HostPort


@dataclass(slots=True)
class StunFailed:
    """No public address: nobody answered, or with an error."""

    reason: str


class StunClient:
    """A Binding request to one server: a machine.

    Send what `outgoing()` returns to `server`, feed what comes back from anywhere, and drain
    `outgoing()` and `events()` after each call. It asks once per `start`.

    Attributes:
        server: who is asked.
        mapped: our public address, once known.
        counters: what was dropped, by reason.
    """

    #: RFC 8489 §6.2.1: RTO, Rc, Rm. Requests leave at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s.
    RTO_SECONDS = 0.5
    REQUESTS = 7
    PATIENCE = 16

    def __init__(self, server: HostPort, entropy: Entropy, *, requests: int | None = None) -> None:
        """Make a client.

        Args:
            server: an IP address and a port.
            entropy: where the transaction id comes from.
            requests: how often to ask before giving up; 7 by default, which takes 39.5 s.
        """
        self.server = HostPort(canonical_ip(server.host), server.port)
        self.mapped: HostPort | None = None
        self.counters: Counters = Counters()
        self._entropy = entropy
        self._limit = self.REQUESTS if requests is None else requests
        self._request: bytes = b""
        self._transaction_id = b""
        self._sent = 0
        self._next: float | None = None
        self._outgoing: list[bytes] = []
        self._events: list[StunMapped | StunFailed] = []

    def start(self, now: float) -> None:
        """Ask, under a new transaction id."""
        self._transaction_id = self._entropy(12)
        request = StunMessage(BINDING, REQUEST, self._transaction_id)
        request.add_fingerprint()
        self._request = bytes(request)
        self._sent = 0
        self._send(now)

    def _send(self, now: float) -> None:
        self._outgoing.append(self._request)
        self._sent += 1
        last = self._sent >= self._limit
        # §6.2.1: the wait doubles with each request; after the last it is Rm times the RTO.
        self._next = now + self.RTO_SECONDS * (self.PATIENCE if last else 2 ** (self._sent - 1))

    def receive(self, data: bytes, addr: tuple[str, int], now: float) -> None:
        """Take a datagram that `classify` called STUN."""
        if self._next is None:
            self.counters["stun_unexpected"] += 1
            return
        try:
            message = StunMessage.parse(data)
        except ParseError:
            self.counters["stun_malformed"] += 1
            return
        # RFC 8489 §6.3.1 and RELIABILITY H2: only the server that was asked, under our id.
        if (
            message.transaction_id != self._transaction_id
            or (canonical_ip(addr[0]), addr[1]) != self.server
            or message.method != BINDING
            or message.kind not in (SUCCESS, ERROR)
        ):
            self.counters["stun_forged"] += 1
            return
        if message.get(FINGERPRINT) is not None and not message.has_fingerprint():
            self.counters["stun_fingerprint"] += 1
            return
        self._finish(message)

    def _finish(self, message: StunMessage) -> None:
        self._next = None
        if message.kind == ERROR:
            code, phrase = message.error or (0, "no ERROR-CODE")
            self._events.append(StunFailed(f"{code} {phrase}".strip()))
        elif unknown := message.unknown():
            # §6.3.3: a response with such attributes is discarded, and the transaction failed.
            self._events.append(StunFailed(f"unknown attribute 0x{unknown[0]:04x}"))
        elif message.mapped is None:
            self._events.append(StunFailed("no XOR-MAPPED-ADDRESS"))
        else:
            self.mapped = message.mapped
            self._events.append(StunMapped(self.mapped))

    def advance(self, now: float) -> None:
        """Ask again, or give up."""
        if self._next is None or now < self._next:
            return
        if self._sent < self._limit:
            self._send(now)
            return
        self._next = None
        self._events.append(StunFailed("no answer"))

    def deadline(self) -> Deadline | None:
        """Return when `advance` is wanted, or None."""
        return None if self._next is None else Deadline(self._next, "stun retransmission")

    def outgoing(self) -> list[bytes]:
        """Return and forget the datagrams for the server."""
        queued, self._outgoing = self._outgoing, []
        return queued

    def events(self) -> list[StunMapped | StunFailed]:
        """Return and forget what happened."""
        queued, self._events = self._events, []
        return queued
