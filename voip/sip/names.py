"""Names of header fields: their spellings, their one-letter forms, and whose values are lists."""

from __future__ import annotations

from voip.sip.syntax import is_token

__all__ = ["COMMA_LISTS", "KEYS", "canonical_name", "key_of"]

# RFC 3261 §7.3.3, §20; RFC 3265, 3515, 3841, 3892, 4028, 4474: the one-letter names.
_COMPACT = {
    "a": "accept-contact",
    "b": "referred-by",
    "c": "content-type",
    "d": "request-disposition",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "j": "reject-contact",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "n": "identity-info",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
    "y": "identity",
}

_USUAL = """
    Accept Accept-Encoding Accept-Language Alert-Info Allow Allow-Events Authorization Call-ID
    Call-Info Contact Content-Disposition Content-Encoding Content-Language Content-Length
    Content-Type CSeq Date Diversion Error-Info Event Expires From History-Info Identity
    In-Reply-To Max-Forwards MIME-Version Min-Expires Min-SE Organization P-Access-Network-Info
    P-Asserted-Identity P-Called-Party-ID P-Preferred-Identity Path Priority Privacy
    Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Refer-To
    Referred-By Remote-Party-ID Replaces Reply-To Require Retry-After Route RSeq Server
    Service-Route Session-Expires Session-ID Subject Subscription-State Supported Timestamp To
    Unsupported User-Agent Via Warning WWW-Authenticate
""".split()  # noqa: SIM905

# Spellings that real stacks use, so that the usual name costs one look-up and no folding.
KEYS: dict[bytes | str, str] = {}
for _name in (*_USUAL, *_COMPACT):
    _key = _COMPACT.get(_name.lower(), _name.lower())
    for _spelling in (_name, _name.lower(), _name.upper()):
        KEYS[_spelling] = KEYS[_spelling.encode("ascii")] = _key
key_of = KEYS.get

# RFC 3261 §20: fields whose value is a comma list. Digest challenges have a grammar of their own.
COMMA_LISTS = frozenset(
    """
    accept accept-contact accept-encoding accept-language alert-info allow allow-events
    call-info contact content-encoding content-language diversion error-info history-info
    in-reply-to p-asserted-identity p-preferred-identity path proxy-require reason record-route
    reject-contact require route service-route supported unsupported via warning
    """.split()  # noqa: SIM905
)


def canonical_name(name: bytes | str) -> str | None:
    """Return the lower-case long form of a header name; None when it is no token.

    RFC 3261 §7.3.1 lets white space stand before the colon, so it goes before names are compared:
    `X-Bypass :` is `x-bypass`.
    """
    key = KEYS.get(name)
    if key is not None:
        return key
    raw = name.encode("utf-8", "replace") if isinstance(name, str) else name
    raw = raw.rstrip(b" \t")
    if not is_token(raw):
        return None
    folded = raw.decode("ascii").lower()
    return KEYS.get(folded, folded)
