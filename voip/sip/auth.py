"""Digest authentication: challenges, credentials, and what turns one into the other.

RFC 7616 (digest), RFC 8760 (its algorithms in SIP), RFC 3261 §22 (SIP's own rules) and, for servers
that offer no `qop`, RFC 2069. Which challenge may be answered at all is for `voip.sip.account` to
decide.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from voip.errors import ParseError
from voip.sip.digest import (
    Identity,
    Secret,
    compute_ha1,
    digest,
    digest_body,
    strength,
    supported_algorithms,
)
from voip.sip.status import DigestAlgorithm, DigestQoP

__all__ = [
    "Challenge",
    "Credentials",
    "Identity",
    "Secret",
    "answer",
    "compute_ha1",
    "compute_response",
    "parse_authentication",
    "strength",
    "supported_algorithms",
    "verify",
]

_MAX_BYTES = 8192
_MAX_CHALLENGES = 16
_MAX_PARAMETERS = 32

# Possessive quantifiers: these cannot backtrack. A quoted pair stays as it is, since both ends hash
# what stands between the quotes (RFC 7616 §3.4.1, unq).
_TOKEN = rb"[A-Za-z0-9\-.!%*_+`'~]++"
_SCHEME = re.compile(
    rb"[ \t]*+(" + _TOKEN + rb")[ \t]++(?=" + _TOKEN + rb"[ \t]*+=[ \t]*+[^ \t,=])"
)
_PARAMETER = re.compile(
    rb"[ \t]*+(" + _TOKEN + rb')[ \t]*+=[ \t]*+(?:"((?:[^"\\]++|\\.)*+)"|([^ \t",;]++))[ \t]*+',
    re.DOTALL,
)
_CONTROLS = re.compile("[\x00-\x1f\x7f]")
_NONCE_COUNT = re.compile(r"[0-9A-Fa-f]{8}")

_ALGORITHMS = {algorithm.value.lower(): algorithm for algorithm in DigestAlgorithm}
_QUOTED = frozenset(("username", "realm", "nonce", "uri", "response", "cnonce", "opaque"))


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of a server (RFC 7616 §3.3).

    Attributes:
        scheme: "Digest", or whatever stood there.
        realm: as between its quotes.
        nonce: as between its quotes.
        algorithm: None for one that we do not know.
        qop: what is offered and known; empty together with `legacy` for RFC 2069.
        opaque: None when absent.
        stale: whether only the nonce was wrong, not the credentials.
        legacy: whether no qop was given at all.
    """

    scheme: str
    realm: str
    nonce: str = ""
    algorithm: DigestAlgorithm | None = DigestAlgorithm.MD5
    qop: tuple[DigestQoP, ...] = ()
    opaque: str | None = None
    stale: bool = False
    legacy: bool = True

    @classmethod
    def parse(cls, values: Iterable[bytes | str]) -> list[Challenge]:
        """Return the challenges of WWW- or Proxy-Authenticate lines, in order.

        Challenges that lack realm or nonce, and other schemes, are left out.

        Raises:
            ParseError: a line is malformed.
        """
        found = [item for value in values for item in parse_authentication(value)]
        if len(found) > _MAX_CHALLENGES:
            raise ParseError("too many challenges")
        return [
            cls._of(scheme, parameters)
            for scheme, parameters in found
            if scheme.lower() == "digest" and {"realm", "nonce"} <= parameters.keys()
        ]

    @classmethod
    def _of(cls, scheme: str, parameters: Mapping[str, str]) -> Challenge:
        offered = parameters.get("qop")
        words = [word.strip(" \t").lower() for word in (offered or "").split(",")]
        return cls(
            scheme=scheme,
            realm=parameters["realm"],
            nonce=parameters["nonce"],
            # RFC 7616 §3.3: absent means MD5; an unknown one means that the challenge is ignored.
            algorithm=_ALGORITHMS.get(parameters.get("algorithm", "MD5").lower()),
            qop=tuple(quality for quality in DigestQoP if quality.value in words),
            opaque=parameters.get("opaque"),
            stale=parameters.get("stale", "").lower() == "true",
            legacy=offered is None,
        )

    @property
    def answerable(self) -> bool:
        """Whether we know its algorithm and one of its qualities of protection."""
        return self.algorithm in supported_algorithms() and (self.legacy or bool(self.qop))

    def __str__(self) -> str:
        pieces = [_pair("realm", self.realm), _pair("nonce", self.nonce)]
        if self.opaque is not None:
            pieces.append(_pair("opaque", self.opaque))
        if self.stale:
            pieces.append("stale=true")
        if self.algorithm is not None:
            pieces.append(f"algorithm={self.algorithm}")
        if self.qop:
            # RFC 7616 §3.3: the qop options of a challenge are quoted.
            pieces.append(f'qop="{",".join(self.qop)}"')
        return f"{self.scheme} {', '.join(pieces)}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client answers (RFC 7616 §3.4): the value of Authorization or Proxy-Authorization.

    Attributes:
        qop: None is RFC 2069's form, without cnonce and count.
        count: the nonce count, 0 without qop.
        algorithm: None when the header named none, which means MD5.
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str = field(repr=False)
    algorithm: DigestAlgorithm | None = None
    cnonce: str | None = None
    opaque: str | None = None
    qop: DigestQoP | None = None
    count: int = 0

    @classmethod
    def parse(cls, value: bytes | str) -> Credentials | None:
        """Return the credentials of one header line; None for a scheme other than Digest.

        Raises:
            ParseError: malformed, incomplete, or of an algorithm or quality that nobody knows.
        """
        found = parse_authentication(value)
        if len(found) != 1:
            raise ParseError("not one set of credentials", value)
        scheme, parameters = found[0]
        if scheme.lower() != "digest":
            return None
        missing = {"username", "realm", "nonce", "uri", "response"} - parameters.keys()
        if missing:
            raise ParseError(f"credentials without {min(missing)}")
        named = parameters.get("algorithm")
        algorithm = None if named is None else _ALGORITHMS.get(named.lower())
        if named is not None and algorithm is None:
            raise ParseError("unknown digest algorithm", named)
        quality, count = _quality(parameters)
        return cls(
            username=parameters["username"],
            realm=parameters["realm"],
            nonce=parameters["nonce"],
            uri=parameters["uri"],
            response=parameters["response"],
            algorithm=algorithm,
            cnonce=parameters.get("cnonce"),
            opaque=parameters.get("opaque"),
            qop=quality,
            count=count,
        )

    def __str__(self) -> str:
        pairs: dict[str, str | None] = {
            "username": self.username,
            "realm": self.realm,
            "nonce": self.nonce,
            "uri": self.uri,
            "response": self.response,
            "algorithm": self.algorithm,
            "cnonce": self.cnonce,
            "opaque": self.opaque,
        }
        if self.qop is not None:
            # RFC 7616 §3.4: qop and nc are not quoted here.
            pairs |= {"qop": self.qop, "nc": f"{self.count:08x}"}
        return "Digest " + ", ".join(
            _pair(name, value) for name, value in pairs.items() if value is not None
        )


def _quality(parameters: Mapping[str, str]) -> tuple[DigestQoP | None, int]:
    named = parameters.get("qop")
    if named is None:
        return None, 0
    try:
        quality = DigestQoP(named.lower())
    except ValueError:
        raise ParseError("unknown qop", named) from None
    # RFC 7616 §3.4: cnonce and nc MUST be there when qop is.
    count = parameters.get("nc", "")
    if not _NONCE_COUNT.fullmatch(count) or not parameters.get("cnonce"):
        raise ParseError("qop without a nonce count and a cnonce", count)
    return quality, int(count, 16)


def _pair(name: str, value: str) -> str:
    if _CONTROLS.search(value):
        raise ValueError(f"control character in {name}")
    return f'{name}="{value}"' if name in _QUOTED else f"{name}={value}"


def parse_authentication(value: bytes | str) -> list[tuple[str, dict[str, str]]]:
    """Return (scheme, parameters) of every element of a list of challenges or credentials.

    Commas separate both parameters and challenges, so that the grammar is its own: a new element
    starts where a token is followed by white space and `token=`.

    Raises:
        ParseError: malformed, over 8 KiB, over 32 parameters in an element, a repeated parameter, a
            control character, or text that is not UTF-8.
    """
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    if len(data) > _MAX_BYTES:
        raise ParseError("authentication header too long", data)
    elements: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(data):
        scheme = _SCHEME.match(data, at)
        if scheme is not None:
            elements.append((scheme[1].decode("ascii"), {}))
            if len(elements) > _MAX_CHALLENGES:
                raise ParseError("too many challenges", data)
            at = scheme.end()
        elif not elements:
            # No parameters, or a bare token as in Bearer: there is nothing for us.
            return [(data.strip(b" \t").partition(b" ")[0].decode("latin-1"), {})]
        at = _parse_parameter(data, at, elements[-1][1])
    return elements


def _parse_parameter(data: bytes, at: int, parameters: dict[str, str]) -> int:
    """Read one parameter and the comma behind it, which may be the last thing (RFC 9110 §5.6.1)."""
    match = _PARAMETER.match(data, at)
    if match is None:
        raise ParseError("bad parameter in an authentication header", data[at:])
    name = match[1].decode("ascii").lower()
    raw = match[3] if match[2] is None else match[2]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ParseError("authentication header is not UTF-8", raw) from None
    # RFC 7616 §3.3: a parameter MUST NOT appear twice; which one counts is where attacks begin.
    if name in parameters or len(parameters) >= _MAX_PARAMETERS or _CONTROLS.search(text):
        raise ParseError("repeated or bad parameter in an authentication header", raw)
    parameters[name] = text
    at = match.end()
    if at < len(data) and data[at] != 44:
        raise ParseError("no comma between parameters of an authentication header", data[at:])
    while at < len(data) and data[at] in b", \t":
        at += 1
    return at


def compute_response(credentials: Credentials, ha1: str, *, method: str, body: bytes = b"") -> str:
    """Return the response that belongs to credentials (RFC 7616 §3.4.1), their own unseen.

    Args:
        credentials: all but the response.
        ha1: as `compute_ha1` gives it; session variants are derived from it here.
        method: of the request.
        body: of the request; counts with auth-int only.
    """
    algorithm = credentials.algorithm or DigestAlgorithm.MD5
    cnonce = credentials.cnonce or ""
    if algorithm.value.endswith("-sess"):
        ha1 = digest(algorithm, ha1, credentials.nonce, cnonce)
    a2 = [method, credentials.uri]
    if credentials.qop is DigestQoP.AUTH_INT:
        a2.append(digest_body(algorithm, body))
    ha2 = digest(algorithm, *a2)
    if credentials.qop is None:
        return digest(algorithm, ha1, credentials.nonce, ha2)
    count = f"{credentials.count:08x}"
    return digest(algorithm, ha1, credentials.nonce, count, cnonce, credentials.qop, ha2)


def answer(
    challenge: Challenge,
    identity: Identity,
    *,
    method: str,
    uri: str,
    cnonce: str,
    count: int = 1,
    body: bytes = b"",
) -> Credentials | None:
    """Return the credentials that answer a challenge; None when it cannot be answered.

    Args:
        challenge: what the server said.
        identity: whose credentials.
        method: of the request.
        uri: the Request-URI, byte for byte as it is sent.
        cnonce: fresh and unpredictable.
        count: how many requests carried this nonce, this one included.
        body: of the request.
    """
    if challenge.algorithm is None or not challenge.answerable:
        return None
    ha1 = identity.ha1(challenge.realm, challenge.algorithm)
    if ha1 is None:
        return None
    quality = challenge.qop[0] if challenge.qop else None
    session = challenge.algorithm.value.endswith("-sess")
    draft = Credentials(
        username=identity.username,
        realm=challenge.realm,
        nonce=challenge.nonce,
        uri=uri,
        response="",
        algorithm=challenge.algorithm,
        cnonce=cnonce if quality is not None or session else None,
        opaque=challenge.opaque,
        qop=quality,
        count=count if quality is not None else 0,
    )
    response = compute_response(draft, ha1, method=method, body=body)
    return replace(draft, response=response)


def verify(credentials: Credentials, ha1: str, *, method: str, body: bytes = b"") -> bool:
    """Tell whether credentials prove the knowledge of HA1, in time that does not depend on it.

    Whether the nonce is ours, fresh and not used before is the caller's question.
    """
    expected = compute_response(credentials, ha1, method=method, body=body)
    return hmac.compare_digest(
        expected.encode("ascii"), credentials.response.lower().encode("utf-8", "replace")
    )
