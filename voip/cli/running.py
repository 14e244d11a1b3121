"""What every command does around its work: run it, stop it by Ctrl-C, say errors in one line."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from voip import codecs
from voip.errors import (
    AuthenticationError,
    CallEnded,
    CallFailed,
    NegotiationError,
    ParseError,
    RegistrationError,
    TransportError,
    VoIPError,
)
from voip.sip.types import SipURI, TelURI, parse_uri
from voip.types import HostPort

__all__ = [
    "UsageError",
    "ask_password",
    "describe",
    "parse_aor",
    "parse_proxy",
    "parse_target",
    "run",
    "with_codec",
]

HD_AUDIO = ("opus", "g722")


class UsageError(VoIPError):
    """The command line asks for what cannot be."""


def run(main: Coroutine[Any, Any, int]) -> int:
    """Run a command and return its exit status; an error is one line on standard error.

    SIGINT and SIGTERM cancel the command, which ends its calls by BYE and unregisters on the way
    out; a second one cancels that too.
    """
    try:
        return asyncio.run(_interruptible(main))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except (VoIPError, OSError) as error:
        print(f"voip: error: {describe(error)}", file=sys.stderr)  # noqa: T201 - the command line
        return 2 if isinstance(error, UsageError) else 1


async def _interruptible(main: Coroutine[Any, Any, int]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        # Windows, and threads other than the first, have no such thing: KeyboardInterrupt does it
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, task.cancel)
    return await main


def describe(error: BaseException) -> str:
    """Return one line that says what went wrong, in the peer's own words where there are any."""
    if isinstance(error, RegistrationError):
        if error.answered:
            return f"the registrar refused: {error}"
        return f"cannot reach the registrar: {error.phrase}"
    if isinstance(error, CallFailed):
        return f"the call failed: {error}"
    if isinstance(error, CallEnded):
        return f"the call ended: {error}"
    if isinstance(error, AuthenticationError):
        return f"cannot authenticate: {error}"
    if isinstance(error, NegotiationError):
        return f"no common codec: {error}"
    if isinstance(error, ParseError):
        return f"bad address: {error}"
    if isinstance(error, TransportError):
        return str(error)
    return " ".join(str(error).split()) or type(error).__name__


def parse_aor(text: str) -> str:
    """Return an address of record; `USER@DOMAIN` gets its scheme.

    Raises:
        UsageError: it is none, or holds a password, which every user of this machine could read.
    """
    aor = text if text.partition(":")[0].lower() in ("sip", "sips") else f"sip:{text}"
    try:
        uri = SipURI.parse(aor)
    except ParseError as error:
        raise UsageError(f"bad address: {error}") from None
    if uri.password is not None:
        raise UsageError("a password on the command line is seen by everybody: set SIP_PASSWORD")
    if not uri.user:
        raise UsageError(f"bad address: no user in {text!r}, want sip:USER@DOMAIN")
    return aor


def parse_target(text: str, proxy: str | None) -> str:
    """Return a URI that can be dialled; `USER@HOST` gets its scheme.

    Raises:
        UsageError: it is none, or only a proxy could tell where it leads.
    """
    target = text if ":" in text.partition("@")[0] or "@" not in text else f"sip:{text}"
    try:
        uri = parse_uri(target)
    except ParseError as error:
        raise UsageError(f"bad address: {error}") from None
    if not isinstance(uri, SipURI) and (proxy is None or not isinstance(uri, TelURI)):
        raise UsageError(f"bad address: {text!r}, want sip:USER@HOST (tel: needs --proxy)")
    return target


def parse_proxy(text: str | None) -> HostPort | None:
    """Return HOST:PORT, [IPv6]:PORT or HOST as an address.

    Raises:
        UsageError: it is none.
    """
    if text is None:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, "5060"
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"bad proxy {text!r}, want HOST:PORT")
    return HostPort(host.strip("[]"), int(port))


def ask_password(aor: str) -> str:
    """Return the password from `SIP_PASSWORD`, or ask for it.

    Raises:
        UsageError: neither is possible.
    """
    password = os.environ.get("SIP_PASSWORD")
    if password is not None:
        return password
    if not sys.stdin.isatty():
        raise UsageError("no password: set SIP_PASSWORD, or run this on a terminal to be asked")
    return getpass.getpass(f"password for {aor}: ")


def with_codec(call_class: type[Any], name: str | None) -> type[Any]:
    """Return the class with one codec only, whatever its PREFERRED_CODECS say.

    Raises:
        UsageError: there is no such codec, or its extra is missing.
    """
    if name is None:
        return call_class
    try:
        codec = codecs.get(name.lower())
    except NotImplementedError as error:
        if name.lower() in HD_AUDIO:
            raise UsageError(
                f"codec {name.lower()} needs av: pip install 'voip[hd-audio]'"
            ) from None
        raise UsageError(str(error)) from None
    return type(call_class.__name__, (call_class,), {"PREFERRED_CODECS": [codec]})
