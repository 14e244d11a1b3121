"""What of the driver only real sockets show; its behaviour as a whole is in test_protocol.py."""

from __future__ import annotations

import asyncio

import pytest

from voip import SIP

STRANGER = "127.0.0.66"


@pytest.mark.parametrize(
    ("source", "peers", "refused"),
    [(STRANGER, (), 8), (STRANGER, (STRANGER,), 0), ("127.0.0.1", (), 0)],
    ids=["stranger", "trunk", "ourselves"],
)
async def test_only_strangers_have_a_limit_of_connections(leaks, source, peers, refused):
    async with SIP(peers=peers).serve("127.0.0.1", 0) as session:
        port = session.listeners["TCP"].port
        where = {"host": "127.0.0.1", "port": port, "local_addr": (source, 0)}
        pairs = [await asyncio.open_connection(**where) for _ in range(40)]
        # The last one accepted answers, so the others were judged before.
        options = f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\n".encode() + (
            b"Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
            b"From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n"
            b"Content-Length: 0\r\n\r\n"
        )
        reader, writer = pairs[-1]
        writer.write(options)
        answer = await reader.read(20)
        assert answer.startswith(b"SIP/2.0 200") is not bool(refused)
        assert session.counters["connections_refused_source"] == refused
        for _, writer in pairs:
            writer.close()
        await asyncio.gather(*(w.wait_closed() for _, w in pairs), return_exceptions=True)
