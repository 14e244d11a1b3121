"""The lexical ground of SIP (RFC 3261 §25.1): tokens, numbers, quoted strings, parameters, lists.

Everything here reads bytes, is linear in their length (regular expressions use possessive
quantifiers only, so they cannot backtrack) and raises `ParseError` only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from voip.errors import ParseError

__all__ = [
    "MAX_COMMAS",
    "MAX_PARAMETERS",
    "MAX_URI_BYTES",
    "TOKEN",
    "check_value",
    "format_parameters",
    "is_token",
    "parse_parameters",
    "parse_uint",
    "quote",
    "quote_if_needed",
    "split_list",
    "text_of",
    "unquote",
]

MAX_COMMAS = 1024
MAX_PARAMETERS = 64
MAX_URI_BYTES = 2048

_ALPHANUMERIC = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
TOKEN = _ALPHANUMERIC + b"-.!%*_+`'~"

# What an unquoted parameter may hold here. RFC 3261 wants a token or a host; IPv6 addresses without
# brackets (RFC 5118 §4.5) and the odd characters of real branches are representable, so they pass.
_PLAIN_VALUE = TOKEN + b"[]:@/&$#()?^{}|"
_TOKEN_PARAMETERS = TOKEN + b";="

_PARAMETER = re.compile(
    rb";[ \t]*+([A-Za-z0-9.!%*_+`'~-]++)[ \t]*+"
    rb'(?:=[ \t]*+("[^"\\]*+(?:\\.[^"\\]*+)*+"|[^ \t;",<>=\\]*+(?:=[^ \t;",<>=\\]*+)*+)[ \t]*+)?',
    re.DOTALL,
)
_QUOTED_OR_COMMA = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|<[^<>"]*+>|[,"<]', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_CONTROLS = re.compile("[\x00-\x1f\x7f]")


def is_token(data: bytes) -> bool:
    """Tell whether `data` is a token (RFC 3261 §25.1), which is never empty."""
    return bool(data) and not data.translate(None, TOKEN)


def parse_uint(data: bytes, *, digits: int = 10, maximum: int = 2**32 - 1) -> int:
    """Return the value of `1*DIGIT` and nothing else: no sign, space, underscore or other script.

    Args:
        data: the digits; leading zeros count as digits.
        digits: how many are read at most, so that the cost is bounded.
        maximum: the greatest value that is allowed.

    Raises:
        ParseError: `data` is no such number.
    """
    # bytes.isdigit knows ASCII only, unlike str.isdigit.
    if not data.isdigit() or len(data) > digits:
        raise ParseError("not a decimal number", data)
    value = int(data)
    if value > maximum:
        raise ParseError("number out of range", data)
    return value


def text_of(data: bytes) -> str:
    """Return text to show, which may go on the wire again: `check_value` takes it.

    What is not UTF-8 is replaced, and so are the control characters that a message may legally hold
    (a tab by a space, those of quoted pairs by U+FFFD).
    """
    text = data.decode("utf-8", "replace")
    if text.isprintable():
        return text
    return _CONTROLS.sub("\ufffd", text.replace("\t", " "))


def check_value(text: str) -> bytes:
    """Return the UTF-8 of a value that may go on the wire.

    Raises:
        ValueError: it holds CR, LF, NUL or another control character, which would inject a header.
    """
    if _CONTROLS.search(text):
        raise ValueError(f"control character in {text[:64]!r}")
    return text.encode("utf-8")


def unquote(text: str) -> str:
    """Return what a quoted string says: quotes off, quoted pairs resolved once."""
    inner = text[1:-1]
    return _QUOTED_PAIR.sub(r"\1", inner) if "\\" in inner else inner


def quote(text: str) -> str:
    """Return `text` as a quoted string.

    Raises:
        ValueError: it holds a control character, which a quoted pair could carry to nobody's use.
    """
    check_value(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def quote_if_needed(text: str) -> str:
    """Return `text` bare when a parameter may hold it so, else as a quoted string."""
    if text and text.isascii() and not text.encode("ascii").translate(None, _PLAIN_VALUE):
        return text
    return quote(text)


def parse_parameters(tail: bytes) -> dict[str, str | None]:
    """Return the parameters of `;name=value;flag`, names in lower case, values unquoted.

    Raises:
        ParseError: an empty or repeated name (RFC 3261 §7.3.1: any name at most once), an unclosed
            quote, or more than 64 parameters.
    """
    if not tail:
        return {}
    # As many bytes as fit 64 parameters at most are common; only longer tails are counted.
    if len(tail) > 2 * MAX_PARAMETERS and tail.count(b";") > MAX_PARAMETERS:
        raise ParseError("too many parameters", tail)
    odd = tail.translate(None, _TOKEN_PARAMETERS)
    if odd and odd.translate(None, _PLAIN_VALUE):
        return _parse_odd_parameters(tail)
    if tail[0] != 59:
        raise ParseError("text before the parameters", tail)
    parameters: dict[str, str | None] = {}
    pieces = tail[1:].decode("ascii").split(";")
    for piece in pieces:
        name, equals, value = piece.partition("=")
        parameters[name.lower()] = value if equals else None
    if len(parameters) != len(pieces) or "" in parameters:
        raise ParseError("empty or repeated parameter", tail)
    if odd and not all(is_token(name.encode("ascii")) for name in parameters):
        raise ParseError("bad parameter name", tail)
    return parameters


def _parse_odd_parameters(tail: bytes) -> dict[str, str | None]:
    """Read parameters with white space, quoted strings or UTF-8 in them."""
    parameters: dict[str, str | None] = {}
    position = 0
    tail = tail.strip(b" \t")
    while position < len(tail):
        match = _PARAMETER.match(tail, position)
        if match is None:
            raise ParseError("bad parameter", tail[position:])
        name = match[1].decode("ascii").lower()
        if name in parameters:
            raise ParseError("repeated parameter", tail)
        value = match[2]
        if value is not None and value[:1] == b'"':
            parameters[name] = unquote(text_of(value))
        else:
            parameters[name] = None if value is None else text_of(value)
        position = match.end()
    return parameters


def format_parameters(parameters: Mapping[str, str | None]) -> str:
    """Return `;name=value;flag`, values quoted where they must be.

    Raises:
        ValueError: a name that is no token, or a control character in a value.
    """
    pieces = []
    for name, value in parameters.items():
        if not is_token(name.encode("utf-8")):
            raise ValueError(f"not a parameter name: {name[:64]!r}")
        pieces.append(f";{name}" if value is None else f";{name}={quote_if_needed(value)}")
    return "".join(pieces)


def split_list(value: bytes) -> list[bytes]:
    """Return the elements of a comma list, commas inside quotes and brackets respected.

    Raises:
        ParseError: an unclosed quote or bracket, an empty element, or more than 1,024 commas.
    """
    if b"," not in value:
        return [value]
    if value.count(b",") > MAX_COMMAS:
        raise ParseError("too many elements in a list", value)
    if b'"' not in value and b"<" not in value:
        pieces = [piece.strip(b" \t") for piece in value.split(b",")]
    else:
        pieces = []
        start = 0
        for match in _QUOTED_OR_COMMA.finditer(value):
            found = match[0]
            if found == b",":
                pieces.append(value[start : match.start()].strip(b" \t"))
                start = match.end()
            elif len(found) == 1:
                raise ParseError("unclosed quote or bracket", value)
        pieces.append(value[start:].strip(b" \t"))
    if not all(pieces):
        raise ParseError("empty element in a list", value)
    return pieces
