from __future__ import annotations

import asyncio

import pytest

from voip.testing import SipMessage, SipPeer, run_virtual

ALICE, BOB = ("192.0.2.1", 5060), ("192.0.2.2", 5060)


def two_phones(script, transport="UDP"):
    async def main():
        async with (
            SipPeer.open(*ALICE, remote=BOB) as alice,
            SipPeer.open(*BOB, remote=ALICE) as bob,
        ):
            await script(alice, bob)

    run_virtual(main())


def test_a_call_from_ring_to_bye():
    async def script(alice, bob):
        alice.request("INVITE", "sip:bob@192.0.2.2", body=alice.sdp(40000, "0 8", "sendrecv"))
        invite = await bob.expect("INVITE")
        assert b"m=audio 40000 RTP/AVP 0 8\r\na=sendrecv" in invite.body
        bob.reply(invite, 180, "Ringing")
        bob.reply(invite, 200, "OK", body=bob.sdp(), headers=[("X-Note", "hi")])
        answer = await alice.expect(200)
        assert (answer["x-note"], answer.method, answer.contact_uri) == (
            "hi",
            "INVITE",
            "sip:peer@192.0.2.2:5060",
        )
        alice.ack(answer)
        ack = await bob.expect("ACK")
        assert ack["CSeq"] == "1 ACK"
        assert "tag=" in ack["To"]
        bob.bye(invite)
        bye = await alice.expect("BYE")
        assert bye["To"] == invite["From"]
        alice.reply(bye, 200)
        await bob.expect(200)

    two_phones(script)


def test_a_cancel_carries_the_branch_of_its_invite_and_so_does_the_ack_of_a_refusal():
    async def script(alice, bob):
        alice.request("INVITE", "sip:bob@192.0.2.2")
        invite = await bob.expect("INVITE")
        alice.cancel()
        cancel = await bob.expect("CANCEL")
        assert cancel["Via"] == invite["Via"]
        bob.reply(invite, 487)
        alice.ack(await alice.expect(487))
        assert (await bob.expect("ACK"))["Via"] == invite["Via"]

    two_phones(script)


def test_says_what_came_instead_of_what_was_expected():
    async def script(alice, bob):
        alice.request("OPTIONS", "sip:bob@192.0.2.2")
        with pytest.raises(AssertionError, match="wanted INVITE, got 'OPTIONS"):
            await bob.expect("INVITE")
        with pytest.raises(TimeoutError):
            await bob.expect("INVITE", timeout=1)
        await bob.expect_nothing()
        alice.send(b"\r\n\r\n")
        alice.request("OPTIONS", "sip:bob@192.0.2.2")
        with pytest.raises(AssertionError, match="wanted nothing"):
            await bob.expect_nothing()
        assert alice.log[0].startswith("→ OPTIONS")
        assert bob.log[0].startswith("← OPTIONS")

    two_phones(script)


def test_reads_a_stream_however_it_is_cut():
    async def main():
        loop = asyncio.get_running_loop()
        ends = []

        class End(asyncio.Protocol):
            def connection_made(self, transport):
                ends.append(transport)

        await loop.create_server(End, *BOB)
        async with SipPeer.open(ALICE[0], remote=BOB, transport="tcp") as alice:
            assert "transport=tcp" in alice.request("INVITE", "sip:b@192.0.2.2").contact_uri
            await asyncio.sleep(1)
            message = b"SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nContent-Length: 4\r\n\r\nbody"
            for byte in b"\r\n" + message + message:
                ends[0].write(bytes([byte]))
            assert (await alice.expect(200)).body == b"body"
            assert (await alice.expect(200)).body == b"body"

    run_virtual(main())


def test_a_message_gives_its_headers_by_name():
    message = SipMessage.parse(
        b"BYE sip:a@b SIP/2.0\r\nVia: 1\r\nVia: 2\r\nContact: sip:x@y\r\n\r\n"
    )
    assert message.all("via") == ["1", "2"]
    assert message.status is None
    assert message.contact_uri == "sip:x@y"
    with pytest.raises(KeyError):
        message["To"]


def test_an_ipv6_peer_describes_itself_as_one():
    async def main():
        async with SipPeer.open("::1", 5060) as peer:
            assert b"c=IN IP6 ::1" in peer.sdp()

    run_virtual(main())
