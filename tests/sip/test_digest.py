from __future__ import annotations

import copy
import hashlib
import itertools
import pickle

import pytest

from voip.sip.digest import (
    Identity,
    Secret,
    compute_ha1,
    digest,
    digest_body,
    strength,
    supported_algorithms,
)
from voip.sip.status import DigestAlgorithm

MD5, SHA_256, SHA_512_256 = (
    DigestAlgorithm.MD5,
    DigestAlgorithm.SHA_256,
    DigestAlgorithm.SHA_512_256,
)


def test_digest_joins_with_colons():
    assert digest(MD5, "a", "\u00f6") == hashlib.md5("a:\u00f6".encode()).hexdigest()
    assert digest_body(SHA_256, b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert digest_body(DigestAlgorithm.SHA_256_SESS, b"abc") == digest_body(SHA_256, b"abc")


def test_ha1_of_rfc_7616_section_3_9_1():
    realm = "http-auth@example.org"
    by_hand = hashlib.sha256(b"Mufasa:http-auth@example.org:Circle of Life").hexdigest()
    assert compute_ha1("Mufasa", realm, "Circle of Life", SHA_256) == by_hand
    assert compute_ha1("Mufasa", realm, "Circle of Life") == digest(
        MD5, "Mufasa", realm, "Circle of Life"
    )


def test_strength_orders_the_hashes():
    assert strength(MD5) < strength(SHA_256) < strength(SHA_512_256)
    assert strength(DigestAlgorithm.MD5_SESS) == strength(MD5)
    assert {MD5, SHA_256} <= supported_algorithms()


def test_identity_knows_a_password_or_hashes():
    by_password = Identity("alice", Secret("secret"))
    made = compute_ha1("alice", "r", "secret", SHA_256)
    by_hash = Identity("alice", hashes={SHA_256: Secret(made.upper())})
    for algorithm in (SHA_256, DigestAlgorithm.SHA_256_SESS):
        assert by_password.ha1("r", algorithm) == by_hash.ha1("r", algorithm) == made
    assert by_hash.ha1("r", MD5) is None


def test_secrets_stay_secret():
    secret = Secret("hunter2")
    user = Identity("u", secret, {MD5: Secret("abcdef")})
    for text in itertools.chain.from_iterable((repr(x), str(x)) for x in (secret, user)):
        assert "hunter2" not in text
        assert "abcdef" not in text
    assert secret.reveal() == "hunter2"
    for copier in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            copier(secret)
