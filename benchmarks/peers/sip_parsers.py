"""The SIP parsers that `benchmarks.sip_parse` measures, each by its own public names.

A subject is what it takes to parse a datagram, to type what a transaction needs of it (the branch of the top Via,
both tags, Call-ID, CSeq) by the library's own accessors, and to write it. Imports are inside the functions, so that
one process loads one subject only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Subject(NamedTuple):
    """One parser: bytes to message, message to routing core, message to bytes (None: it has no serialiser)."""

    parse: Callable[[bytes], Any]
    core: Callable[[Any], Any]
    write: Callable[[Any], bytes] | None


def voip() -> Subject:
    from voip.sip.messages import Message

    def core(message):
        return message.via.branch, message.from_.tag, message.to.tag, message.call_id, message.cseq

    return Subject(Message.parse, core, bytes)


def aiosipua() -> Subject:
    from aiosipua.message import SipMessage

    def core(message):
        return (
            message.via[0].branch,
            message.from_addr.tag,
            message.to_addr.tag,
            message.call_id,
            message.cseq,
        )

    return Subject(SipMessage.parse, core, bytes)


def pyvoip() -> Subject:
    import pyVoIP.VoIP  # noqa: F401 - the package needs it loaded first
    from pyVoIP.SIP import SIPMessage

    def core(message):
        headers = message.headers
        return (
            headers["Via"][0]["branch"],
            headers["From"]["tag"],
            headers["To"]["tag"],
            headers["Call-ID"],
            headers["CSeq"]["check"],
        )

    return Subject(SIPMessage, core, None)


def opensip() -> Subject:
    from opensip.headers import NameAddr, Via
    from opensip.message import parse_message

    def core(message):
        headers = message.headers
        return (
            Via.parse(headers["Via"]).params["branch"],
            NameAddr.parse(headers["From"]).params.get("tag"),
            NameAddr.parse(headers["To"]).params.get("tag"),
            message.call_id,
            message.cseq,
        )

    return Subject(parse_message, core, lambda message: message.encode())


def twisted() -> Subject:
    from twisted.protocols import sip

    got: list[Any] = []
    parser = sip.MessagesParser(got.append)

    def parse(data):
        got.clear()
        parser.dataReceived(data)
        parser.dataDone()
        return got[0]

    def core(message):
        headers = message.headers
        return (
            sip.parseViaHeader(headers["via"][0]).branch,
            sip.parseAddress(headers["from"][0])[2].get("tag"),
            sip.parseAddress(headers["to"][0])[2].get("tag"),
            headers["call-id"][0],
            headers["cseq"][0].split(),
        )

    return Subject(parse, core, lambda message: message.toString().encode())


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "voip": voip,
    "aiosipua": aiosipua,
    "opensip": opensip,
    "twisted": twisted,
    "pyvoip": pyvoip,
}
