"""Words that come from a closed list: methods, status codes, digest algorithms."""

from __future__ import annotations

import enum

from voip.sip.syntax import check_value

__all__ = [
    "METHODS",
    "STATUS_LINES",
    "STATUS_PHRASES",
    "DigestAlgorithm",
    "DigestQoP",
    "Status",
    "status_line",
]

# The usual methods as shared strings: one look-up instead of a check, a copy and an allocation.
METHODS = {
    name.encode("ascii"): name
    for name in (
        *("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "INFO", "MESSAGE", "NOTIFY"),
        *("PRACK", "PUBLISH", "REFER", "SUBSCRIBE", "UPDATE"),
    )
}


class DigestAlgorithm(enum.StrEnum):
    """Hash algorithms of digest authentication (RFC 7616, RFC 8760)."""

    MD5 = "MD5"
    MD5_SESS = "MD5-sess"
    SHA_256 = "SHA-256"
    SHA_256_SESS = "SHA-256-sess"
    SHA_512_256 = "SHA-512-256"
    SHA_512_256_SESS = "SHA-512-256-sess"


class DigestQoP(enum.StrEnum):
    """Qualities of protection of digest authentication (RFC 7616 §3.3)."""

    AUTH = "auth"
    AUTH_INT = "auth-int"


class Status(enum.IntEnum):
    """Status codes of RFC 3261 §21 and of the extensions that we meet."""

    TRYING = 100
    RINGING = 180
    CALL_IS_BEING_FORWARDED = 181
    QUEUED = 182
    SESSION_PROGRESS = 183
    EARLY_DIALOG_TERMINATED = 199
    OK = 200
    ACCEPTED = 202
    NO_NOTIFICATION = 204
    MULTIPLE_CHOICES = 300
    MOVED_PERMANENTLY = 301
    MOVED_TEMPORARILY = 302
    USE_PROXY = 305
    ALTERNATIVE_SERVICE = 380
    BAD_REQUEST = 400
    UNAUTHORIZED = 401
    PAYMENT_REQUIRED = 402
    FORBIDDEN = 403
    NOT_FOUND = 404
    METHOD_NOT_ALLOWED = 405
    NOT_ACCEPTABLE = 406
    PROXY_AUTHENTICATION_REQUIRED = 407
    REQUEST_TIMEOUT = 408
    GONE = 410
    CONDITIONAL_REQUEST_FAILED = 412
    REQUEST_ENTITY_TOO_LARGE = 413
    REQUEST_URI_TOO_LONG = 414
    UNSUPPORTED_MEDIA_TYPE = 415
    UNSUPPORTED_URI_SCHEME = 416
    BAD_EXTENSION = 420
    EXTENSION_REQUIRED = 421
    SESSION_INTERVAL_TOO_SMALL = 422
    INTERVAL_TOO_BRIEF = 423
    FLOW_FAILED = 430
    TEMPORARILY_UNAVAILABLE = 480
    CALL_TRANSACTION_DOES_NOT_EXIST = 481
    LOOP_DETECTED = 482
    TOO_MANY_HOPS = 483
    ADDRESS_INCOMPLETE = 484
    AMBIGUOUS = 485
    BUSY_HERE = 486
    REQUEST_TERMINATED = 487
    NOT_ACCEPTABLE_HERE = 488
    BAD_EVENT = 489
    REQUEST_PENDING = 491
    UNDECIPHERABLE = 493
    SECURITY_AGREEMENT_REQUIRED = 494
    SERVER_INTERNAL_ERROR = 500
    NOT_IMPLEMENTED = 501
    BAD_GATEWAY = 502
    SERVICE_UNAVAILABLE = 503
    SERVER_TIMEOUT = 504
    VERSION_NOT_SUPPORTED = 505
    MESSAGE_TOO_LARGE = 513
    PRECONDITION_FAILURE = 580
    BUSY_EVERYWHERE = 600
    DECLINE = 603
    DOES_NOT_EXIST_ANYWHERE = 604
    NOT_ACCEPTABLE_ANYWHERE = 606

    @property
    def phrase(self) -> str:
        """The reason phrase that the RFC gives."""
        return _PHRASES.get(self, self.name.replace("_", " ").title())


_PHRASES = {
    Status.CALL_IS_BEING_FORWARDED: "Call Is Being Forwarded",
    Status.OK: "OK",
    Status.REQUEST_URI_TOO_LONG: "Request-URI Too Long",
    Status.UNSUPPORTED_URI_SCHEME: "Unsupported URI Scheme",
    Status.CALL_TRANSACTION_DOES_NOT_EXIST: "Call/Transaction Does Not Exist",
    Status.SERVER_TIMEOUT: "Server Time-out",
    Status.NOT_ACCEPTABLE_ANYWHERE: "Not Acceptable",
}

_CLASSES = {
    1: "Progress",
    2: "Success",
    3: "Redirection",
    4: "Client Error",
    5: "Server Error",
    6: "Global Failure",
}
STATUS_LINES = {
    int(status): f"SIP/2.0 {int(status)} {status.phrase}".encode("ascii") for status in Status
}
STATUS_PHRASES = {int(status): status.phrase for status in Status}


def status_line(status: int, reason: str | None = None) -> bytes:
    """Return the start line of a response, with the usual phrase when none is given.

    Raises:
        ValueError: a status outside 100..699, or a control character in the reason.
    """
    if not 100 <= status <= 699:
        raise ValueError(f"not a status: {status}")
    if reason is None:
        known = STATUS_LINES.get(status)
        return known or f"SIP/2.0 {status} {_CLASSES[status // 100]}".encode("ascii")
    return b"SIP/2.0 %d " % status + check_value(reason)
