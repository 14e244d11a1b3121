"""TLS for SIP: contexts with safe defaults, the name check of RFC 5922, and a TLS layer over bytes.

The layer is an `SSLObject` between two memory buffers, because asyncio's own TLS offers neither a
limit on handshakes in flight nor the certificate rules of SIP, and keeps 256 KiB per connection.
"""

from __future__ import annotations

import contextlib
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from voip.errors import TransportError
from voip.types import canonical_ip

__all__ = ["TlsLayer", "client_context", "server_context", "verified_name"]

logger = logging.getLogger(__name__)

_READ_BYTES = 65536


def client_context(
    *,
    ca_file: str | Path | None = None,
    certificate: str | Path | None = None,
    key: str | Path | None = None,
    dangerously_skip_certificate_checks: bool = False,
) -> ssl.SSLContext:
    """Return a context for connections that we open: TLS 1.2 or later, peers verified.

    Args:
        ca_file: PEM file with the authorities to trust; those of the system when absent.
        certificate: PEM file with our own certificate, for servers that ask for one.
        key: PEM file with its private key, when it is not in the same file.
        dangerously_skip_certificate_checks: accept any certificate of anybody.

    Raises:
        TransportError: a file is missing or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise TransportError(f"cannot load certificates from {ca_file}: {error}") from error
    # The name is checked by `verified_name`: a certificate names a SIP domain (RFC 5922 §7.1).
    context.check_hostname = False
    if dangerously_skip_certificate_checks:
        context.verify_mode = ssl.CERT_NONE
        logger.warning("TLS certificates are not checked: anybody can read and change these calls")
    return _harden(context, certificate, key)


def server_context(
    certificate: str | Path, key: str | Path | None = None, *, ca_file: str | Path | None = None
) -> ssl.SSLContext:
    """Return a context for connections that we accept.

    Args:
        certificate: PEM file with the certificate chain.
        key: PEM file with the private key, when it is not in the same file.
        ca_file: when given, clients must show a certificate of these authorities.

    Raises:
        TransportError: a file is missing, or certificate and key do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except OSError as error:
            raise TransportError(f"cannot load certificates from {ca_file}: {error}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return _harden(context, certificate, key)


def _harden(
    context: ssl.SSLContext, certificate: str | Path | None, key: str | Path | None
) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    if certificate is not None:
        try:
            context.load_cert_chain(str(certificate), None if key is None else str(key))
        except OSError as error:
            raise TransportError(f"cannot load the certificate {certificate}: {error}") from error
    return context


def _sip_domains(certificate: Mapping[str, Any]) -> list[str]:
    """Return the SIP domains that a certificate stands for, lower case (RFC 5922 §7.1)."""
    names: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())
    domains = []
    for kind, value in names:
        scheme, _, rest = value.partition(":")
        # §7.1: the URI must be a sip URI without userinfo; a certificate for a user is no domain's.
        if kind == "URI" and scheme.lower() == "sip" and "@" not in rest:
            domains.append(rest.partition(";")[0].partition("?")[0].partition(":")[0])
    if not domains:
        # §7.1: DNS names count only when there is no sip URI.
        domains = [value for kind, value in names if kind == "DNS"]
    # Deviation: the subject's common name is not looked at (RFC 9525 §2 retired it).
    return [domain.lower() for domain in domains if domain.isascii()]


def verified_name(certificate: Mapping[str, Any], domain: str) -> str:
    """Return the name in a verified certificate that equals a SIP domain or IP address.

    Args:
        certificate: what `getpeercert()` gave.
        domain: the SIP domain before any DNS expansion, or an IP literal.

    Raises:
        TransportError: no name does. Wildcards never do (RFC 5922 §7.2).
    """
    wanted = canonical_ip(domain)
    domains = _sip_domains(certificate)
    if wanted in domains:
        return wanted
    addresses = [
        canonical_ip(value.strip())
        for kind, value in certificate.get("subjectAltName", ())
        if kind == "IP Address"
    ]
    if wanted in addresses:
        return wanted
    names = ", ".join((domains + addresses)[:4]) or "nobody"
    raise TransportError(f"the certificate is for {names}, not for {domain}")


class TlsLayer:
    """One TLS connection over bytes: sans-IO, no clock.

    After every call, send what `outgoing()` gives.

    Args:
        context: from `client_context` or `server_context`.
        server_name: the SIP domain to be verified and named in SNI; "" on the accepting side.

    Raises:
        TransportError: the name cannot be put into a handshake.
    """

    def __init__(self, context: ssl.SSLContext, *, server_name: str = "") -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._server_name = server_name
        self._context = context
        self.established = False
        self.ended = False
        self.identity = ""
        server_side = context.protocol == ssl.PROTOCOL_TLS_SERVER
        try:
            self._object = context.wrap_bio(
                self._incoming,
                self._outgoing,
                server_side=server_side,
                server_hostname=None if server_side else (server_name or None),
            )
        except ValueError as error:  # UnicodeError is one
            raise TransportError(f"no TLS server name: {server_name!r}") from error

    def start(self) -> None:
        """Begin the handshake (the opening side has bytes to send then).

        Raises:
            TransportError: the handshake failed.
        """
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except (ssl.SSLError, ValueError) as error:
            raise TransportError(f"TLS handshake: {_words(error)}") from error
        self._verify()
        self.established = True

    def _verify(self) -> None:
        if self._context.verify_mode == ssl.CERT_NONE:
            return
        certificate = self._object.getpeercert() or {}
        if not self._object.server_side:
            self.identity = verified_name(certificate, self._server_name)
        else:  # a client that showed a certificate
            self.identity = next(iter(_sip_domains(certificate)), "")

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the wire and return what they say, `b""` while the handshake goes on.

        Raises:
            TransportError: the handshake failed, the name is wrong, or a record is corrupt.
        """
        self._incoming.write(data)
        if not self.established:
            self.start()
            if not self.established:
                return b""
        return self._read()

    def _read(self) -> bytes:
        pieces = []
        while not self.ended:
            try:
                piece = self._object.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                piece = b""
            except ssl.SSLError as error:
                raise TransportError(f"TLS: {_words(error)}") from error
            self.ended = not piece
            pieces.append(piece)
        return b"".join(pieces)

    def send(self, data: bytes) -> None:
        """Encrypt bytes; the memory buffer takes them whole.

        Raises:
            TransportError: the connection was ended or broke.
        """
        try:
            self._object.write(data)
        except ssl.SSLError as error:
            raise TransportError(f"TLS: {_words(error)}") from error

    def close(self) -> None:
        """Say good-bye (close_notify); the peer's is not waited for (RFC 8446 §6.1)."""
        if self.established:
            with contextlib.suppress(ssl.SSLError, ValueError):
                self._object.unwrap()

    def outgoing(self) -> bytes:
        """Return and forget what is to be sent."""
        return self._outgoing.read()


def _words(error: Exception) -> str:
    """Return the reason of an SSL error without its source line in C."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return str(error)
