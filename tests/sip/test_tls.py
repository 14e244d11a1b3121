"""TLS as SIP wants it: the name rules of RFC 5922 and safe defaults, without a socket."""

from __future__ import annotations

import logging
import ssl

import certificates
import pytest

from voip.errors import TransportError
from voip.sip.tls import TlsLayer, client_context, server_context, verified_name


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificates.Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return certificates.Authority(tmp_path_factory.mktemp("other"), "other authority")


def pair(server, client, domain):
    """Return both ends of a connection, before the handshake."""
    return TlsLayer(server), TlsLayer(client, server_name=domain)


def shake_hands(server, client):
    """Carry bytes until both are silent; return what the client and the server said."""
    client.start()
    heard = [b"", b""]
    while True:
        to_server, to_client = client.outgoing(), server.outgoing()
        if not to_server and not to_client:
            return heard
        if to_server:
            heard[1] += server.receive(to_server)
        if to_client:
            heard[0] += client.receive(to_client)


def connected(authority, *names, domain="example.com", **options):
    server, client = pair(
        server_context(authority.issue(*names)), client_context(ca_file=authority.file), domain
    )
    shake_hands(server, client)
    return server, client


def test_what_is_written_is_read_on_the_other_side(authority):
    server, client = connected(authority, "example.com")
    assert server.established
    assert client.established
    client.send(b"INVITE" * 20_000)
    assert server.receive(client.outgoing()) == b"INVITE" * 20_000
    server.send(b"100")
    assert client.receive(server.outgoing()) == b"100"


def test_bytes_may_come_one_by_one(authority):
    server, client = connected(authority, "example.com")
    client.send(b"hello")
    heard = b"".join(server.receive(bytes([byte])) for byte in client.outgoing())
    assert heard == b"hello"


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (["example.com"], "example.com"),
        (["EXAMPLE.com"], "example.COM"),
        (["sip:example.com"], "example.com"),
        (["sip:example.com:5061;transport=tls", "sip1.example.com"], "example.com"),
        (["sip1.example.com", "192.0.2.1"], "192.0.2.1"),
        (["2001:db8::1"], "2001:0db8::1"),
    ],
)
def test_the_name_is_the_sip_domain(authority, names, domain):
    _, client = connected(authority, *names, domain=domain)
    assert client.identity


@pytest.mark.parametrize(
    ("names", "domain"),
    [
        (["example.org"], "example.com"),
        (["*.example.com"], "sip.example.com"),  # RFC 5922 §7.2: no wildcards
        (["sip:example.org", "example.com"], "example.com"),  # §7.1: a sip URI rules DNS names out
        (["sip:alice@example.com"], "example.com"),  # a user's, not the domain's
        (["sips:example.com"], "example.com"),
        (["192.0.2.2"], "192.0.2.1"),
        ([], "example.com"),
        ([], "somebody"),  # the common name counts for nothing
    ],
)
def test_another_name_is_refused_before_anything_is_sent(authority, names, domain):
    server, client = pair(
        server_context(authority.issue(*names)), client_context(ca_file=authority.file), domain
    )
    with pytest.raises(TransportError, match="certificate is for"):
        shake_hands(server, client)
    assert not client.established


def test_a_client_that_names_no_domain_trusts_nobody(authority):
    server, client = pair(
        server_context(authority.issue("example.com")), client_context(ca_file=authority.file), ""
    )
    with pytest.raises(TransportError, match="certificate is for"):
        shake_hands(server, client)


def test_names_that_only_look_alike_are_refused():
    certificate = {"subjectAltName": (("DNS", "\u212aelvin.com"),)}
    with pytest.raises(TransportError, match="nobody"):
        verified_name(certificate, "kelvin.com")


def test_an_unknown_authority_is_refused(authority, stranger):
    server, client = pair(
        server_context(stranger.issue("example.com")),
        client_context(ca_file=authority.file),
        "example.com",
    )
    with pytest.raises(TransportError, match="certificate refused"):
        shake_hands(server, client)


def test_an_expired_certificate_is_refused(authority):
    server, client = pair(
        server_context(authority.issue("example.com", days=-1)),
        client_context(ca_file=authority.file),
        "example.com",
    )
    with pytest.raises(TransportError, match="expired"):
        shake_hands(server, client)


def test_the_dangerous_option_takes_anything_names_nobody_and_warns(stranger, caplog):
    with caplog.at_level(logging.WARNING):
        context = client_context(dangerously_skip_certificate_checks=True)
    assert "not checked" in caplog.text
    server, client = pair(server_context(stranger.issue("wrong.test")), context, "example.com")
    shake_hands(server, client)
    assert client.established
    assert client.identity == ""


def test_a_server_may_ask_clients_for_a_certificate(authority):
    server, client = pair(
        server_context(authority.issue("example.com"), ca_file=authority.file),
        client_context(ca_file=authority.file, certificate=authority.issue("sip:trunk.test")),
        "example.com",
    )
    shake_hands(server, client)
    assert server.identity == "trunk.test"


def test_a_client_without_the_certificate_that_is_asked_for_is_refused(authority):
    server, client = pair(
        server_context(authority.issue("example.com"), ca_file=authority.file),
        client_context(ca_file=authority.file),
        "example.com",
    )
    with pytest.raises(TransportError):
        shake_hands(server, client)


def test_old_protocols_are_off(authority):
    for context in (client_context(), server_context(authority.issue("example.com"))):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.options & ssl.OP_NO_RENEGOTIATION


def test_the_end_is_seen_on_the_other_side(authority):
    server, client = connected(authority, "example.com")
    client.send(b"last words")
    client.close()
    assert server.receive(client.outgoing()) == b"last words"
    assert server.ended
    client.close()


def test_nothing_is_sent_after_the_end(authority):
    _, client = connected(authority, "example.com")
    client.close()
    with pytest.raises(TransportError):
        client.send(b"more")


def test_closing_before_the_handshake_does_nothing(authority):
    client = TlsLayer(client_context(), server_name="example.com")
    client.close()
    assert client.outgoing() == b""


def test_a_stream_that_is_no_tls_is_refused(authority):
    server = TlsLayer(server_context(authority.issue("example.com")))
    with pytest.raises(TransportError, match="TLS handshake"):
        server.receive(b"OPTIONS sip:me SIP/2.0\r\n\r\n")


def test_a_corrupt_record_is_refused(authority):
    server, client = connected(authority, "example.com")
    client.send(b"hello")
    record = bytearray(client.outgoing())
    record[-1] ^= 1
    with pytest.raises(TransportError, match="TLS:"):
        server.receive(bytes(record))


@pytest.mark.parametrize("name", ["x" * 300, ".example.com"])
def test_a_name_that_fits_no_handshake_is_refused(name):
    with pytest.raises(TransportError, match="server name"):
        TlsLayer(client_context(), server_name=name)


def test_missing_files_have_words(authority, tmp_path):
    with pytest.raises(TransportError, match="cannot load certificates"):
        client_context(ca_file=tmp_path / "none.pem")
    with pytest.raises(TransportError, match="cannot load the certificate"):
        server_context(tmp_path / "none.pem")
    with pytest.raises(TransportError, match="cannot load certificates"):
        server_context(authority.issue("example.com"), ca_file=tmp_path / "none.pem")
    with pytest.raises(TransportError, match="cannot load the certificate"):
        client_context(certificate=authority.file, key=authority.file)
