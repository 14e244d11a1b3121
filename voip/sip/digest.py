"""Hashes of digest authentication, and who they are of (RFC 7616 §3.4, RFC 8760)."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from voip.sip.status import DigestAlgorithm

__all__ = [
    "Identity",
    "Secret",
    "compute_ha1",
    "digest",
    "digest_body",
    "strength",
    "supported_algorithms",
]

_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
# RFC 8760 §2.4 leaves the order to local policy; ours is by the strength of the hash.
_STRENGTH = {"MD5": 1, "SHA-256": 2, "SHA-512-256": 3}


class Secret:
    """A password, or a hash that serves as one, which no `repr`, log line or traceback shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return "Secret()"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        raise TypeError("a secret is not written out")


@functools.cache
def supported_algorithms() -> frozenset[DigestAlgorithm]:
    """Return the algorithms that this Python can compute (SHA-512/256 needs its OpenSSL)."""
    return frozenset(
        algorithm
        for algorithm in DigestAlgorithm
        if _HASHES[_base(algorithm)] in hashlib.algorithms_available
    )


def strength(algorithm: DigestAlgorithm) -> int:
    """Return the place in the order of preference; a session variant is its hash's equal."""
    return _STRENGTH[_base(algorithm)]


def _base(algorithm: DigestAlgorithm) -> str:
    return algorithm.value.removesuffix("-sess")


def digest(algorithm: DigestAlgorithm, *parts: str) -> str:
    """Return H(a:b:c) in lower-case hexadecimal."""
    return digest_body(algorithm, ":".join(parts).encode("utf-8"))


def digest_body(algorithm: DigestAlgorithm, data: bytes) -> str:
    """Return H(data) in lower-case hexadecimal."""
    return hashlib.new(_HASHES[_base(algorithm)], data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers: a user name with a password, or with H(user:realm:password) made beforehand.

    Attributes:
        username: as the server knows it.
        password: None when only hashes are known.
        hashes: algorithm (the plain one, not -sess) to HA1 in hexadecimal.
    """

    username: str = field(repr=False)
    password: Secret | None = None
    hashes: Mapping[DigestAlgorithm, Secret] = field(default_factory=dict, repr=False)

    def ha1(self, realm: str, algorithm: DigestAlgorithm) -> str | None:
        """Return HA1 for a realm, None when it cannot be had."""
        held = self.hashes.get(DigestAlgorithm(_base(algorithm)))
        if held is not None:
            return held.reveal().lower()
        if self.password is None:
            return None
        return compute_ha1(self.username, realm, self.password.reveal(), algorithm)


def compute_ha1(
    username: str, realm: str, password: str, algorithm: DigestAlgorithm = DigestAlgorithm.MD5
) -> str:
    """Return H(username:realm:password), what may be stored instead of a password."""
    return digest(algorithm, username, realm, password)
