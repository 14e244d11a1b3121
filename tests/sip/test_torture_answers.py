"""What a whole endpoint answers to RFC 4475 and RFC 5118, over UDP and TCP, byte for byte off the wire.

The outcomes are the columns `ua_udp` and `ua_tcp` of the index beside the messages; nothing is left out.
"""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from voip.machine import CloseFlow, Datagram, Flow, FlowOpened, StreamBytes, Transmit
from voip.sip.endpoint import Endpoint, EndpointSettings
from voip.sip.events import CallOffered
from voip.types import HostPort

DATA = Path(__file__).parents[1] / "data"
US, THEM = HostPort("127.0.0.1", 5060), HostPort("127.0.0.2", 5060)
SDP = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"

with (DATA / "rfc4475" / "INDEX.tsv").open(encoding="utf-8", newline="") as index:
    ROWS = {row["file"]: row for row in csv.DictReader(index, delimiter="\t")}

# What the words of the index mean: final statuses in order, a header that the answer must carry.
CARRIES = {405: "Allow", 415: "Accept", 420: "Unsupported"}


class Line:
    """An endpoint that answers every call at once, and what leaves it."""

    def __init__(self, transport):
        dice = random.Random(4475)
        listeners = {"UDP": US, "TCP": US}
        self.endpoint = Endpoint(EndpointSettings(listeners=listeners), dice.randbytes)
        self.flow = Flow(transport, US, THEM, 1 if transport == "TCP" else 0)
        self.statuses, self.answers, self.closed_at = [], [], None
        if transport == "TCP":
            self.endpoint.receive(FlowOpened(self.flow), 0.0)
            self.drain(0.0)

    def feed(self, data):
        kind = StreamBytes if self.flow.number else Datagram
        self.endpoint.receive(kind(self.flow, data), 1.0)
        self.drain(1.0)
        self.endpoint.advance(1.0)
        self.drain(1.0)
        return self

    def drain(self, now):
        while True:
            outgoing, events = self.endpoint.outgoing(), self.endpoint.events()
            if not outgoing and not events:
                return
            for output in outgoing:
                if isinstance(output, CloseFlow):
                    self.closed_at = now
                elif isinstance(output, Transmit):
                    self.take(output)
            for event in events:
                if isinstance(event, CallOffered):
                    event.call.ring(now)
                    event.call.accept(now, SDP)

    def take(self, output):
        assert output.flow.remote == THEM  # to the source, whatever Via or Contact say
        if output.data.startswith(b"SIP/2.0 "):
            status = int(output.data[8:11])
            if status >= 200:
                self.statuses.append(status)
                self.answers.append(output.data)

    def wait_for_the_close(self):
        """Let the deadlines of the connection pass."""
        while self.closed_at is None:
            deadline = self.endpoint.deadline()
            assert deadline is not None
            assert deadline.at < 60
            self.endpoint.advance(deadline.at)
            self.drain(deadline.at)
        return self.closed_at


def accepted(column):
    """Return the final statuses that a column allows, each as a sequence."""
    if "two messages" in column:
        return [[405, 200]]
    if column.startswith(("180, 200", "as longreq")):
        return [[200]]
    if "silence" in column:
        return [[]]
    if column.startswith("no Content-Length"):
        return [[400]]
    first = int(column[:3])
    return (
        [[first]] + ([[405]] if "(405)" in column else []) + ([[400]] if "(400)" in column else [])
    )


def test_the_index_has_all_of_them():
    assert len(ROWS) == 49


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
@pytest.mark.parametrize("name", ROWS)
def test_rfc_4475_is_answered_as_the_index_says(name, transport):
    column = ROWS[name]["ua_udp" if transport == "UDP" else "ua_tcp"]
    data = (DATA / "rfc4475" / name).read_bytes()
    line = Line(transport).feed(data)
    assert line.statuses in accepted(column), column
    if "deadline" in column:
        assert line.closed_at is None
        assert 10.0 <= line.wait_for_the_close() <= 12.0
    elif "close" in column or "two messages" in column:
        assert line.closed_at == 1.0  # the second of two messages is longer than it says
    else:
        assert line.closed_at is None
    for status, answer in zip(line.statuses, line.answers, strict=True):
        if status in CARRIES and f"+ {CARRIES[status]}" in column:
            assert b"\r\n" + CARRIES[status].encode() + b": " in answer
    if "counted" in column:
        assert sum(line.endpoint.counters.values()) == 1


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "rfc5118").glob("*.dat")))
def test_rfc_5118_is_answered_as_its_readme_says(name):
    line = Line("UDP").feed((DATA / "rfc5118" / name).read_bytes())
    data = (DATA / "rfc5118" / name).read_bytes()
    method = data.partition(b" ")[0]
    if data.startswith(b"SIP/2.0"):
        assert line.statuses == []
    elif name == "ipv6-bad.dat":
        assert line.statuses == [400]
    elif name == "ipv6-bug-abnf-3-colons.dat":
        assert line.statuses in ([400], [405], [200])
    else:
        assert line.statuses == [{b"INVITE": 200, b"OPTIONS": 200, b"BYE": 481}.get(method, 405)]
