from __future__ import annotations

import asyncio
import io

import pytest

from voip.cli import echo as echo_module
from voip.cli.echo import EchoOptions, dialable, echo
from voip.cli.output import Output
from voip.cli.running import UsageError
from voip.testing import SipPeer, run_virtual
from voip.types import HostPort

HERE = "192.0.2.10"


async def line(script, options=None, verbosity=0):
    """Run the line while `script` does its part, stop it as Ctrl-C does, return what it said."""
    stream = io.StringIO()
    options = options or EchoOptions(host=HERE)
    running = asyncio.create_task(echo(options, Output(verbosity, stream)))
    await asyncio.sleep(0.1)
    await script()
    running.cancel()
    assert await running == 0
    return stream.getvalue()


def caller(**options):
    return SipPeer.open("192.0.2.1", 5060, remote=(HERE, 5060), **options)


def test_answers_whatever_is_dialled_and_says_so():
    async def script():
        async with caller() as peer:
            peer.request("INVITE", f"sip:anybody@{HERE}", body=peer.sdp())
            answer = await peer.expect(200)
            peer.ack(answer)
            await asyncio.sleep(1)
            peer.bye(answer)
            await peer.expect(200)

    said = run_virtual(line(script))
    assert said.splitlines() == [
        f"listening, dial sip:echo@{HERE}:5060",
        f"listening, dial sip:echo@{HERE}:5060;transport=tcp",
        "call 1: from **er@192.0.2.1 to ****ody@192.0.2.10",
        "call 1: answered with pcmu",
        "call 1: ended after 1.0 s: they hung up",
        "stopped",
    ]
    assert "peer@" not in said


def test_ends_its_calls_by_bye_when_it_is_stopped():
    ended = []

    async def goodbye(peer):
        peer.reply(await peer.expect("BYE"), 200)

    async def main():
        async with caller() as peer:

            async def inside():
                peer.request("INVITE", f"sip:anybody@{HERE}", body=peer.sdp())
                peer.ack(await peer.expect(200))
                ended.append(asyncio.create_task(goodbye(peer)))
                await asyncio.sleep(0.5)

            said = await line(inside)
            await ended[0]
            return said

    assert "call 1: ended after" in run_virtual(main())


def test_says_why_it_did_not_answer():
    async def script():
        async with caller() as peer:
            peer.request("INVITE", f"sip:anybody@{HERE}", body=peer.sdp(40000, "18"))
            await peer.expect(488)

    assert "call 1: not answered: No codec in common: offered G729" in run_virtual(line(script))


def test_shows_sip_when_asked_to():
    async def script():
        async with caller() as peer:
            peer.request("INVITE", f"sip:anybody@{HERE}", body=peer.sdp(40000, "18"))
            await peer.expect(488)

    said = run_virtual(line(script, verbosity=3))
    assert f"← INVITE sip:anybody@{HERE} SIP/2.0" in said
    assert "→ SIP/2.0 488" in said
    assert "m=audio" in said


@pytest.mark.parametrize("status", [200, 403])
def test_registers_with_an_account(status, monkeypatch):
    monkeypatch.setenv("SIP_PASSWORD", "secret")

    async def main():
        async with SipPeer.open("192.0.2.1", 5060) as registrar:
            stream = io.StringIO()
            options = EchoOptions("sip:alice@example.com", host=HERE, proxy="192.0.2.1:5060")
            running = asyncio.create_task(echo(options, Output(0, stream)))
            request = await registrar.expect("REGISTER")
            contact = [("Contact", request["Contact"]), ("Expires", "60")]
            registrar.reply(request, status, "Go away", headers=contact if status == 200 else ())
            await asyncio.sleep(1)
            if status != 200:
                return stream.getvalue(), await asyncio.gather(running, return_exceptions=True)
            running.cancel()
            request = await registrar.expect("REGISTER")
            registrar.reply(request, 200)
            return stream.getvalue(), await running

    said, result = run_virtual(main())
    if status == 200:
        assert result == 0
        assert "registered sip:alice@example.com" in said
    else:
        assert "403 Go away" in str(result[0])


def test_refuses_what_cannot_be_before_anything_opens(monkeypatch):
    async def main(options):
        await echo(options, Output(0, io.StringIO()))

    for options, words in (
        (EchoOptions("nonsense"), "bad address"),
        (EchoOptions(codec="g729"), "g729"),
    ):
        with pytest.raises(UsageError, match=words):
            run_virtual(main(options))


def test_names_an_address_that_can_be_dialled(monkeypatch):
    listeners = {"UDP": HostPort("0.0.0.0", 5060), "TLS": HostPort("::1", 5061)}
    monkeypatch.setattr(echo_module, "local_address_towards", lambda host: "192.0.2.9")
    assert dialable(listeners) == [
        "sip:echo@192.0.2.9:5060",
        "sip:echo@[::1]:5061;transport=tls",
    ]

    def nowhere(host):
        raise OSError("no route")

    monkeypatch.setattr(echo_module, "local_address_towards", nowhere)
    assert dialable({"UDP": HostPort("::", 5060)}) == ["sip:echo@[::1]:5060"]


def pem(path, *what):
    path.write_text("".join(f"-----BEGIN {one}-----\n" for one in what))
    return path


def test_tls_is_served_where_there_is_a_certificate(tmp_path):
    assert EchoOptions().transports == ("udp", "tcp")
    certificate, key = (
        pem(tmp_path / "c.pem", "CERTIFICATE"),
        pem(tmp_path / "k.pem", "PRIVATE KEY"),
    )
    options = EchoOptions(tls_cert=certificate, tls_key=key)
    assert options.transports == ("udp", "tcp", "tls")
    assert options.serve["tls_key"] == key
    both = pem(tmp_path / "both.pem", "EC PRIVATE KEY", "CERTIFICATE")
    assert EchoOptions(tls_cert=both).serve["tls_cert"] == both


def test_a_certificate_that_cannot_serve_is_told_before_anything_opens(tmp_path):
    certificate, key = (
        pem(tmp_path / "c.pem", "CERTIFICATE"),
        pem(tmp_path / "k.pem", "PRIVATE KEY"),
    )
    for options, words in (
        (EchoOptions(tls_key=key), "--tls-key needs --tls-cert"),
        (EchoOptions(tls_cert=certificate), r"no private key in it \(PEM\): give --tls-key"),
        (EchoOptions(tls_cert=key, tls_key=key), "no certificate in it"),
        (EchoOptions(tls_cert=certificate, tls_key=tmp_path / "none"), "no such file"),
    ):
        with pytest.raises(UsageError, match=words):
            echo(options, Output(0, io.StringIO()))


def test_says_what_it_waits_for_when_a_call_does_not_end():
    async def script():
        async with caller() as peer:
            peer.request("INVITE", f"sip:anybody@{HERE}", body=peer.sdp())
            peer.ack(await peer.expect(200))
            await asyncio.sleep(0.5)

    said = run_virtual(line(script)).splitlines()
    assert said[-3:] == [
        "call 1: ended after 0.5 s: we were stopped",
        "waiting for the far end to say goodbye, Ctrl-C leaves at once",
        "stopped",
    ]


def test_a_second_ctrl_c_leaves_at_once():
    async def main():
        async with caller() as peer:
            output = Output(0, io.StringIO())
            running = asyncio.create_task(echo(EchoOptions(host=HERE), output))
            await asyncio.sleep(0.1)
            peer.request("INVITE", f"sip:anybody@{HERE}", body=peer.sdp())
            peer.ack(await peer.expect(200))
            await asyncio.sleep(0.5)
            began = asyncio.get_running_loop().time()
            running.cancel()
            await asyncio.sleep(0.5)
            running.cancel()
            assert await running == 0
            return asyncio.get_running_loop().time() - began

    assert run_virtual(main()) < 1


def test_output_that_is_lost_costs_no_call():
    class Gone(io.StringIO):
        def write(self, text):
            if "answered" in text:
                raise BrokenPipeError(32, "Broken pipe")
            return super().write(text)

    async def main():
        async with caller() as peer:
            output = Output(0, Gone())
            running = asyncio.create_task(echo(EchoOptions(host=HERE), output))
            output.stop = running.cancel
            await asyncio.sleep(0.1)
            peer.request("INVITE", f"sip:anybody@{HERE}", body=peer.sdp())
            peer.ack(await peer.expect(200))
            peer.reply(await peer.expect("BYE"), 200)
            assert await running == 0

    run_virtual(main())
