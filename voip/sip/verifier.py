"""Digest authentication from the server's side: nonces without memory, counts with little.

    nonce = base64url(issued (5 bytes) | salt (7) | mac (18))
    mac = HMAC-SHA-256(secret, issued | salt | realm | algorithm | source)

A challenge therefore costs no state (RFC 7616 §3.3 proposes such a nonce): whether it is ours, how
old it is and whom it was given to is read from itself. Only a request whose digest is right makes
the verifier remember which counts of that nonce were used, in a window of 64.

| what came | verdict |
| --- | --- |
| no credentials for our realm, or unreadable ones | missing: challenge |
| a nonce of another server, algorithm or source | missing: challenge |
| wrong digest, unknown user, digest of another URI | wrong: challenge |
| right digest, nonce too old or forgotten | stale: challenge with stale=true |
| right digest, count used before or behind the window | replayed: challenge with stale=true |
| right digest | verified |
"""

from __future__ import annotations

import base64
import enum
import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from voip.errors import ParseError
from voip.machine import Counters, Entropy
from voip.sip.admission import source_key
from voip.sip.auth import Challenge, Credentials, Identity, Secret, supported_algorithms, verify
from voip.sip.messages import Request
from voip.sip.types import DigestAlgorithm, DigestQoP

__all__ = ["DigestVerifier", "Verification", "VerifierSettings"]

_ISSUED_BYTES = 5
_SALT_BYTES = 7
_MAC_BYTES = 18
_NONCE_BYTES = _ISSUED_BYTES + _SALT_BYTES + _MAC_BYTES
_TICKS_PER_SECOND = 1000
_MAX_HEADERS = 8


class Verification(enum.StrEnum):
    """What the credentials of a request are worth."""

    VERIFIED = "verified"
    MISSING = "missing"
    WRONG = "wrong"
    STALE = "stale"
    REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """What a server asks for.

    Attributes:
        algorithms: offered, most wanted first (RFC 8760 §2.3: the order is the preference).
        nonce_seconds: how long a nonce is good.
        window: how far a nonce count may come late.
        max_nonces: nonces with used counts that are remembered; older ones turn stale.
        legacy: whether MD5 without qop (RFC 2069) is taken, each nonce once.
    """

    algorithms: Sequence[DigestAlgorithm] = (DigestAlgorithm.SHA_256, DigestAlgorithm.MD5)
    nonce_seconds: float = 120.0
    window: int = 64
    max_nonces: int = 10_000
    legacy: bool = False


class _Used:
    """Which counts of one nonce were used: the highest, and a bit for each one below."""

    __slots__ = ("bits", "highest", "issued")

    def __init__(self, issued: float) -> None:
        self.issued = issued
        self.highest = 0
        self.bits = 0

    def take(self, count: int, window: int) -> bool:
        """Use a count; False when it was used before or is too far behind."""
        if count > self.highest:
            shift = min(count - self.highest, window)
            self.bits = (self.bits << shift | 1) & (1 << window) - 1
            self.highest = count
            return True
        behind = self.highest - count
        if count < 1 or behind >= window or self.bits >> behind & 1:
            return False
        self.bits |= 1 << behind
        return True


class DigestVerifier:
    """Challenges requests and checks what comes back.

    Attributes:
        realm: of every challenge.
        settings: what is asked for.
        counters: of every verdict but `verified`.
    """

    def __init__(
        self,
        realm: str,
        lookup: Callable[[str], Identity | None],
        *,
        entropy: Entropy,
        settings: VerifierSettings | None = None,
    ) -> None:
        """Make a verifier.

        Args:
            realm: shown to the user; without quotes and control characters.
            lookup: user name to identity, None for an unknown one. Called once per request.
            entropy: for the secret and for salts.
            settings: None for the default ones.

        Raises:
            ValueError: the realm could not stand in a header, or no algorithm can be computed.
        """
        self.settings = settings = settings or VerifierSettings()
        self._algorithms = [a for a in settings.algorithms if a in supported_algorithms()]
        if not self._algorithms:
            raise ValueError("no digest algorithm that this Python can compute")
        if not realm.isprintable() or '"' in realm or "\\" in realm:
            raise ValueError("a realm has no quotes, backslashes or control characters")
        self.realm = realm
        self.counters = Counters()
        self._lookup = lookup
        self._entropy = entropy
        self._secret = entropy(32)
        # Whoever is unknown is checked all the same, against a password that nobody has.
        self._nobody = Identity("", Secret(entropy(16).hex()))
        self._used: OrderedDict[str, _Used] = OrderedDict()
        self._not_before = float("-inf")

    def challenge(
        self, source: str, now: float, *, proxy: bool = False, stale: bool = False
    ) -> list[tuple[str, str]]:
        """Return the headers of a 401, or of a 407 for a proxy; nothing is remembered.

        Args:
            source: the address of whoever is challenged.
            now: monotonic seconds.
            proxy: whether Proxy-Authenticate is wanted.
            stale: whether the credentials were right and only the nonce was not.
        """
        name = "Proxy-Authenticate" if proxy else "WWW-Authenticate"
        return [
            (
                name,
                # A nonce per algorithm: a digest for the weak one is no good for the strong one.
                str(
                    Challenge(
                        "Digest",
                        self.realm,
                        self._nonce(algorithm, source, now),
                        algorithm,
                        (DigestQoP.AUTH,),
                        stale=stale,
                    )
                ),
            )
            for algorithm in self._algorithms
        ]

    def verify(
        self, request: Request, source: str, now: float, *, proxy: bool = False
    ) -> tuple[Verification, str]:
        """Return what the credentials of a request are worth, and whose they are if anything.

        Args:
            request: as it came.
            source: the address that it came from.
            now: monotonic seconds.
            proxy: whether Proxy-Authorization counts.
        """
        verdict, username = self._check(request, source, now, proxy)
        if verdict is not Verification.VERIFIED:
            self.counters[f"digest.{verdict}"] += 1
        return verdict, username

    def _check(
        self, request: Request, source: str, now: float, proxy: bool
    ) -> tuple[Verification, str]:
        credentials = self._credentials(request, proxy)
        if credentials is None:
            return Verification.MISSING, ""
        algorithm = credentials.algorithm or DigestAlgorithm.MD5
        issued = self._issued(credentials.nonce, algorithm, source)
        if issued is None:
            return Verification.MISSING, ""
        identity = self._lookup(credentials.username) or self._nobody
        ha1 = identity.ha1(self.realm, algorithm) or self._nobody.ha1(self.realm, algorithm)
        assert ha1 is not None
        right = verify(credentials, ha1, method=request.method)
        # RFC 7616 §3.4.6: the digest must be for this very resource.
        same = credentials.uri.encode("utf-8") == request.raw_uri
        if not right or not same or identity is self._nobody:
            return Verification.WRONG, ""
        self._forget(now)
        if issued < max(now - self.settings.nonce_seconds, self._not_before):
            return Verification.STALE, credentials.username
        if not self._take(credentials, issued):
            return Verification.REPLAYED, credentials.username
        return Verification.VERIFIED, credentials.username

    def _credentials(self, request: Request, proxy: bool) -> Credentials | None:
        """Return the first credentials that are for our realm and as strong as we ask for."""
        name = "Proxy-Authorization" if proxy else "Authorization"
        for value in request.headers.raws(name)[:_MAX_HEADERS]:
            try:
                found = Credentials.parse(value)
            except ParseError:
                continue
            if found is None or found.realm != self.realm:
                continue
            algorithm = found.algorithm or DigestAlgorithm.MD5
            bare = self.settings.legacy and algorithm is DigestAlgorithm.MD5 and found.qop is None
            if algorithm in self._algorithms and (bare or found.qop is DigestQoP.AUTH):
                return found
        return None

    def _nonce(self, algorithm: DigestAlgorithm, source: str, now: float) -> str:
        # The time is counted up to 2**40 ms: 34 years of monotonic clock.
        ticks = int(now * _TICKS_PER_SECOND) & (1 << 8 * _ISSUED_BYTES) - 1
        head = ticks.to_bytes(_ISSUED_BYTES, "big") + self._entropy(_SALT_BYTES)
        return base64.urlsafe_b64encode(head + self._mac(head, algorithm, source)).decode("ascii")

    def _mac(self, head: bytes, algorithm: DigestAlgorithm, source: str) -> bytes:
        parts = (head.hex(), self.realm, algorithm.value, source_key(source))
        return hmac.digest(self._secret, "\0".join(parts).encode("utf-8"), "sha256")[:_MAC_BYTES]

    def _issued(self, nonce: str, algorithm: DigestAlgorithm, source: str) -> float | None:
        """Return when a nonce was made; None for one that is not ours."""
        try:
            data = base64.b64decode(nonce.encode("ascii"), b"-_", validate=True)
        except ValueError:
            return None
        head = data[: _ISSUED_BYTES + _SALT_BYTES]
        if len(data) != _NONCE_BYTES or not hmac.compare_digest(
            data[len(head) :], self._mac(head, algorithm, source)
        ):
            return None
        return int.from_bytes(head[:_ISSUED_BYTES], "big") / _TICKS_PER_SECOND

    def _take(self, credentials: Credentials, issued: float) -> bool:
        used = self._used.get(credentials.nonce)
        if used is None:
            if len(self._used) >= self.settings.max_nonces:
                # What is forgotten could be replayed: so nothing as old is taken any more.
                forgotten = self._used.popitem(last=False)[1].issued
                self._not_before = max(self._not_before, forgotten + 0.5 / _TICKS_PER_SECOND)
            used = self._used[credentials.nonce] = _Used(issued)
        count = credentials.count if credentials.qop is not None else 1
        return used.take(count, self.settings.window)

    def _forget(self, now: float) -> None:
        """Drop the nonces that are too old to be taken, from the one that was used first."""
        horizon = now - self.settings.nonce_seconds
        while self._used:
            first = next(iter(self._used))
            if self._used[first].issued >= horizon:
                break
            self._used.popitem(last=False)
