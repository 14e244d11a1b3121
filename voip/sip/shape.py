"""The shape that nearly all messages have, read in one pass.

One regular expression takes the whole header section: start line, what routes a message, and all
that validation asks of the headers that nearly all messages have. It costs 3 to 4 µs; reading the
same line by line costs 18. What is folded, repeated, oddly spelled, escaped, rare or wrong has no
shape: the general parser reads it and `voip.sip.validation` says what it is owed. So a shape may
never be given to what these two refuse, nor tell anything else than they do; the tests hold both
beside each other.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["MAX_SHAPED_BYTES", "Shape", "is_plain", "shape_of"]

# No URI, no line and no number of lines in it can be beyond the limits of the general parser.
MAX_SHAPED_BYTES = 2048
_MAX_BODY_BYTES = 65536


class Shape(NamedTuple):
    """What the usual headers of one message say, as text (each byte a character, as in Latin-1).

    Attributes:
        method: of a request; None in a response.
        uri: the Request-URI; None in a response.
        status_line: the start line of a response; None in a request.
        via: the value of the top Via.
        host: its host, no IPv6 address.
        port: its port with the colon before it, "" when it has none.
        branch: its branch.
        rport: "" for a bare `rport`, "=" and the number for a filled one, None without one.
        received: its `received`, None without one.
        more: the values of all other Via, further lines as they stand; they are not checked.
        from_: the value of From.
        from_tag: its tag.
        to: the value of To.
        to_tag: its tag, None when it has none.
        call_id: the Call-ID.
        number: the digits of CSeq.
        verb: the method in CSeq of a response; None in a request, where it is the request's.
        contact: the value of Contact, which holds one address; None without one.
        routes: the values of Record-Route, further lines as they stand; they are not checked.
        length: the digits of Content-Length.
        kind: type and subtype of Content-Type; None without one.
    """

    method: str | None
    uri: str | None
    status_line: str | None
    via: str
    host: str
    port: str
    branch: str
    rport: str | None
    received: str | None
    more: str | None
    from_: str
    from_tag: str
    to: str
    to_tag: str | None
    call_id: str
    number: str
    verb: str | None
    contact: str | None
    routes: str | None
    length: str
    kind: str | None

    @property
    def contact_host(self) -> str | None:
        """The host of the Contact; None without one."""
        match = None if self.contact is None else _match_host(self.contact)
        return None if match is None else match[1]

    def __repr__(self) -> str:
        return "<Shape>"  # numbers must not get into a log


# Whatever may be left out is an alternative to nothing, and ports are single-character repeats:
# the engine takes several times as long for an optional group. A line that was taken is never
# looked at again: atomic groups cost a fifth less, and keep the time linear.
_TEXT = r"[^\x00-\x08\x0a-\x1f\x7f]*+"
_WORD = r"[A-Za-z0-9.!%*_+`'~-]++"
_QUOTED = r'"[^"\\\x00-\x1f\x7f]*+"'
_HOST = r"[A-Za-z0-9._-]++"
# 1 to 64999; the few ports above, zeros in front and a colon without digits are not usual.
_PORT = r":?+(?!0)(?![7-9][0-9]{4})(?!6[5-9][0-9]{3})[0-9]{0,5}+(?<!:)"
_USER = r"(?:[A-Za-z0-9_.!~*'()&=+$-]++@|)"
# Two parameters at most, of which none can be said twice.
_PARAMETERS = (
    r"(?:;transport=[A-Za-z]++|)"
    r"(?:;(?!transport)[a-z]++(?:=[A-Za-z0-9_.!~*'()/:&+$-]++|)|)"
)
_URI = rf"sips?+:{_USER}{_HOST}{_PORT}{_PARAMETERS}"
_DISPLAY = rf"(?:{_QUOTED}[ ]?+|(?![ ])[A-Za-z0-9.!%*_+`'~ -]*+)"
# Those of RFC 5626, and one more; none can be said twice.
_CONTACT_PARAMETERS = (
    rf"(?:;[+]sip[.]instance={_QUOTED}|)(?:;reg-id=[0-9]++|)"
    rf"(?:;(?!reg-id=|tag=|[+]sip[.]instance=)[a-z.+-]++=(?:{_QUOTED}|{_WORD})|)"
)
# `<name>?` stands for: not if the group of that name was found before, since nothing may stand
# twice; `<name>!` for: only if it was found.
_PATTERN = rf"""
(?: (?P<method>[A-Z]{{2,20}}+)[ ](?P<uri>{_URI})[ ]SIP/2[.]0
  | (?P<status_line>SIP/2[.]0[ ][1-6][0-9][0-9][ ]{_TEXT})
)\r\n
(?:(?>
    Via:[ ](?:<via>?
      (?P<via>SIP/2[.]0/[A-Z]++[ ](?P<host>{_HOST})(?P<port>{_PORT})
        (?:;(?: branch=<branch>?(?P<branch>{_WORD})
              | rport<rport>?(?P<rport>(?:=[0-9]{{1,5}}+|))
              | received=<received>?(?P<received>[0-9.]++)
            )){{1,3}}
      )|<via>!<more>?(?P<more>{_TEXT}(?:\r\nVia:[ ]{_TEXT}){{0,8}}))\r\n
  | From:[ ]<from_>?(?P<from_>{_DISPLAY}<{_URI}>;tag=(?P<from_tag>{_WORD}))\r\n
  | To:[ ]<to>?(?P<to>{_DISPLAY}<{_URI}>(?:;tag=(?P<to_tag>{_WORD})|))\r\n
  | Call-ID:[ ]<call_id>?(?P<call_id>[!-~]++)\r\n
  | CSeq:[ ]<number>?(?P<number>[0-9]{{1,9}}+)[ ]
      (?(method)(?P=method)|(?P<verb>[A-Z]{{2,20}}+))\r\n
  | Contact:[ ]<contact>?(?P<contact>{_DISPLAY}<{_URI}>{_CONTACT_PARAMETERS}
      |sips?+:{_USER}{_HOST}{_PORT})\r\n
  | Record-Route:[ ]<routes>?(?P<routes>{_TEXT}(?:\r\nRecord-Route:[ ]{_TEXT}){{0,8}})\r\n
  | Content-Length:[ ]*+<length>?(?P<length>0|[1-9][0-9]{{0,4}}+)\r\n
  | Content-Type:[ ]<kind>?(?P<kind>{_WORD}/{_WORD})\r\n
  | Max-Forwards:[ ]<_1>?(?P<_1>)[0-9]{{1,2}}+\r\n
  | User-Agent:<_2>?(?P<_2>){_TEXT}\r\n
  | Allow:{_TEXT}\r\n
  | Supported:{_TEXT}\r\n
  | [BGHIJKLNOPQWXYZ][A-Za-z0-9-]{{2,}}+:{_TEXT}\r\n
  | Subject:<_3>?(?P<_3>){_TEXT}\r\n
  | Session-Expires:<_4>?(?P<_4>){_TEXT}\r\n
  | Date:<_5>?(?P<_5>){_TEXT}\r\n
  | Expires:[ ]<_6>?(?P<_6>)[0-9]{{1,9}}+\r\n
  | Content-Disposition:[ ]<_7>?(?P<_7>)session\r\n
  | Accept:[ ]application/sdp(?:,[ ]?+{_WORD}/{_WORD}){{0,8}}\r\n
  | (?=[ACDEFMRSTUV])(?!(?i:accept|call-id|contact|content-disposition|content-encoding
      |content-length|content-type|cseq|date|event|expires|from|max-forwards|min-expires
      |record-route|refer-to|require|route|session-expires|subject|to|user-agent|via):)
    [A-Z][A-Za-z0-9-]{{2,}}+:{_TEXT}\r\n
)){{6,100}}
\r\n
<via>!<branch>!<from_>!<to>!<call_id>!<number>!<length>!
"""


def _numbered(pattern: str) -> str:
    """Write out the conditions, which may name a group that comes later by its number only."""
    names = re.findall(r"\(\?P<(\w+)>", pattern)

    def condition(match: re.Match[str]) -> str:
        number = names.index(match[1]) + 1
        return f"(?({number})(?!))" if match[2] == "?" else f"(?({number})|(?!))"

    return re.sub(r"<(\w+)>([?!])", condition, pattern)


# Parameters of any name, of which none is said twice and no branch is empty.
_MANY = (
    r"(?:;(?!branch(?:[;\r]|$))(?P<name>[a-z][a-z0-9-]*+)(?:={value}|)"
    r"(?![^\r>]*;(?P=name)(?![a-z0-9-]))){{0,6}}"
)
_VIAS = rf"(?:^|\r\nVia:[ ])SIP/2[.]0/[A-Z]++[ ]{_HOST}{_PORT}" + _MANY.format(value=_WORD)
_ROUTES = (
    rf"(?:^|(?<=>)(?:,[ ]?+|\r\nRecord-Route:[ ]))<sips?+:{_USER}{_HOST}{_PORT}"
    + _MANY.format(value=r"[A-Za-z0-9_.!~*'()/:&+$-]++")
    + ">"
)
_match = re.compile(_numbered(_PATTERN), re.VERBOSE).match
_match_host = re.compile(rf"(?:{_DISPLAY}<|)sips?+:{_USER}({_HOST})").match
_match_vias = re.compile(f"(?:{_VIAS}){{1,9}}").fullmatch
_match_routes = re.compile(f"(?:{_ROUTES}){{1,16}}").fullmatch
_FIELDS = len(Shape._fields)
_new = tuple.__new__


def shape_of(data: bytes) -> tuple[Shape, int, int] | None:
    """Return the shape of a message, and where its body begins and ends.

    None when the message has no usual shape.
    """
    match = _match(data[:MAX_SHAPED_BYTES].decode("latin-1"))
    if match is None:
        return None
    shape = _new(Shape, match.groups()[:_FIELDS])
    begin, length = match.end(), int(shape.length)
    end = begin + length
    if end > len(data) or length > _MAX_BODY_BYTES:
        return None
    return shape, begin, end


def is_plain(shape: Shape) -> bool:
    """Tell whether all other Via and Record-Route are of the usual form, as nearly all are."""
    if shape.more is not None and _match_vias(shape.more) is None:
        return False
    return shape.routes is None or _match_routes(shape.routes) is not None
