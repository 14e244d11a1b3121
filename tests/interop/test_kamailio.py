"""A real registrar and proxy: Kamailio with digest authentication, over UDP, TCP and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses

import numpy as np
import pytest
from peers import kamailio
from peers.certificates import Certificate, make_authority, make_certificate
from peers.kamailio import DOMAIN, PASSWORDS, Kamailio
from peers.ourselves import VoipEcho
from peers.process import until

from voip import SIP, AudioCall
from voip.codecs import get
from voip.errors import CallFailed, EndCause, RegistrationError
from voip.testing import no_leaks

pytestmark = pytest.mark.interop

LOOPBACK = "127.0.0.1"
WAYS = ("udp", "tcp", "tls", "sips")


@dataclasses.dataclass(frozen=True)
class Trust:
    """Who may vouch for whom."""

    ca: Certificate
    other_ca: Certificate
    server: Certificate


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    """Two authorities, and a certificate for `localhost` and the loopback address by the first."""
    kamailio.require()
    folder = tmp_path_factory.mktemp("trust")
    ca = make_authority(folder, "ours")
    server = make_certificate(folder, ca, "DNS:localhost", f"IP:{LOOPBACK}", name="registrar")
    return Trust(ca, make_authority(folder, "others"), server)


class Talker(AudioCall):
    """Says a tone and counts what it hears."""

    PREFERRED_CODECS = [get("pcmu")]

    def __post_init__(self):
        super().__post_init__()
        self.loudest = 0.0
        self.over = asyncio.get_running_loop().create_future()

    async def say(self):
        tone = np.sin(np.arange(3200) * 2 * np.pi * 440 / 8000)
        await self.send_rtp_audio((0.3 * tone).astype(np.float32))

    def audio_received(self, *, audio, rms):
        self.loudest = max(self.loudest, rms)

    def call_ended(self, reason):
        self.over.set_result(reason)


class Phone(SIP):
    """A user of the domain that answers, and notes when it was registered."""

    def __post_init__(self):
        super().__post_init__()
        self.registrations: list[float] = []
        self.refusals: list[RegistrationError] = []
        self.answers: list[object] = []
        self.requests: list[object] = []

    def call_received(self, request):
        self.answers.append(self.answer(request, call_class=Talker))

    def registered(self):
        self.registrations.append(asyncio.get_running_loop().time())

    def registration_failed(self, error):
        self.refusals.append(error)

    def message_sent(self, message):
        self.requests.append(message)


def phone(registrar: Kamailio, way: str, trust: Trust, *, user: str = "alice", **fields) -> Phone:
    """Return a user who registers by a way: a proxy for a domain, or the domain itself."""
    fields = {"password": PASSWORDS[user], "tls_ca": trust.ca.certificate, **fields}
    if way == "sips":
        return Phone(aor=f"sips:{user}@localhost:{registrar.tls_port}", **fields)
    proxy = registrar.tls_proxy if way == "tls" else registrar.proxy
    suffix = "" if way == "udp" else f";transport={way}"
    return Phone(aor=f"sip:{user}@{DOMAIN}{suffix}", outbound_proxy=proxy, **fields)


def serving(who: SIP):
    return who.serve(LOOPBACK, 0)


async def converse(first: Talker, other: Talker) -> None:
    """Let both say something and hear the other; then the first one hangs up."""
    await asyncio.gather(first.say(), other.say())
    await until(lambda: min(first.loudest, other.loudest) > 0.15, seconds=5, what="both hear")
    await first.hang_up()
    assert (await asyncio.wait_for(first.over, 5)).cause is EndCause.LOCAL_HANGUP
    assert (await asyncio.wait_for(other.over, 5)).cause is EndCause.REMOTE_HANGUP


def is_gone(registrar: Kamailio, user: str = "alice") -> bool:
    return registrar.granted(user)[-1].endswith("for 0")


# Registering


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sha256", [False, True], ids=["md5", "sha256"])
async def test_registers_and_leaves(tmp_path, trust, leaks, way, sha256):
    async with Kamailio(tmp_path, sha256=sha256, certificate=trust.server) as registrar:
        async with serving(phone(registrar, way, trust)) as alice:
            assert len(registrar.granted("alice")) == 1
            assert registrar.granted("alice")[0].endswith("for 3600")
            used = [m.headers.get("Authorization") for m in alice.requests]
            assert f"algorithm={'SHA-256' if sha256 else 'MD5'}" in used[-1]
            assert len(alice.registrations) == 1
        assert is_gone(registrar)


@pytest.mark.parametrize(
    ("words", "status", "phrase"),
    [(False, 401, "Unauthorized"), (True, 403, "That is not the password")],
)
async def test_a_wrong_password_gets_the_registrars_own_words(
    tmp_path, trust, leaks, words, status, phrase
):
    async with Kamailio(tmp_path, words=words) as registrar:
        alice = phone(registrar, "udp", trust, password="guess")
        with pytest.raises(RegistrationError) as caught:
            async with serving(alice):
                pytest.fail("it serves, though it is not registered")

    assert (caught.value.status, caught.value.phrase) == (status, phrase)
    assert caught.value.answered
    # One guess: whoever repeats a refused password locks its account.
    assert sum("Authorization" in m.headers for m in alice.requests) == 1
    assert [error.phrase for error in alice.refusals] == [phrase]


async def test_the_command_line_says_it_in_one_line(tmp_path, trust):
    async with Kamailio(tmp_path, words=True) as registrar:
        proxy = f"{LOOPBACK}:{registrar.port}"
        aor = f"sip:alice@{DOMAIN}"
        wrong = VoipEcho(tmp_path, aor, "--proxy", proxy, password="guess", name="wrong")
        right = VoipEcho(tmp_path, aor, "--proxy", proxy, password=PASSWORDS["alice"])

        async with right:
            assert f"registered {aor}\n" in right.output
            assert await wrong.peer.ended(seconds=15) == 1
            assert await right.stop() == 0
        assert is_gone(registrar)

    said = "voip: error: the registrar refused: 403 That is not the password\n"
    assert wrong.output == said
    assert "guess" not in wrong.output
    assert "\n".join(right.output.splitlines()[-1:]) == "stopped"


@pytest.mark.parametrize("way", ["tls", "sips"])
async def test_another_authority_does_not_vouch(tmp_path, trust, leaks, way):
    async with Kamailio(tmp_path, certificate=trust.server) as registrar:
        with pytest.raises(RegistrationError, match="certificate refused") as caught:
            async with serving(phone(registrar, way, trust, tls_ca=trust.other_ca.certificate)):
                pytest.fail("it registered with whoever claims to be the registrar")

        assert not caught.value.answered
        assert registrar.granted("alice") == []


async def test_a_certificate_for_another_name_does_not_vouch(tmp_path, trust, leaks):
    elsewhere = make_certificate(tmp_path, trust.ca, "DNS:elsewhere.test")
    async with Kamailio(tmp_path, certificate=elsewhere) as registrar:
        with pytest.raises(RegistrationError) as caught:
            async with serving(phone(registrar, "sips", trust)):
                pytest.fail("it registered with another domain's server")

        assert "elsewhere.test" in caught.value.phrase or "localhost" in caught.value.phrase
        assert registrar.granted("alice") == []
        sure = phone(registrar, "sips", trust, dangerously_skip_certificate_checks=True)
        async with serving(sure):
            assert len(registrar.granted("alice")) == 1


# Calls


@pytest.mark.parametrize("way", WAYS)
async def test_receives_a_call_from_a_stranger(tmp_path, trust, leaks, way):
    async with (
        Kamailio(tmp_path, certificate=trust.server) as registrar,
        serving(phone(registrar, way, trust)) as alice,
        serving(SIP(tls_ca=trust.ca.certificate)) as stranger,
    ):
        caller = await stranger.dial(f"sip:alice@{LOOPBACK}:{registrar.port}", call_class=Talker)
        await converse(await alice.answers[0], caller)


@pytest.mark.parametrize("way", WAYS)
async def test_calls_another_user_of_the_domain(tmp_path, trust, leaks, way):
    async with (
        Kamailio(tmp_path, certificate=trust.server) as registrar,
        serving(phone(registrar, way, trust)) as alice,
        # sips: to a phone without TLS would be no secure call.
        serving(phone(registrar, "sips" if way == "sips" else "udp", trust, user="bob")) as bob,
    ):
        uri = bob.aor if way == "sips" else f"sip:bob@{DOMAIN}"
        caller = await alice.dial(uri, call_class=Talker)
        invites = [m for m in alice.requests if getattr(m, "method", "") == "INVITE"]
        assert ["Proxy-Authorization" in invite.headers for invite in invites] == [False, True]
        await converse(caller, await bob.answers[0])


async def test_an_unknown_user_is_refused_in_the_proxys_words(tmp_path, trust, leaks):
    async with (
        Kamailio(tmp_path) as registrar,
        serving(phone(registrar, "udp", trust)) as alice,
    ):
        with pytest.raises(CallFailed) as caught:
            await alice.dial(f"sip:carol@{DOMAIN}", call_class=Talker)

    assert (caught.value.status, caught.value.phrase) == (404, "Nobody of that name is here")


# Staying registered: these wait for real seconds, so all of them wait at the same time


async def refreshes(folder, trust, way):
    """Three refreshes come, each at 50 to 90 % of what was granted."""
    grant = 2
    async with Kamailio(folder, grant=grant, certificate=trust.server) as registrar:
        async with serving(phone(registrar, way, trust)) as alice:
            await until(lambda: len(alice.registrations) > 3, seconds=10, what="three refreshes")
        assert is_gone(registrar)

    waits = np.diff(alice.registrations)
    assert all(0.5 * grant <= wait <= 0.9 * grant + 0.1 for wait in waits), waits
    assert alice.refusals == []


@contextlib.asynccontextmanager
async def outage(registrar: Kamailio, seconds: float):
    """End a registrar, and start it again after a while; by then it has forgotten everybody."""
    await registrar.stop()
    await asyncio.sleep(seconds)  # the outage itself
    await registrar.start()
    yield asyncio.get_running_loop().time()


async def is_back_in_five_seconds(folder, trust, way, seconds):
    """Over a connection we see that the registrar went, and ask until it is there again."""
    async with (
        Kamailio(folder, certificate=trust.server) as registrar,
        serving(phone(registrar, way, trust)) as alice,
        serving(SIP()) as stranger,
        outage(registrar, seconds) as back_at,
    ):
        await until(lambda: len(alice.registrations) > 1, seconds=5, what="registered again")
        assert alice.registrations[1] - back_at < 5
        assert len(registrar.granted("alice")) == 2
        caller = await stranger.dial(f"sip:alice@{LOOPBACK}:{registrar.port}", call_class=Talker)
        await converse(caller, await alice.answers[0])


async def is_back_at_the_next_refresh(folder, trust):
    """Over datagrams nothing tells that the registrar went, until it is asked again."""
    grant = 6
    async with (
        Kamailio(folder, grant=grant) as registrar,
        serving(phone(registrar, "udp", trust)) as alice,
        serving(SIP()) as stranger,
        outage(registrar, 0.5),
    ):
        uri = f"sip:alice@{LOOPBACK}:{registrar.port}"
        with pytest.raises(CallFailed, match="404"):
            await stranger.dial(uri, call_class=Talker)
        await until(lambda: len(alice.registrations) > 1, seconds=grant, what="the refresh")
        first, second = alice.registrations
        assert 0.5 * grant <= second - first <= 0.9 * grant + 0.1
        caller = await stranger.dial(uri, call_class=Talker)
        await converse(caller, await alice.answers[0])


async def is_back_after_a_refresh_in_vain(folder, trust):
    """A refresh that meets a closed port is told so by ICMP, and followed by others soon."""
    grant = 8
    async with (
        Kamailio(folder, grant=grant) as registrar,
        serving(phone(registrar, "udp", trust)) as alice,
        outage(registrar, 0.8 * grant) as back_at,
    ):
        assert [error.phrase for error in alice.refusals][:1] == ["connection refused"]
        assert not any(error.answered for error in alice.refusals)
        await until(lambda: len(alice.registrations) > 1, seconds=5, what="back")
        assert alice.registrations[1] - back_at < 5


STAYING = {
    "refreshes over udp": (refreshes, "udp"),
    "refreshes over tls": (refreshes, "tls"),
    "is back over tcp after half a second": (is_back_in_five_seconds, "tcp", 0.5),
    "is back over tcp after six seconds": (is_back_in_five_seconds, "tcp", 6.0),
    "is back over tls after half a second": (is_back_in_five_seconds, "tls", 0.5),
    "is back by sips after six seconds": (is_back_in_five_seconds, "sips", 6.0),
    "is back over udp at the next refresh": (is_back_at_the_next_refresh,),
    "is back over udp after a refresh in vain": (is_back_after_a_refresh_in_vain,),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, trust):
    """Run all of STAYING at once; returns what each of them raised, None for nothing."""

    async def run(name, what, *arguments):
        folder = tmp_path_factory.mktemp(name.replace(" ", "_"))
        await what(folder, trust, *arguments)

    async def run_all():
        with no_leaks(asyncio.get_running_loop()):
            cases = [run(name, *case) for name, case in STAYING.items()]
            raised = await asyncio.gather(*cases, return_exceptions=True)
            for _ in range(3):  # a closed transport says so a turn or two later
                await asyncio.sleep(0)
        return dict(zip(STAYING, raised, strict=True))

    return asyncio.run(run_all())


@pytest.mark.parametrize("name", STAYING)
def test_stays_registered(outcomes, name):
    if outcomes[name] is not None:
        raise outcomes[name]
