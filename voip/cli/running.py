"""What every command does around its work: its account, Ctrl-C, and errors in one line."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import ipaddress
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from voip import codecs
from voip.cli.messages import describe, reason_of
from voip.cli.output import Output, complain
from voip.errors import ParseError, VoIPError
from voip.sip.protocol import SessionInitiationProtocol
from voip.sip.types import SipURI, TelURI, parse_uri
from voip.types import HostPort

__all__ = [
    "CommandSession",
    "SessionOptions",
    "UsageError",
    "ask_password",
    "need_pem",
    "open_session",
    "parse_aor",
    "parse_host",
    "parse_proxy",
    "parse_target",
    "run",
    "serving",
    "with_codec",
]

HD_AUDIO = ("opus", "g722")

PATIENCE_SECS = 2.0
"""How long a registrar, or the answer to a BYE, may take before we say what we wait for."""

INTERRUPTED = 130
"""Exit status of what Ctrl-C ended before it came to its end (128 + SIGINT, as shells have it)."""

# A PEM file is a few kilobytes; whatever is longer is something else.
_PEM_BYTES = 1 << 20


class UsageError(VoIPError):
    """The command line asks for what cannot be."""


# Running


def run(command: Callable[[], Coroutine[Any, Any, int]], output: Output | None = None) -> int:
    """Run a command and return its exit status; an error is one line on standard error.

    SIGINT, SIGTERM, the end of the terminal, and output that cannot be written cancel the command,
    which ends its calls by BYE and unregisters on the way out; a second one cancels that too.

    Args:
        command: begins it; what it checks and asks for comes before there is an event loop.
        output: what it says.
    """
    output = output or Output()
    try:
        status = asyncio.run(_interruptible(command(), output))
    except (KeyboardInterrupt, asyncio.CancelledError):
        status = INTERRUPTED
    except (VoIPError, OSError) as error:
        complain(describe(error))
        return 2 if isinstance(error, UsageError) else 1
    return status if output.lost is None else _unread(output.lost)


async def _interruptible(main: Coroutine[Any, Any, int], output: Output) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    output.stop = task.cancel
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is None:
            continue  # Windows
        # `nohup` means it; what a shell's `&` ignores is the keyboard, not who sends SIGINT.
        if name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
            continue
        # Windows, and threads other than the first, have no such thing: KeyboardInterrupt does it
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, task.cancel)
    return await main


def _unread(lost: OSError) -> int:
    """Return the exit status of a command whose output had nowhere to go."""
    if not isinstance(lost, BrokenPipeError):  # `voip … | head` is nobody's mistake
        complain(f"cannot write what happens: {reason_of(lost)}")
    with contextlib.suppress(OSError, ValueError, AttributeError):
        # What is still buffered would fail once more when Python ends, and be complained about.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


# The session


@dataclass(slots=True, kw_only=True)
class SessionOptions:
    """What every command line may ask for.

    Attributes:
        aor: the account; None for none.
        host: IP address, or name of this machine, to listen on.
        port: port to listen on; 0 for any.
        proxy: HOST:PORT where every request of the account goes.
        codec: name of the only codec; None for the preferred ones.
        tls_ca: PEM file with those who may vouch for a SIP domain; the system's when absent.
        dangerously_skip_certificate_checks: take any certificate.
    """

    aor: str | None = None
    host: str = "0.0.0.0"  # noqa: S104 - the way to the far end decides
    port: int = 0
    proxy: str | None = None
    codec: str | None = None
    tls_ca: Path | None = None
    dangerously_skip_certificate_checks: bool = False

    @property
    def serve(self) -> dict[str, Any]:
        """What `serve` takes.

        Raises:
            UsageError: the host is none of this machine.
        """
        return {"host": parse_host(self.host), "port": self.port}


class CommandSession(SessionInitiationProtocol):
    """Says what becomes of its registration: the first success, and a loss after it."""

    output: Output | None = None
    known: bool = False
    """Whether the registrar has us. Refreshes are not told, nor what ends the command anyway."""

    def registered(self) -> None:
        """Say that we are."""
        known, self.known = self.known, True
        if not known and self.output is not None:
            self.output.say(f"registered {self.aor}", "green")

    def registration_failed(self, error: Exception) -> None:
        """Say why we are not."""
        known, self.known = self.known, False
        if known and self.output is not None:
            self.output.say(f"not registered any more: {describe(error)}", "red")


class _Verbose(CommandSession):
    """Shows every SIP message."""

    def request_received(self, request: Any) -> None:
        super().request_received(request)
        if self.output is not None:
            self.output.message(request, outgoing=False)

    def response_received(self, response: Any) -> None:
        super().response_received(response)
        if self.output is not None:
            self.output.message(response, outgoing=False)

    def message_sent(self, message: Any) -> None:
        super().message_sent(message)
        if self.output is not None:
            self.output.message(message, outgoing=True)


SessionT = TypeVar("SessionT", bound=CommandSession)


def open_session(
    kind: type[SessionT], options: SessionOptions, output: Output, **fields: Any
) -> SessionT:
    """Return a session as the options want it; asks for the password of an account.

    Args:
        kind: its class.
        options: the command line.
        output: what the command says.
        **fields: further fields of the session.

    Raises:
        UsageError: the options ask for what cannot be.
    """
    proxy = parse_proxy(options.proxy)
    need_pem("--tls-ca", options.tls_ca, "CERTIFICATE")
    if options.aor is not None:
        aor = parse_aor(options.aor)
        fields |= {"aor": aor, "password": ask_password(aor), "outbound_proxy": proxy}
    elif proxy is not None:
        raise UsageError("a proxy serves an account: --proxy needs one, sip:USER@DOMAIN")
    if output.verbosity:  # only here: a session without these hooks keeps no messages for them
        kind = type(f"Verbose{kind.__name__}", (_Verbose, kind), {})
    return kind(
        output=output,
        tls_ca=options.tls_ca,
        dangerously_skip_certificate_checks=options.dangerously_skip_certificate_checks,
        **fields,
    )


@contextlib.asynccontextmanager
async def serving(
    session: CommandSession, output: Output, serve: dict[str, Any]
) -> AsyncIterator[None]:
    """Serve; where the registrar or the end of a call takes long, say what is waited for."""
    later = asyncio.get_running_loop().call_later
    notice = None
    if session.aor is not None:
        notice = later(PATIENCE_SECS, output.say, "waiting for the registrar")
    try:
        async with session.serve(**serve):
            if notice is not None:
                notice.cancel()
            try:
                yield
            finally:
                words = "waiting for the far end to say goodbye, Ctrl-C leaves at once"
                notice = later(PATIENCE_SECS, output.say, words)
    finally:
        if notice is not None:
            notice.cancel()


# Reading the command line


def need_pem(option: str, path: Path | None, what: str) -> None:
    """Check that a file is there and holds `what` in PEM form, before anything is opened.

    Raises:
        UsageError: it is not, or does not.
    """
    if path is None:
        return
    try:
        with path.open("rb") as file:
            found = file.read(_PEM_BYTES)
    except OSError as error:
        raise UsageError(f"{option} {path}: {reason_of(error)}") from None
    if re.search(rb"-----BEGIN [A-Z ]*" + what.encode(), found) is None:
        raise UsageError(f"{option} {path}: there is no {what.lower()} in it (PEM)")


def parse_host(text: str) -> str:
    """Return the IP address to listen on; a name is looked up.

    Raises:
        UsageError: there is no such name.
    """
    host = text.strip("[]")
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    found = []
    if not host.rpartition(".")[2].isdecimal():  # the C library reads 10.1 as an address
        with contextlib.suppress(OSError, UnicodeError):
            found = socket.getaddrinfo(host or "-", None, type=socket.SOCK_DGRAM)
    if not found:
        raise UsageError(f"bad host {text!r}, want an IP address of this machine")
    # The sessions of a description name IP addresses; phones know IPv4 sooner than IPv6.
    families = {family: str(address[0]) for family, _, _, _, address in reversed(found)}
    return families.get(socket.AF_INET) or next(iter(families.values()))


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


def parse_target(text: str, account: str | None) -> str:
    """Return a URI that can be dialled; `USER@HOST` gets its scheme.

    Raises:
        UsageError: it is none, or only an account's provider could tell where it leads.
    """
    target = text if ":" in text.partition("@")[0] or "@" not in text else f"sip:{text}"
    try:
        uri = parse_uri(target)
    except ParseError as error:
        raise UsageError(f"bad address: {error}, want sip:USER@HOST") from None
    if isinstance(uri, TelURI) and account is None:
        raise UsageError(f"bad address: {text!r}, a telephone number needs --account")
    if not isinstance(uri, SipURI | TelURI):
        raise UsageError(f"bad address: {text!r}, want sip:USER@HOST")
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
    try:
        return getpass.getpass(f"password for {aor}: ")
    except (EOFError, KeyboardInterrupt) as left:
        sys.stderr.write("\n")  # the line of the prompt is not finished yet
        if isinstance(left, KeyboardInterrupt):
            raise
        raise UsageError("no password given") from None


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
            missing = f"codec {name.lower()} needs av: pip install 'voip[hd-audio]'"
            raise UsageError(missing) from None
        raise UsageError(str(error)) from None
    return type(call_class.__name__, (call_class,), {"PREFERRED_CODECS": [codec]})
