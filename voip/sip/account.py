"""An account: whose credentials they are, and to whom they may be shown.

A digest is worth a dictionary attack to whoever receives it, so that a challenge is answered only
where three things hold: the request left over the account's own next hop, the challenge came back
on that path, and its realm is one of the account's. A realm is the account's when it is configured,
is the domain or the proxy itself, or was pinned by the first registration that worked (real realms
differ from the domain). Nothing else is ever answered.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping

from voip.errors import AuthenticationError, ParseError
from voip.machine import Entropy, Flow, Target
from voip.sip.auth import Challenge, Credentials, Identity, Secret, answer, strength
from voip.sip.messages import Request, Response
from voip.sip.types import DigestAlgorithm, SipURI
from voip.types import HostPort, canonical_ip

__all__ = ["Account"]

_ROUTING = ("transport", "maddr", "ttl", "lr", "method")
_MAX_REALMS = 8
_MAX_HOPS = 64
_HEADERS = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}


class Account:
    """An address of record with its credentials.

    Attributes:
        aor: the address of record, without password.
        username: for the digest; the user part of the address unless told otherwise.
        outbound_proxy: where every request of the account goes, None for the domain itself.
        min_algorithm: the weakest hash that is answered (RFC 8760 §2: against stripped challenges).
        trusts_inbound: whether requests in dialogs that began as calls to us may be answered too.
    """

    def __init__(
        self,
        aor: SipURI | str,
        username: str | None = None,
        password: str | None = None,
        *,
        outbound_proxy: HostPort | tuple[str, int] | None = None,
        realms: Collection[str] = (),
        min_algorithm: DigestAlgorithm = DigestAlgorithm.MD5,
        hashes: Mapping[DigestAlgorithm, str] | None = None,
        trusts_inbound: bool = False,
    ) -> None:
        """Make an account.

        Args:
            aor: like "sip:alice@example.com"; user name and password in it count when not given.
            username: None for the user part.
            password: None for none; the account can then register only where nobody asks.
            outbound_proxy: host and port.
            realms: the realms that may challenge; empty pins the realm of the first registration.
            min_algorithm: the weakest hash that is answered.
            hashes: H(username:realm:password) by algorithm, instead of a password at rest.
            trusts_inbound: see the attribute.

        Raises:
            ParseError: (a ValueError) `aor` is no SIP URI.
        """
        given = SipURI.parse(aor) if isinstance(aor, str) else aor
        self.aor = SipURI.build(
            given.user, given.host, given.port, scheme=given.scheme, parameters=given.parameters
        )
        self.username = username if username is not None else given.user or ""
        self.outbound_proxy = None if outbound_proxy is None else HostPort(*outbound_proxy)
        self.min_algorithm = min_algorithm
        self.trusts_inbound = trusts_inbound
        secret = password if password is not None else given.password
        self._identity = Identity(
            self.username,
            None if secret is None else Secret(secret),
            {name: Secret(value) for name, value in (hashes or {}).items()},
        )
        self._realms = set(realms)
        self._configured = bool(realms)
        self._candidates: set[str] = set()
        self._counts: dict[tuple[str, str], int] = {}
        hop = self.outbound_proxy or HostPort(self.aor.host, self.aor.port or 5060)
        self._hop_name = canonical_ip(hop.host)
        self._hops: dict[HostPort, None] = {HostPort(self._hop_name, hop.port): None}
        if self.outbound_proxy is None and self.aor.port is None:
            self._hops[HostPort(self._hop_name, 5061)] = None

    @property
    def address(self) -> SipURI:
        """The address of record as From and To name it: who, not how to get there.

        RFC 3261 §19.1.1, table 1: no transport, maddr, ttl, lr or method there.
        """
        kept = {k: v for k, v in self.aor.parameters.items() if k not in _ROUTING}
        return SipURI.build(
            self.aor.user, self.aor.host, self.aor.port, scheme=self.aor.scheme, parameters=kept
        )

    @property
    def registrar(self) -> SipURI:
        """The Request-URI of a REGISTER: the domain, without user (RFC 3261 §10.2)."""
        return SipURI.build(
            None,
            self.aor.host,
            self.aor.port,
            scheme=self.aor.scheme,
            parameters={k: v for k, v in self.aor.parameters.items() if k == "transport"},
        )

    @property
    def realms(self) -> frozenset[str]:
        """The realms whose challenges are answered."""
        if self._configured:
            return frozenset(self._realms)
        return frozenset(self._realms | {self.aor.host, self._hop_name})

    def resolved(self, targets: Iterable[Target | HostPort]) -> None:
        """Learn the addresses of the account's own next hop: what its domain or proxy resolved to.

        Only with these are requests other than REGISTER authorised; an address literal is known at
        once, and the flow of a REGISTER to the own domain is learnt by itself.
        """
        for target in targets:
            if len(self._hops) >= _MAX_HOPS:
                self._hops.pop(next(iter(self._hops)))
            self._hops[HostPort(canonical_ip(target.host), target.port)] = None

    def registered(self) -> None:
        """Pin the realms that the registrar used: the registration worked."""
        if not self._configured and not self._realms:
            self._realms |= self._candidates
        self._candidates.clear()

    def authorize(
        self,
        request: Request,
        response: Response,
        *,
        next_hop: Target | Flow,
        entropy: Entropy,
        inbound: bool = False,
    ) -> tuple[str, str]:
        """Return the header (name, value) that answers a challenge.

        Args:
            request: as it was sent; its Request-URI must stay the same, byte for byte.
            response: the 401 or 407.
            next_hop: where the request went and the response came from.
            entropy: for the client nonce.
            inbound: whether the request belongs to a dialog that began as a call to us.

        Raises:
            AuthenticationError: the challenge must not be answered, or cannot be; the final
                response is then the outcome of the request.
        """
        asks, answers = _HEADERS.get(response.status_code, ("", ""))
        if not asks:
            raise AuthenticationError(f"{response.status_code} is no challenge")
        if inbound and not self.trusts_inbound:
            raise AuthenticationError("challenged in a dialog that the peer began")
        self._check_hop(request, next_hop)
        challenge = self._choose(request, _challenges(response, asks))
        self._check_rejected(request, answers, challenge)
        key = (challenge.realm, challenge.nonce)
        count = self._counts.pop(key, 0) + 1
        credentials = answer(
            challenge,
            self._identity,
            method=request.method,
            uri=request.raw_uri.decode("latin-1"),
            cnonce=base64.b64encode(entropy(18)).decode("ascii"),
            count=count,
            body=request.raw_body,
        )
        if credentials is None:
            raise AuthenticationError(f"no password for realm {challenge.realm!r}")
        while len(self._counts) >= _MAX_REALMS:
            self._counts.pop(next(iter(self._counts)))
        self._counts[key] = count
        if request.method == "REGISTER":
            self._candidates.add(challenge.realm)
        return answers, str(credentials)

    def _check_hop(self, request: Request, next_hop: Target | Flow) -> None:
        if isinstance(next_hop, Flow):
            name, host, port = next_hop.identity, next_hop.remote.host, next_hop.remote.port
        else:
            name, host, port = next_hop.server_name, next_hop.host, next_hop.port
        address = HostPort(canonical_ip(host), port)
        if name and canonical_ip(name) == self._hop_name:
            return
        if request.method == "REGISTER" and request.raw_uri == str(self.registrar).encode():
            # Such a request is ours and was resolved from our own domain or proxy (redirects are
            # not followed): this is how the hop of a host name becomes known.
            self.resolved([address])
        if address not in self._hops:
            raise AuthenticationError(f"{address} is not the next hop of this account")

    def _choose(self, request: Request, challenges: list[Challenge]) -> Challenge:
        """Return the strongest challenge of a realm of ours (RFC 8760 §2.4)."""
        if not challenges:
            raise AuthenticationError("no digest challenge in the response")
        first = request.method == "REGISTER" and not self._configured and not self._realms
        ours = [item for item in challenges if first or item.realm in self.realms]
        if not ours:
            raise AuthenticationError(f"realm {challenges[0].realm!r} is not of this account")
        weakest = strength(self.min_algorithm)
        fit = [
            item
            for item in ours
            if item.answerable
            and item.algorithm is not None
            and strength(item.algorithm) >= weakest
        ]
        if not fit:
            raise AuthenticationError(f"no algorithm of at least {self.min_algorithm} is offered")
        # max() keeps the first of equals: the server's own order.
        return max(fit, key=_preference)

    def _check_rejected(self, request: Request, answers: str, challenge: Challenge) -> None:
        """Refuse to repeat what was just refused (RFC 3261 §22.1); stale is no refusal."""
        if challenge.stale:
            return
        for value in request.headers.raws(answers):
            try:
                sent = Credentials.parse(value)
            except ParseError:
                continue
            if sent is not None and sent.realm == challenge.realm:
                raise AuthenticationError(f"realm {challenge.realm!r} refused the credentials")

    def __repr__(self) -> str:
        # The user part may be a phone number; what is a secret is not even named.
        return f"Account({self.aor.host!r})"


def _challenges(response: Response, name: str) -> list[Challenge]:
    """Return the challenges that can be read; a malformed line spoils no other."""
    found: list[Challenge] = []
    for value in response.headers.raws(name):
        try:
            found += Challenge.parse([value])
        except ParseError:
            continue
    return found[:_MAX_REALMS]


def _preference(challenge: Challenge) -> tuple[int, bool]:
    assert challenge.algorithm is not None
    return strength(challenge.algorithm), bool(challenge.qop)
