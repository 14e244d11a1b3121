"""Authorities and certificates made on the spot by openssl."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from peers.process import program

__all__ = ["Certificate", "make_authority", "make_certificate"]


@dataclass(frozen=True)
class Certificate:
    """A certificate (PEM) and its private key (PEM)."""

    certificate: Path
    key: Path


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def make_authority(folder: Path, name: str) -> Certificate:
    """Make an authority that vouches for itself."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", made.key, "-out", made.certificate),
    )
    return made


def make_certificate(
    folder: Path, authority: Certificate, *names: str, name: str = "server"
) -> Certificate:
    """Make a certificate for names like `DNS:localhost` or `IP:127.0.0.1`."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    # Both extensions are what Python 3.13 asks for by default (VERIFY_X509_STRICT).
    extensions.write_text(
        f"subjectAltName={','.join(names)}\n"
        "authorityKeyIdentifier=keyid\n"
        "keyUsage=critical,digitalSignature\n"
    )
    subject = names[0].partition(":")[2]
    _openssl("req", *_NEW_KEY, "-subj", f"/CN={subject}", "-keyout", made.key, "-out", request)
    _openssl(
        *("x509", "-req", "-in", request, "-days", "2", "-extfile", extensions),
        *("-CA", authority.certificate, "-CAkey", authority.key, "-CAcreateserial"),
        *("-out", made.certificate),
    )
    return made


def _openssl(*arguments: str | Path) -> None:
    command = [program("openssl", "openssl"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
