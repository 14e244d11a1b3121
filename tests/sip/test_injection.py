"""No value of the application adds a line to what is sent, and no secret leaves by a log."""

from __future__ import annotations

import asyncio
import gc
import logging
import random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from peers.besieged import HOST, LINE, URI, VICTIM, Leg, Line, call, session, under_attack
from peers.strangers import Stranger, request

from voip.errors import CallFailed, RegistrationError
from voip.machine import Flow, FlowOpened, Resolved, Target, Transmit
from voip.sdp.messages import SessionDescription
from voip.sdp.types import Attribute, RTPPayloadFormat
from voip.sip.account import Account
from voip.sip.endpoint import Endpoint, EndpointSettings
from voip.sip.headers import Headers
from voip.sip.messages import Message, Request, Response
from voip.sip.protocol import SIP
from voip.sip.types import CallerID, NameAddress, SipURI
from voip.testing import SipPeer, run_virtual
from voip.types import HostPort

# Whatever a database or a web form may hold, and rather more of what ends lines somewhere.
_ENDS = ["\r\n", "\n", "\r", "\x00", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "%0d%0a"]
_WORDS = ["X: y", "Contact: <sip:evil@x>", ";", "?", "<", ">", '"', "\\", ",", "@", " ", "\t", "a"]
hostile = st.lists(st.sampled_from(_ENDS + _WORDS) | st.text(max_size=4), max_size=8).map("".join)
# The true length takes the place of any that is given.
names = hostile.filter(lambda name: name.lower() not in ("l", "content-length"))
many = settings(max_examples=150, deadline=None)

BASE = request("OPTIONS", (VICTIM, 5060))


def lines_of(data):
    head = bytes(data).partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")
    assert all(not set(line) & set(b"\r\n\x00") for line in lines)
    return lines


def attempt(make, *, lines):
    """`make()` refuses, or gives a message of exactly that many lines that can be read back."""
    try:
        data = bytes(make())
    except (ValueError, UnicodeError):
        return
    assert len(lines_of(data)) == lines
    Message.parse(data)


@many
@given(names)
@example("\r\nContact: <sip:evil@x>")
def test_headers(value):
    attempt(lambda: Request("OPTIONS", "sip:a@b", [("X", value)]), lines=3)
    attempt(lambda: Request("OPTIONS", "sip:a@b", [(value, "x")]), lines=3)
    attempt(lambda: Response(200, "OK", [("X", value)]), lines=3)
    for put in ("add", "set"):
        for pair in (("X", value), (value, "x")):

            def changed(put=put, pair=pair):
                headers = Headers()
                getattr(headers, put)(*pair)
                return Request("OPTIONS", "sip:a@b", headers)

            attempt(changed, lines=3)

    def inserted():
        headers = Headers()
        headers.insert(0, "X", value)
        return Request("OPTIONS", "sip:a@b", headers)

    attempt(inserted, lines=3)


@many
@given(hostile)
def test_start_lines(value):
    attempt(lambda: Request(value, "sip:a@b"), lines=2)
    attempt(lambda: Request("OPTIONS", value), lines=2)
    attempt(lambda: Request("OPTIONS", f"sip:{value}@b"), lines=2)
    attempt(lambda: Response(200, value), lines=2)


@many
@given(hostile)
def test_responses_to_a_request(value):
    asked = Message.parse(BASE)
    plain = len(lines_of(asked.respond(400)))
    attempt(lambda: asked.respond(400, reason=value), lines=plain)
    attempt(lambda: asked.respond(400, to_tag=value), lines=plain)
    attempt(lambda: asked.respond(400, headers=[("X", value)]), lines=plain + 1)
    if value.lower() != "content-length":
        attempt(lambda: asked.respond(400, headers=[(value, "x")]), lines=plain + 1)
    attempt(lambda: asked.respond(400, body=b"x", content_type=value), lines=plain + 1)


@many
@given(hostile, hostile)
def test_addresses(value, other):
    def addressed(make):
        attempt(lambda: Request("OPTIONS", "sip:a@b", [("To", str(make()))]), lines=3)

    addressed(lambda: NameAddress(SipURI.parse("sip:a@b"), value))
    addressed(lambda: NameAddress(SipURI.parse("sip:a@b"), None, {"x": value}))
    addressed(lambda: NameAddress(SipURI.parse("sip:a@b"), None, {value: other}))
    addressed(lambda: SipURI.build(value, "b"))
    addressed(lambda: SipURI.build("a", value))
    addressed(lambda: SipURI.build("a", "b", parameters={value: other}))
    addressed(lambda: CallerID.parse(value))
    try:
        built = SipURI.build(value, "b")
    except ValueError:
        return
    assert SipURI.parse(str(built)).user == (value or None)


@many
@given(hostile)
def test_descriptions(value):
    body = session(VICTIM, 40000).replace(b"a=ptime:20\r\n", b"")
    plain = bytes(SessionDescription.parse(body)).count(b"\r\n")

    def changed(change):
        description = SessionDescription.parse(body)
        try:
            change(description)
            data = bytes(description)
        except (ValueError, UnicodeError):
            return
        assert data.count(b"\r\n") == data.count(b"\n") == data.count(b"\r") <= plain + 2
        assert b"\nm=" in data
        assert data.count(b"\nm=") == 1
        assert data.count(b"\nc=") == 1

    changed(lambda d: d.attributes.append(Attribute(value, None)))
    changed(lambda d: d.attributes.append(Attribute("x", value)))
    changed(lambda d: d.media[0].attributes.append(Attribute("x", value)))
    changed(lambda d: setattr(d, "name", value))
    changed(lambda d: setattr(d.media[0], "fmt", [RTPPayloadFormat(96, value, 8000)]))
    changed(lambda d: setattr(d.media[0], "fmt", [RTPPayloadFormat(96, "x", 8000, 1, value)]))
    changed(lambda d: setattr(d.media[0], "proto", value))


# What an endpoint is told


def sent_by(action, **options):
    """Return what an endpoint sends to a peer that is never there, or () where it refuses."""
    try:
        settings = EndpointSettings(listeners={"UDP": HostPort(HOST, 5060)}, **options)
        machine = Endpoint(settings, random.Random(1).randbytes)
        action(machine)
    except (ValueError, UnicodeError):
        return ()
    sent = []
    while out := machine.outgoing():
        for one in out:
            if isinstance(one, Transmit):
                sent.append(one.data)
            elif hasattr(one, "host"):
                machine.receive(Resolved(one.token, (Target("UDP", VICTIM, 5060),)), 0.0)
            else:
                flow = Flow("UDP", HostPort(HOST, 5060), HostPort(VICTIM, 5060))
                machine.receive(FlowOpened(flow, one.token), 0.0)
    return sent


@many
@given(hostile)
@example("x\r\nX: y")
@example("VIA")
@example("f")
def test_calls_and_requests_of_the_application(value):
    plain = len(lines_of(sent_by(lambda m: m.call("sip:a@b", now=0.0))[0]))
    for more, action, options in (
        (0, lambda m: m.call(value, now=0.0), {}),
        (0, lambda m: m.call(f"sip:{value}@b", now=0.0), {}),
        (0, lambda m: m.call(f"sip:a@b;{value}", now=0.0), {}),
        (0, lambda m: m.call(f"sip:a@b?{value}", now=0.0), {}),
        (0, lambda m: m.call("sip:a@b", now=0.0, from_=value), {}),
        (1, lambda m: m.call("sip:a@b", now=0.0, headers=[("X", value)]), {}),
        (1, lambda m: m.call("sip:a@b", now=0.0, headers=[(value, "X")]), {}),
        (0, lambda m: m.call("sip:a@b", now=0.0), {"contact_user": value}),
        (1, lambda m: m.call("sip:a@b", now=0.0), {"user_agent": value}),
        (0, lambda m: m.call("sip:a@b", now=0.0, account=Account(f"sip:{value}@c")), {}),
        (0, lambda m: m.call("sip:a@b", now=0.0, account=Account(value)), {}),
        (0, lambda m: m.request("OPTIONS", f"sip:{value}@b", now=0.0), {}),
        (1, lambda m: m.request("OPTIONS", "sip:a@b", now=0.0, headers=[("X", value)]), {}),
    ):
        for data in sent_by(action, **options):
            assert len(lines_of(data)) <= plain + more, (data, options)
            names = [line.partition(b":")[0].strip().lower() for line in lines_of(data)[1:]]
            for once in (b"from", b"to", b"call-id", b"cseq", b"via"):
                assert names.count(once) == 1


@pytest.mark.parametrize("value", ["x\r\nX: y", "\n", "\r", "\x00", "a\u2028b", "ü", "x" * 9000])
def test_what_a_hook_says_adds_no_line(value):
    class Rude(Line):
        def call_received(self, request):
            self.reject(request, status_code=486, reason=value)

    async def scene(line):
        async with SipPeer.open(VICTIM, 5060, remote=LINE) as peer:
            peer.request("INVITE", URI, body=peer.sdp())
            answer = await peer.receive()
            assert answer.status in (486, 500)
            assert "X" not in dict(answer.headers)
            peer.ack(answer)

    under_attack(scene, Rude())


@pytest.mark.parametrize("field", ["user_agent", "media_address", "username"])
def test_fields_of_the_object_add_no_line(field):
    async def main():
        async with Line().serve(HOST, 5060):
            try:
                phone = SIP(**{field: "x\r\nX: y"})
                async with phone.serve("192.0.2.2", 5060):
                    await phone.dial(URI, call_class=Leg)
            except (ValueError, CallFailed):
                return
            assert field == "username"

    run_virtual(main())


# Secrets

PASSWORD = "canary-of-the-password"
NUMBER = "+4930777123456"
KEY = "Y2FuYXJ5LW9mLXRoZS1zcnRwLWtleS0xMjM0NTY3"
CANARIES = (PASSWORD, NUMBER, KEY, "canary-digest", "canary-nonce", "canary-ice")


class Fragile(Leg):
    def audio_received(self, *, audio, rms):
        super().audio_received(audio=audio, rms=rms)
        if len(self.heard) % 10 == 0:
            raise RuntimeError("a hook that fails")


def test_no_secret_is_in_a_log_a_repr_or_an_error(caplog):
    caplog.set_level(logging.DEBUG)
    shown = []

    class Open(Line):
        def call_received(self, request):
            self.taken.append(request)
            self.answer(request=request, call_class=Fragile)

    async def registrar(peer, *, accept):
        asked = await peer.expect("REGISTER")
        challenge = 'Digest realm="r", nonce="canary-nonce", qop="auth", algorithm=SHA-256'
        peer.reply(asked, 401, headers=[("WWW-Authenticate", challenge)])
        asked = await peer.expect("REGISTER")
        shown.append(asked["Authorization"])
        peer.reply(asked, 200 if accept else 403, headers=[("Expires", "3600")])

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: shown.append(context))
        async with SipPeer.open(VICTIM, 5060, remote=LINE) as peer:
            line = Open(aor=f"sip:{NUMBER}@{VICTIM}", password=PASSWORD)
            task = asyncio.create_task(registrar(peer, accept=False))
            with pytest.raises(RegistrationError) as refused:
                async with line.serve(HOST, 5060):
                    pass
            await task
            shown.clear()
            task = asyncio.create_task(registrar(peer, accept=True))
            async with line.serve(HOST, 5060):
                await task
                shown.clear()
                await incoming(line)
                everything = [repr(one) for one in gc.get_objects() if _is_ours(one)]
                task = asyncio.create_task(registrar(peer, accept=True))
            await task
            shown.clear()
        return [*everything, str(refused.value), repr(refused.value)]

    async def incoming(line):
        stranger = await Stranger.at(VICTIM, 5062)
        data = request(
            "INVITE",
            stranger.address,
            sender=f'"{NUMBER}" <sip:{NUMBER}@{VICTIM}>;tag=1',
            extra=[
                'Authorization: Digest username="x", response="canary-digest", nonce="canary-nonce"',
                "Identity: canary-digest",
                f"P-Asserted-Identity: <tel:{NUMBER}>",
            ],
            body=session(VICTIM, 40000)
            + f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\na=ice-pwd:canary-ice\r\n".encode(),
        )
        stranger.send(data, LINE)
        stranger.send(data.replace(b"CSeq: 1", b"CSeq: x"), LINE)
        stranger.send(data.replace(b"v=0", b"v=9").replace(b"z9hG4bK-", b"z9hG4bK-b"), LINE)
        await asyncio.sleep(1)
        media = await Stranger.at(VICTIM, 40000)
        for _ in range(100):
            media.speak((HOST, 10000))
            await asyncio.sleep(0.02)

    told = run_virtual(main())
    logs = [caplog.handler.format(record) for record in caplog.records]
    assert any("call_received" in one for one in logs)
    assert any("a hook that fails" in one for one in logs)
    for text in logs + told:
        assert [one for one in CANARIES if one in text] == [], text[:2000]


def _is_ours(thing):
    module = getattr(type(thing), "__module__", "")
    return isinstance(module, str) and module.startswith("voip.")


# Hooks


def test_a_hook_that_raises_costs_only_its_call():
    async def scene(line):
        async with call() as peer, call("203.0.113.8") as other:
            first = next(leg for leg in line.calls if leg.caller.host == VICTIM)

            def fails(**_):
                raise RuntimeError("no")

            first.audio_received = fails
            for _ in range(40):
                peer.media.speak(peer.rtp)
                other.media.speak(other.rtp)
                await asyncio.sleep(0.02)
            assert first.ended == []
            second = next(leg for leg in line.calls if leg is not first)
            assert sum(level > 0.5 for level in second.heard) >= 35
            assert len(peer.media.audio) >= 39

    under_attack(scene)
