"""aiosipua as a callee that answers every INVITE with 180 and 200, negotiating: aiosipua_uas.py PORT [tcp]."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import warnings

from aiosipua.sdp import parse_sdp
from aiosipua.sdp_negotiate import negotiate_sdp
from aiosipua.transport import TcpSipTransport, UdpSipTransport
from aiosipua.uas import SipUAS

HOST = "127.0.0.1"


async def main(port: int, tcp: bool) -> None:
    transport = (TcpSipTransport if tcp else UdpSipTransport)(local_addr=(HOST, port))
    uas = SipUAS(transport)

    def invited(call) -> None:
        call.ringing()
        offer = call.sdp_offer or parse_sdp(call.invite.text)
        call.accept(negotiate_sdp(offer, HOST, 40000)[0])

    uas.on_invite = invited
    await uas.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    asyncio.run(main(int(sys.argv[1]), "tcp" in sys.argv[2:]))
