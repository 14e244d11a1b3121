"""What is well-formed enough to be represented, but wrong, and the status it is owed.

The order is that of RFC 3261 §8.2: what cannot be trusted at all (version, syntax, framing) first,
then the method, the Request-URI, the extensions, the body. A response is never answered, so what is
wrong with one is a reason to drop it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, cast

from voip.errors import ParseError
from voip.sip.messages import Message, Request, Response
from voip.sip.status import Status
from voip.sip.syntax import MAX_URI_BYTES, is_token
from voip.sip.uri import OtherURI, SipURI

__all__ = ["KNOWN_METHODS", "MAX_BODY_BYTES", "Rejection", "validate", "validate_response"]

MAX_BODY_BYTES = 65536

# RFC 3261, 3262, 3311, 3428, 3515, 3903, 6086, 6665: known, so 405 where they are not served.
KNOWN_METHODS = frozenset(
    """
    ACK BYE CANCEL INFO INVITE MESSAGE NOTIFY OPTIONS PRACK PUBLISH REFER REGISTER SUBSCRIBE UPDATE
    """.split()  # noqa: SIM905
)

# What may stand once only (RFC 3261 §7.3.1, table 2) beside From, To, Call-ID and CSeq.
_SINGLE = (
    "content-disposition",
    "content-type",
    "date",
    "event",
    "expires",
    "max-forwards",
    "min-expires",
    "refer-to",
    "session-expires",
    "subject",
    "user-agent",
)
# The typed values that every later step relies on, so that none of them can fail after this.
_MANDATORY = (("Via", "vias"), ("Call-ID", "call_id"), ("CSeq", "cseq"))
# What asks for more than a look at one line.
_RARER = frozenset(
    """
    accept content-disposition content-encoding expires record-route require route
    """.split()  # noqa: SIM905
)
_PARTIES = (("From", "from_"), ("To", "to"))
_ADDRESSES = (
    ("contact", "Contact", "contacts"),
    ("route", "Route", "routes"),
    ("record-route", "Record-Route", "record_routes"),
)
_NUMBERS = (("max-forwards", "Max-Forwards", "max_forwards"), ("expires", "Expires", "expires"))
# RFC 3261 §8.2.2.3: Require is ignored in these; their bodies refuse nothing either.
_NEVER_REFUSED = ("ACK", "CANCEL", "BYE")


class Rejection(NamedTuple):
    """The answer a request is owed instead of being handled.

    Attributes:
        status: the status code.
        reason: the reason phrase; it says what is wrong, and holds nothing of the peer's.
        headers: what the answer must carry (Allow, Accept, Unsupported).
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()


def validate(
    request: Request,
    *,
    transport: str,
    allow: Collection[str],
    supported: Collection[str] = (),
    accept: Collection[str] = ("application/sdp",),
) -> Rejection | None:
    """Return what a request is owed when it must not be handled, None when it may.

    After None, no typed property of the request raises, its URIs included; only `body` may (a bad
    session description). An ACK is never answered: drop it when this returns something.

    Args:
        request: the request.
        transport: what it came by ("UDP", "TCP", "TLS", "WS" …): on a byte stream Content-Length is
            mandatory (RFC 3261 §18.3).
        allow: the methods that are served.
        supported: the option tags that are understood.
        accept: the body types that are understood, in lower case.
    """
    shape, method = request.headers.shape, request.method
    if shape is not None and method in allow:
        # All that is asked below holds for a shape; only what depends on us is left.
        kind = shape.kind
        if not request.raw_body or kind in accept or (kind and method in _NEVER_REFUSED):
            return None
    try:
        if _is_usual(request, allow, accept):
            return None
    except ParseError:
        pass  # what follows says what is wrong
    if request.version != "SIP/2.0":
        return _refusal(Status.VERSION_NOT_SUPPORTED)
    wrong = _syntax(request, transport)
    if wrong is not None:
        return wrong
    if method not in allow and method not in KNOWN_METHODS:
        return _refusal(Status.NOT_IMPLEMENTED)
    # RFC 3261 §8.1.1.5: the method in CSeq MUST match that of the request.
    if request.cseq.method != method:
        return Rejection(400, "CSeq Is of Another Method")
    if method not in allow:
        return _refusal(Status.METHOD_NOT_ALLOWED, ("Allow", ", ".join(allow)))
    if isinstance(request.uri, OtherURI):
        return _refusal(Status.UNSUPPORTED_URI_SCHEME)
    return None if method in _NEVER_REFUSED else _abilities(request, supported, accept)


def _is_usual(request: Request, allow: Collection[str], accept: Collection[str]) -> bool:
    """Tell whether a request without a shape is sound and has nothing out of the ordinary.

    It asks what the rest of this module asks, of the headers that nearly all requests have, in one
    go and at a third of the cost. Where a header stands twice or is a rarer one, the rest decides.

    Raises:
        ParseError: something is wrong.
    """
    headers, body, method = request.headers, request.raw_body, request.method
    index = headers.index
    length = index.get("content-length")
    if len(index) != len(headers.lines) or length is None or not _RARER.isdisjoint(index):
        return False
    if request.flaw is not None or request.version != "SIP/2.0" or method not in allow:
        return False
    if len(request.raw_uri) > MAX_URI_BYTES or len(body) > MAX_BODY_BYTES or not request.has_core:
        return False
    for line in headers.lines:
        if b":" not in line:
            return False
    uri, kind = request.uri, request.content_type
    if type(uri) is not SipURI or uri.headers or request.cseq.method != method:
        return False
    if body and (kind is None or (kind not in accept and method not in _NEVER_REFUSED)):
        return False
    request.from_.uri, request.to.uri, request.max_forwards  # noqa: B018 - they may raise
    if cast(int, request.content_length) > len(body):
        return False
    if "contact" in index:
        contacts = request.contacts
        if method == "INVITE" and len(contacts) > 1:
            return False
        return all(type(contact.uri) is SipURI for contact in contacts)
    return True


def _refusal(status: Status, *headers: tuple[str, str]) -> Rejection:
    return Rejection(int(status), status.phrase, headers)


def _syntax(request: Request, transport: str) -> Rejection | None:
    """Return what is wrong with the request as such (RFC 3261 §8.2.2 and §16.3 step 1)."""
    flaw = request.flaw or _bare_name(request)
    if flaw is not None:
        return Rejection(400, f"Bad Request: {flaw}")
    if len(request.raw_uri) > MAX_URI_BYTES:
        return _refusal(Status.REQUEST_URI_TOO_LONG)
    try:
        uri = request.uri
    except ParseError:
        return Rejection(400, "Bad Request-URI")
    # RFC 3261 §19.1.1: a Request-URI has no header part; it must never become a header here.
    if isinstance(uri, SipURI) and uri.headers:
        return Rejection(400, "Headers in the Request-URI")
    wrong = _typed(request) or _framing(request, transport)
    if wrong is not None:
        return Rejection(400, wrong)
    if len(request.raw_body) > MAX_BODY_BYTES:
        return _refusal(Status.REQUEST_ENTITY_TOO_LARGE)
    if request.method == "INVITE" and not _usable_contact(request):
        return Rejection(400, "Bad Contact")
    return None


def _bare_name(message: Message) -> str | None:
    """Tell of a line that is a header's name and no more: the parser takes it for an empty one."""
    bare = [line for line in message.headers.lines if b":" not in line]
    return "a line is no header" if bare else None


def _typed(message: Message) -> str | None:
    """Return which header cannot be typed, None when every one can."""
    index = message.headers.index
    # Where the routing core is sound as a whole, nobody asks which part of it is not.
    for name, attribute in () if message.has_core else _MANDATORY:
        try:
            getattr(message, attribute)
        except ParseError:
            return _fault(index.get(name.lower()), name)
    for name, attribute in _PARTIES:
        try:
            # The URI is read now, so that nobody meets its error later.
            getattr(message, attribute).uri  # noqa: B018
        except ParseError:
            return _fault(index.get(name.lower()), name)
    return _optional(message, index) or _lonely(message, index)


def _optional(message: Message, index: Mapping[str, bytes | list[bytes]]) -> str | None:
    for key, name, attribute in _ADDRESSES:
        if key in index:
            try:
                for address in getattr(message, attribute):
                    address.uri  # noqa: B018
            except ParseError:
                return f"Bad {name}"
    for key, name, attribute in _NUMBERS:
        if key in index:
            try:
                getattr(message, attribute)
            except ParseError:
                return _fault(index[key], name)
    return None


def _lonely(message: Message, index: Mapping[str, bytes | list[bytes]]) -> str | None:
    """Return which header stands twice though it may not, or is missing beside a body."""
    if len(index) != len(message.headers):  # as many names as lines: nothing stands twice
        for name in _SINGLE:
            if type(index.get(name)) is list:
                return f"Repeated {name.title()}"
    try:
        kind = message.content_type
    except ParseError:
        return "Bad Content-Type"
    # RFC 3261 §20.15: it MUST be present when there is a body.
    return "Missing Content-Type" if message.raw_body and kind is None else None


def _fault(held: bytes | list[bytes] | None, name: str) -> str:
    if held is None:
        return f"Missing {name}"
    return f"Repeated {name}" if isinstance(held, list) and name != "Via" else f"Bad {name}"


def _framing(message: Message, transport: str) -> str | None:
    """Return what is wrong with Content-Length, the framing of a stream (RFC 3261 §18.3)."""
    try:
        declared = message.content_length
    except ParseError:
        return "Bad Content-Length"
    if declared is None:
        return "Missing Content-Length" if transport.upper() in ("TCP", "TLS") else None
    # The parser cut off what was too much; too little cannot be mended.
    return "Body Shorter Than Content-Length" if declared > len(message.raw_body) else None


def _usable_contact(request: Request) -> bool:
    """Tell whether the Contact of an INVITE can be the target of a dialog (RFC 3261 §8.1.1.8).

    RFC 2543 knew no duty to send one (RFC 4475 §3.4.1): then the dialog falls back on From.
    """
    contacts = request.contacts
    return not contacts or (len(contacts) == 1 and isinstance(contacts[0].uri, SipURI))


def _abilities(
    request: Request, supported: Collection[str], accept: Collection[str]
) -> Rejection | None:
    """Return what the request asks for and does not get here."""
    index = request.headers.index
    if "require" in index:
        refused = _unsupported(request, supported)
        if refused is not None:
            return refused
    if request.raw_body:
        refused = _unreadable(request, accept)
        if refused is not None:
            return refused
    # RFC 3261 §20.1: an offer or answer is all that an INVITE can be answered with.
    if request.method == "INVITE" and "accept" in index and "application/sdp" in accept:
        try:
            readable = _accepts_sdp(request)
        except ParseError:
            return Rejection(400, "Bad Accept")
        if not readable:
            return _refusal(Status.NOT_ACCEPTABLE)
    return None


def _unsupported(request: Request, supported: Collection[str]) -> Rejection | None:
    """Hold RFC 3261 §8.2.2.3: what is required and unknown is named in Unsupported."""
    try:
        required = request.headers.values("require")
    except ParseError:
        return Rejection(400, "Bad Require")
    if not all(map(is_token, required)):
        return Rejection(400, "Bad Require")
    tags = [tag.decode("ascii") for tag in required]
    known = {tag.lower() for tag in supported}
    unknown = [tag for tag in tags if tag.lower() not in known]
    if not unknown:
        return None
    return _refusal(Status.BAD_EXTENSION, ("Unsupported", ", ".join(dict.fromkeys(unknown))))


def _unreadable(request: Request, accept: Collection[str]) -> Rejection | None:
    """Hold RFC 3261 §8.2.3: a body that is not understood is 415, unless it is optional."""
    disposition = request.headers.get("content-disposition", "")
    if "handling=optional" in cast(str, disposition).lower().replace(" ", ""):
        return None
    encoding = request.headers.get("content-encoding", "identity")
    if cast(str, encoding).lower() not in ("identity", ""):
        return _refusal(Status.UNSUPPORTED_MEDIA_TYPE, ("Accept-Encoding", "identity"))
    if request.content_type not in accept:
        return _refusal(Status.UNSUPPORTED_MEDIA_TYPE, ("Accept", ", ".join(accept)))
    return None


def _accepts_sdp(request: Request) -> bool:
    """Tell whether Accept lets us send a session description; an empty one lets us send nothing."""
    for element in request.headers.values("accept"):
        kind, *parameters = (part.strip(b" \t").lower() for part in element.split(b";"))
        weight = next((p[2:] for p in parameters if p.startswith(b"q=")), b"1")
        if kind in (b"application/sdp", b"application/*", b"*/*") and weight.strip(b"0."):
            return True
    return False


def validate_response(response: Response) -> str | None:
    """Return why a response must be dropped, None when it may be handled.

    After None, no typed property of the response raises; only `body` may.
    """
    shape = response.headers.shape
    if shape is not None and shape.more is None and (shape.kind or not response.raw_body):
        return None  # all that is asked below holds for a shape
    wrong = response.flaw or _bare_name(response)
    if wrong is not None:
        return wrong
    wrong = _typed(response) or _framing(response, "UDP")
    if wrong is not None:
        return wrong
    # RFC 3261 §8.1.3.3: a UA drops a response with more than one Via.
    if len(response.vias) > 1:
        return "More Than One Via"
    if len(response.raw_body) > MAX_BODY_BYTES:
        return "Body Too Large"
    return None
