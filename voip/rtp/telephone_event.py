"""Key presses in RTP: the telephone-event payload (RFC 4733 §2.3)."""

from __future__ import annotations

from dataclasses import dataclass

from voip.errors import ParseError

__all__ = ["DIGITS", "TelephoneEvent"]

#: Events 0 to 16 of RFC 4733 table 3; "!" is the hook flash, as most dialling strings write it.
DIGITS = "0123456789*#ABCD!"


@dataclass(slots=True)
class TelephoneEvent:
    """One report on an event.

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |     event     |E|R| volume    |          duration             |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        event: the event code, 0 to 255.
        duration_ticks: how long it lasted so far, in ticks of the RTP clock.
        end: whether it is over.
        volume: the power in dBm0 with the sign dropped, 0 to 63.
    """

    event: int
    duration_ticks: int = 0
    end: bool = False
    volume: int = 10

    @classmethod
    def parse(cls, payload: bytes) -> TelephoneEvent:
        """Read the payload of a packet; of several blocks (RFC 4733 §2.5.1.5) the first.

        Raises:
            ParseError: fewer than four bytes.
        """
        if len(payload) < 4:
            raise ParseError("a telephone event has four bytes", payload)
        flags = payload[1]
        # RFC 4733 §2.3.3: the reserved bit MUST be ignored.
        return cls(payload[0], payload[2] << 8 | payload[3], flags > 127, flags & 63)

    @classmethod
    def of(cls, digit: str) -> TelephoneEvent:
        """Return the start of a key press.

        Raises:
            ValueError: no such key.
        """
        event = DIGITS.find(digit.upper()) if len(digit) == 1 else -1
        if event < 0:
            raise ValueError(f"no key {digit!r}")
        return cls(event)

    @property
    def digit(self) -> str | None:
        """The key, or None when the event is no key."""
        return DIGITS[self.event] if self.event < len(DIGITS) else None

    def __bytes__(self) -> bytes:
        flags = 0x80 | self.volume & 63 if self.end else self.volume & 63
        return bytes((self.event & 255, flags)) + (self.duration_ticks & 0xFFFF).to_bytes(2, "big")
