from __future__ import annotations

import itertools

import pytest

from voip.errors import AuthenticationError, ParseError
from voip.machine import Flow, Target
from voip.sip.account import Account
from voip.sip.auth import Credentials, compute_ha1, verify
from voip.sip.messages import Request, Response
from voip.sip.types import DigestAlgorithm, DigestQoP
from voip.types import HostPort

LOCAL = HostPort("192.0.2.1", 5060)
PROXY = Flow("UDP", LOCAL, HostPort("198.51.100.1", 5060))
STRANGER = Flow("UDP", LOCAL, HostPort("203.0.113.66", 5060))


def entropy(count: int) -> bytes:
    return bytes(range(count))


def account(**kwargs: object) -> Account:
    made = Account("sip:alice@example.com", password="secret", **kwargs)  # type: ignore[arg-type]
    made.resolved([Target("UDP", "198.51.100.1", 5060, "example.com")])
    return made


def request(
    method: str = "REGISTER", uri: str = "sip:example.com", *headers: tuple[str, str]
) -> Request:
    return Request(method, uri, [("CSeq", f"1 {method}"), *headers])


def challenged(
    *lines: str,
    status: int = 401,
    realm: str = "asterisk",
    nonce: str = "n1",
    tail: str = ',qop="auth"',
) -> Response:
    name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
    values = lines or (f'Digest realm="{realm}",nonce="{nonce}"{tail}',)
    return Response(status, "No", [(name, value) for value in values])


def authorize(
    who: Account, ask: Request, reply: Response, hop: Flow | Target = PROXY, **kwargs: bool
) -> Credentials:
    name, value = who.authorize(ask, reply, next_hop=hop, entropy=entropy, **kwargs)
    assert name == ("Authorization" if reply.status_code == 401 else "Proxy-Authorization")
    given = Credentials.parse(value)
    assert given is not None
    return given


def registered(who: Account, realm: str = "asterisk") -> Account:
    authorize(who, request(), challenged(realm=realm))
    who.registered()
    return who


@pytest.mark.parametrize("status", [401, 407])
def test_answers_its_registrar(status: int):
    ask = request()
    given = authorize(account(), ask, challenged(status=status))
    assert (given.username, given.uri, given.count) == ("alice", "sip:example.com", 1)
    assert given.qop is DigestQoP.AUTH
    assert verify(given, compute_ha1("alice", "asterisk", "secret"), method="REGISTER")


def test_the_digest_uri_is_the_request_uri_byte_for_byte():
    uri = "sip:%61lice@example.com:5060;transport=udp;x=%41"
    given = authorize(registered(account()), request("INVITE", uri), challenged())
    assert given.uri == uri


def test_counts_the_uses_of_a_nonce():
    who = account()
    assert [authorize(who, request(), challenged()).count for _ in range(3)] == [1, 2, 3]
    assert authorize(who, request(), challenged(nonce="n2")).count == 1
    assert authorize(who, request(), challenged()).count == 4


def test_remembers_few_nonces():
    who = account()
    for number in range(20):
        authorize(who, request(), challenged(nonce=f"n{number}"))
    assert authorize(who, request(), challenged(nonce="n0")).count == 1
    assert authorize(who, request(), challenged(nonce="n19")).count == 2


def test_takes_the_client_nonce_from_entropy():
    given = authorize(account(), request(), challenged())
    assert given.cnonce == "AAECAwQFBgcICQoLDA0ODxAR"


# Realms


def test_pins_the_realm_of_the_first_registration_that_worked():
    who = account()
    with pytest.raises(AuthenticationError, match="asterisk"):
        authorize(who, request("INVITE", "sip:bob@example.com"), challenged())
    authorize(who, request(), challenged())
    with pytest.raises(AuthenticationError, match="asterisk"):
        authorize(who, request("INVITE", "sip:bob@example.com"), challenged())
    who.registered()
    assert who.realms == {"asterisk", "example.com"}
    authorize(who, request("INVITE", "sip:bob@example.com"), challenged())
    with pytest.raises(AuthenticationError, match="other"):
        authorize(who, request(), challenged(realm="other"))


def test_a_later_registration_pins_nothing_more():
    who = registered(account())
    authorize(who, request(), challenged(realm="example.com"))
    who.registered()
    assert who.realms == {"asterisk", "example.com"}


def test_pins_the_realms_of_proxy_and_registrar_together():
    who = account()
    authorize(who, request(), challenged(realm="edge", status=407))
    authorize(who, request(), challenged(realm="core"))
    who.registered()
    assert {"edge", "core"} < who.realms


def test_the_domain_is_a_realm_without_registration():
    authorize(account(), request("INVITE", "sip:bob@example.com"), challenged(realm="example.com"))


def test_configured_realms_are_the_only_ones():
    who = account(realms=("trunk",))
    assert who.realms == {"trunk"}
    authorize(who, request(), challenged(realm="trunk"))
    who.registered()
    for realm in ("example.com", "asterisk"):
        with pytest.raises(AuthenticationError):
            authorize(who, request(), challenged(realm=realm))


def test_picks_its_realm_among_others():
    reply = challenged(
        'Digest realm="x",nonce="1"', 'Basic realm="asterisk"', 'Digest realm="asterisk",nonce="2"'
    )
    assert authorize(registered(account()), request(), reply).nonce == "2"


# The digest-leak matrix


@pytest.mark.parametrize("method", ["BYE", "INVITE", "INFO", "UPDATE", "REGISTER", "MESSAGE"])
@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("realm", ["asterisk", "example.com", "other"])
def test_a_peer_that_is_not_the_next_hop_gets_no_digest(method: str, status: int, realm: str):
    who = registered(account())
    ask = request(method, "sip:alice@203.0.113.66")
    for hop in (
        STRANGER,
        Target("UDP", "203.0.113.66", 5060),
        Flow("TLS", LOCAL, HostPort("203.0.113.66", 5061), 7, "evil.example"),
        Flow("UDP", LOCAL, HostPort("198.51.100.1", 5099)),
        Target("TLS", "203.0.113.66", 5061, "example.com.evil.example"),
    ):
        with pytest.raises(AuthenticationError):
            authorize(who, ask, challenged(status=status, realm=realm), hop)


@pytest.mark.parametrize("method", ["BYE", "INVITE", "INFO"])
@pytest.mark.parametrize("status", [401, 407])
@pytest.mark.parametrize("realm", ["asterisk", "other"])
def test_a_dialog_that_the_peer_began_gets_no_digest_even_over_the_proxy(
    method: str, status: int, realm: str
):
    ask = request(method, "sip:bob@203.0.113.66")
    reply = challenged(status=status, realm=realm)
    with pytest.raises(AuthenticationError, match="began"):
        authorize(registered(account()), ask, reply, inbound=True)
    trusting = registered(account(trusts_inbound=True))
    if realm == "asterisk":
        authorize(trusting, ask, reply, inbound=True)
    else:
        with pytest.raises(AuthenticationError):
            authorize(trusting, ask, reply, inbound=True)


# Next hops


def test_learns_the_hop_of_a_register_to_its_own_domain():
    who = Account("sip:alice@example.com", password="secret")
    invite = request("INVITE", "sip:bob@example.com")
    with pytest.raises(AuthenticationError, match="next hop"):
        authorize(who, invite, challenged(realm="example.com"))
    authorize(who, request(), challenged())
    authorize(who, invite, challenged(realm="example.com"))


def test_a_register_to_another_domain_teaches_nothing():
    who = Account("sip:alice@example.com", password="secret")
    with pytest.raises(AuthenticationError, match="next hop"):
        authorize(who, request("REGISTER", "sip:evil.example"), challenged(), STRANGER)


@pytest.mark.parametrize("proxy", [("198.51.100.1", 5060), HostPort("::ffff:198.51.100.1", 5060)])
def test_a_literal_proxy_is_known_at_once(proxy: tuple[str, int]):
    who = Account("sip:alice@example.com", password="secret", outbound_proxy=proxy)
    invite = request("INVITE", "sip:bob@example.com")
    authorize(who, invite, challenged(realm="example.com"))
    with pytest.raises(AuthenticationError):
        authorize(who, invite, challenged(realm="example.com"), STRANGER)


def test_a_literal_domain_is_known_on_both_ports():
    who = Account("sip:alice@[2001:db8::1]", password="secret")
    for port, transport in ((5060, "TCP"), (5061, "TLS")):
        hop = Flow(transport, LOCAL, HostPort("2001:db8:0::1", port), 1)
        authorize(who, request("REGISTER", "sip:[2001:db8::1]"), challenged(), hop)
    assert str(who.registrar) == "sip:[2001:db8::1]"


def test_a_verified_certificate_name_is_the_next_hop():
    who = Account("sip:alice@example.com", password="secret")
    invite = request("INVITE", "sip:bob@example.com")
    for hop in (
        Flow("TLS", LOCAL, HostPort("203.0.113.9", 5061), 1, "Example.com"),
        Target("TLS", "203.0.113.9", 5061, "example.com"),
    ):
        authorize(who, invite, challenged(realm="example.com"), hop)


def test_remembers_a_bounded_number_of_hops():
    who = account()
    who.resolved(Target("UDP", f"198.51.100.{n}", 5060) for n in range(2, 200))
    with pytest.raises(AuthenticationError):
        authorize(who, request("INVITE", "sip:b@example.com"), challenged(realm="example.com"))


# Algorithms


def offers(*algorithms: str) -> Response:
    return challenged(
        *(f'Digest realm="asterisk",nonce="{a}",algorithm={a},qop="auth"' for a in algorithms)
    )


@pytest.mark.parametrize(
    "order", list(itertools.permutations(["MD5", "SHA-256", "SHA-512-256", "AKAv1-MD5"]))[::5]
)
def test_answers_the_strongest_algorithm(order: tuple[str, ...]):
    assert authorize(account(), request(), offers(*order)).nonce == "SHA-512-256"


def test_prefers_qop_among_equals_and_then_the_servers_order():
    legacy, one, two = (
        f'Digest realm="asterisk",nonce="{n}"{q}'
        for n, q in (("l", ""), ("1", ',qop="auth"'), ("2", ',qop="auth"'))
    )
    assert authorize(account(), request(), challenged(legacy, one, two)).nonce == "1"


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "AKAv1-MD5"])
def test_no_digest_leaves_below_the_least_algorithm(algorithm: str):
    who = account(min_algorithm=DigestAlgorithm.SHA_256)
    with pytest.raises(AuthenticationError, match="SHA-256"):
        authorize(who, request(), offers(algorithm))
    assert authorize(who, request(), offers(algorithm, "SHA-256-sess")).nonce == "SHA-256-sess"


# Refusals


def test_does_not_repeat_what_was_refused():
    who = account()
    name, value = who.authorize(request(), challenged(), next_hop=PROXY, entropy=entropy)
    again = request("REGISTER", "sip:example.com", (name, value))
    with pytest.raises(AuthenticationError, match="refused"):
        authorize(who, again, challenged(nonce="n2"))
    assert (
        authorize(who, again, challenged(nonce="n2", tail=',stale=true,qop="auth"')).nonce == "n2"
    )


def test_other_credentials_in_the_request_are_no_refusal():
    odd = [("Authorization", 'Digest username="x'), ("Authorization", 'Basic realm="asterisk"')]
    other = ("Authorization", 'Digest username="a",realm="x",nonce="n",uri="sip:r",response="0"')
    ask = request("REGISTER", "sip:example.com", *odd, other)
    assert authorize(account(), ask, challenged()).count == 1


def test_a_response_without_a_readable_challenge_is_final():
    for reply in (
        challenged('Digest realm="x', 'Basic realm="asterisk"'),
        Response(401, "No", []),
        Response(403, "No", []),
    ):
        with pytest.raises(AuthenticationError):
            authorize(account(), request(), reply)


def test_a_malformed_line_spoils_no_other():
    reply = challenged('Digest realm="x', 'Digest realm="asterisk",nonce="2"')
    assert authorize(account(), request(), reply).nonce == "2"


def test_an_account_without_password_cannot_answer():
    who = Account("sip:alice@example.com")
    with pytest.raises(AuthenticationError, match="no password"):
        authorize(who, request(), challenged())


# Making one


def test_user_and_password_come_from_the_address_when_not_given():
    who = Account("sips:al%69ce:pw@example.com:5071;transport=tcp;x=y")
    assert who.username == "alice"
    assert "pw" not in str(who.aor)
    assert who.aor.secure
    assert str(who.registrar) == "sips:example.com:5071;transport=tcp"
    hop = Flow("TLS", LOCAL, HostPort("198.51.100.1", 5071), 1)
    given = authorize(who, request("REGISTER", str(who.registrar)), challenged(), hop)
    assert verify(given, compute_ha1("alice", "asterisk", "pw"), method="REGISTER")


def test_a_username_and_hashes_may_differ_from_the_address():
    held = {DigestAlgorithm.MD5: compute_ha1("auth-7", "asterisk", "secret")}
    who = Account("sip:alice@example.com", "auth-7", hashes=held)
    given = authorize(who, request(), challenged())
    assert given.username == "auth-7"
    assert verify(given, held[DigestAlgorithm.MD5], method="REGISTER")


def test_an_address_without_user_and_a_bad_one():
    assert Account("sip:example.com").username == ""
    with pytest.raises(ParseError):
        Account("mailto:alice@example.com")


def test_shows_no_secret_and_no_number():
    who = Account("sip:+15551234567:hunter2@example.com", password="hunter2")
    for text in (repr(who), str(who), repr(vars(who)["_identity"])):
        assert "hunter2" not in text
    assert "5551234567" not in repr(who)


def test_names_itself_without_what_only_routes():
    who = Account("sip:alice@example.com:5070;transport=tcp;lr;user=phone", password="secret")

    assert str(who.address) == "sip:alice@example.com:5070;user=phone"
    assert str(who.registrar) == "sip:example.com:5070;transport=tcp"
    assert str(Account("sips:alice@example.com").address) == "sips:alice@example.com"
