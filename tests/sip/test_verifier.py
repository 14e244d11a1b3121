from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.machine import Entropy
from voip.sip.auth import Challenge, Identity, Secret, answer, compute_ha1
from voip.sip.messages import Request
from voip.sip.types import DigestAlgorithm
from voip.sip.verifier import DigestVerifier, Verification, VerifierSettings

URI = "sip:example.com"
SOURCE = "198.51.100.7"
ALICE = Identity("alice", Secret("secret"))
MD5, SHA_256 = DigestAlgorithm.MD5, DigestAlgorithm.SHA_256


def seeded(seed: int = 1) -> Entropy:
    return random.Random(seed).randbytes


def verifier(seed: int = 1, **kwargs: object) -> DigestVerifier:
    users = {"alice": ALICE}
    chosen = VerifierSettings(**kwargs)  # type: ignore[arg-type]
    return DigestVerifier("example.com", users.get, entropy=seeded(seed), settings=chosen)


def asked(
    server: DigestVerifier,
    now: float = 0.0,
    algorithm: DigestAlgorithm = SHA_256,
    source: str = SOURCE,
) -> Challenge:
    found = Challenge.parse([value for _, value in server.challenge(source, now)])
    return next(challenge for challenge in found if challenge.algorithm is algorithm)


def answered(
    challenge: Challenge,
    count: int = 1,
    user: Identity = ALICE,
    method: str = "REGISTER",
    uri: str = URI,
    name: str = "Authorization",
) -> Request:
    given = answer(challenge, user, method=method, uri=uri, cnonce="c", count=count)
    return Request(method, URI, [(name, str(given))])


def verdict(
    server: DigestVerifier, request: Request, now: float = 1.0, source: str = SOURCE, **kwargs: bool
) -> Verification:
    return server.verify(request, source, now, **kwargs)[0]


@pytest.mark.parametrize("algorithm", list(DigestAlgorithm))
def test_verifies_what_answers_its_challenge(algorithm: DigestAlgorithm):
    server = verifier(algorithms=(algorithm,))
    result = server.verify(answered(asked(server, algorithm=algorithm)), SOURCE, 1.0)
    assert result == (Verification.VERIFIED, "alice")
    assert server.counters == {}


def test_offers_the_strongest_first_each_with_its_own_nonce():
    first, second = Challenge.parse([v for _, v in verifier().challenge(SOURCE, 0.0, stale=True)])
    assert (first.algorithm, second.algorithm) == (SHA_256, MD5)
    assert first.nonce != second.nonce
    assert first.stale


def test_a_nonce_is_no_good_for_another_algorithm():
    server = verifier()
    strong = asked(server)
    weak = Challenge("Digest", strong.realm, strong.nonce, MD5, strong.qop, legacy=False)
    assert verdict(server, answered(weak)) is Verification.MISSING


def test_as_a_proxy_it_reads_and_writes_the_other_headers():
    server = verifier()
    assert {name for name, _ in server.challenge(SOURCE, 0.0, proxy=True)} == {"Proxy-Authenticate"}
    request = answered(asked(server), name="Proxy-Authorization")
    assert verdict(server, request) is Verification.MISSING
    assert verdict(server, request, proxy=True) is Verification.VERIFIED


def test_a_challenge_costs_no_state():
    server = verifier()
    for number in range(1000):
        server.challenge(f"10.0.{number >> 8}.{number & 255}", 0.0)
    assert not server._used


def test_nonces_of_one_moment_differ():
    server = verifier()
    assert len({asked(server).nonce for _ in range(1000)}) == 1000


# Replay


def test_a_thousand_replays_are_all_refused():
    server = verifier()
    challenge = asked(server)
    requests = [answered(challenge, count) for count in range(1, 51)]
    assert all(verdict(server, request) is Verification.VERIFIED for request in requests)
    for request in requests * 20:
        assert verdict(server, request) is Verification.REPLAYED
    assert server.counters == {"digest.replayed": 1000}


@settings(max_examples=100)
@given(st.permutations(range(1, 30)))
def test_each_count_works_once_in_any_order_within_the_window(order: list[int]):
    server = verifier()
    challenge = asked(server)
    for count in order:
        assert verdict(server, answered(challenge, count)) is Verification.VERIFIED
    for count in order:
        assert verdict(server, answered(challenge, count)) is Verification.REPLAYED


@settings(max_examples=100)
@given(st.lists(st.integers(0, 300), max_size=40))
def test_no_sequence_of_counts_is_taken_twice(counts: list[int]):
    server = verifier()
    challenge = asked(server)
    taken: set[int] = set()
    highest = 0
    for count in counts:
        fresh = count not in taken and count >= 1 and count > highest - 64
        expected = Verification.VERIFIED if fresh else Verification.REPLAYED
        assert verdict(server, answered(challenge, count)) is expected
        if fresh:
            taken.add(count)
            highest = max(highest, count)


def test_an_old_nonce_is_stale_only_to_who_knows_the_password():
    server = verifier()
    request = answered(asked(server, now=10.0))
    wrong = answered(asked(server, now=10.0), user=Identity("alice", Secret("guess")))
    assert verdict(server, request, now=130.1) is Verification.STALE
    assert verdict(server, wrong, now=130.1) is Verification.WRONG
    assert verdict(server, request, now=129.9) is Verification.VERIFIED


def test_memory_is_bounded_and_forgetting_opens_no_replay():
    server = verifier(max_nonces=10)
    requests = [answered(asked(server, now=float(n))) for n in range(30)]
    for request in requests:
        assert verdict(server, request, now=30.0) is Verification.VERIFIED
    assert len(server._used) == 10
    refused = [verdict(server, request, now=30.0) for request in requests]
    assert refused == [Verification.STALE] * 20 + [Verification.REPLAYED] * 10


def test_used_nonces_are_forgotten_when_too_old_to_be_taken():
    server = verifier()
    verdict(server, answered(asked(server, now=0.0)), now=1.0)
    verdict(server, answered(asked(server, now=100.0)), now=100.0)
    assert len(server._used) == 2
    verdict(server, answered(asked(server, now=125.0)), now=125.0)
    assert len(server._used) == 2


# Where a nonce belongs


def test_a_nonce_belongs_to_the_source_it_was_given_to():
    server = verifier()
    assert verdict(server, answered(asked(server)), source="203.0.113.1") is Verification.MISSING
    inside = asked(server, source="2001:db8:1:2::1")
    assert verdict(server, answered(inside), source="2001:db8:1:2::99") is Verification.VERIFIED
    assert verdict(server, answered(inside, 2), source="2001:db8:1:3::1") is Verification.MISSING


def test_a_nonce_of_another_server_is_none_of_ours():
    assert verdict(verifier(), answered(asked(verifier(seed=2)))) is Verification.MISSING


@pytest.mark.parametrize("nonce", ["", "abc", "\u00e9", "A" * 40, "A" * 4000, "====", "AAAA\u0661"])
def test_a_made_up_nonce_is_none_of_ours(nonce: str):
    made_up = Challenge(
        "Digest", "example.com", nonce, SHA_256, asked(verifier()).qop, legacy=False
    )
    assert verdict(verifier(), answered(made_up)) is Verification.MISSING


def test_every_single_changed_character_spoils_a_nonce():
    server = verifier()
    good = asked(server)
    for at in range(len(good.nonce)):
        other = "A" if good.nonce[at] != "A" else "B"
        changed = good.nonce[:at] + other + good.nonce[at + 1 :]
        bent = Challenge("Digest", good.realm, changed, SHA_256, good.qop, legacy=False)
        assert verdict(server, answered(bent)) is Verification.MISSING


# Wrong


def test_wrong_password_unknown_user_and_other_uri_are_the_same_to_the_peer():
    server = verifier()
    for request in (
        answered(asked(server), user=Identity("alice", Secret("guess"))),
        answered(asked(server), user=Identity("mallory", Secret("secret"))),
        answered(asked(server), uri="sip:other.example"),
    ):
        assert server.verify(request, SOURCE, 1.0) == (Verification.WRONG, "")
    assert server.counters == {"digest.wrong": 3}


def test_a_digest_of_one_method_is_no_good_for_another():
    server = verifier()
    line = answered(asked(server)).headers["Authorization"]
    assert verdict(server, Request("INVITE", URI, [("Authorization", line)])) is Verification.WRONG


def test_a_user_with_a_hash_of_one_algorithm_has_no_other():
    held = {MD5: Secret(compute_ha1("alice", "example.com", "secret"))}
    server = DigestVerifier(
        "example.com", lambda name: Identity(name, hashes=held), entropy=seeded()
    )
    assert verdict(server, answered(asked(server, algorithm=MD5))) is Verification.VERIFIED
    assert verdict(server, answered(asked(server))) is Verification.WRONG


# Which header, which quality


def test_picks_the_credentials_for_its_realm():
    server = verifier()
    good = answered(asked(server)).headers["Authorization"]
    other = good.replace('realm="example.com"', 'realm="other"')
    lines = ["Digest broken", "Basic dTpw", 'Digest username="x', other]
    headers = [("Authorization", line) for line in lines]
    assert verdict(server, Request("REGISTER", URI, headers)) is Verification.MISSING
    assert verdict(server, Request("REGISTER", URI, [])) is Verification.MISSING
    headers.append(("Authorization", good))
    assert verdict(server, Request("REGISTER", URI, headers)) is Verification.VERIFIED


MATRIX = list(
    itertools.product(list(DigestAlgorithm), ["", ',qop="auth"', ',qop="auth-int"', "legacy"])
)


@pytest.mark.parametrize(("algorithm", "quality"), MATRIX)
def test_which_qualities_are_taken(algorithm: DigestAlgorithm, quality: str):
    legacy = quality == "legacy"
    server = verifier(algorithms=(algorithm,), legacy=legacy)
    nonce = asked(server, algorithm=algorithm).nonce
    tail = "" if legacy else quality
    (bent,) = Challenge.parse(
        [f'Digest realm="example.com",nonce="{nonce}",algorithm={algorithm}{tail}']
    )
    taken = quality == ',qop="auth"' or (legacy and algorithm is MD5)
    expected = Verification.VERIFIED if taken else Verification.MISSING
    assert verdict(server, answered(bent)) is expected
    if legacy and taken:
        assert verdict(server, answered(bent)) is Verification.REPLAYED


def test_an_algorithm_that_is_not_offered_is_not_taken():
    server = verifier(algorithms=(SHA_256,))
    both = verifier()
    assert verdict(server, answered(asked(both, algorithm=MD5))) is Verification.MISSING
    assert len(server.challenge(SOURCE, 0.0)) == 1


def test_refuses_settings_that_cannot_work():
    with pytest.raises(ValueError, match="algorithm"):
        verifier(algorithms=())
    for realm in ('a"b', "a\\b", "a\r\nb"):
        with pytest.raises(ValueError, match="realm"):
            DigestVerifier(realm, lambda name: None, entropy=seeded())
