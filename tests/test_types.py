"""Addresses and serial numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.types import HostPort, canonical_ip, is_loopback, is_unspecified, unwrap


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (HostPort("192.0.2.1", 5060), "192.0.2.1:5060"),
        (HostPort("2001:db8::1", 5060), "[2001:db8::1]:5060"),
        (HostPort("sip.example.com", 5061), "sip.example.com:5061"),
    ],
)
def test_an_address_is_written_as_a_uri_writes_it(address, text):
    assert str(address) == text


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),  # mapped (RFC 4291 §2.5.5.2)
        ("64:ff9b::7f00:1", "127.0.0.1"),  # NAT64 (RFC 6052)
        ("2002:7f00:1::", "127.0.0.1"),  # 6to4 (RFC 3056)
        ("SIP.Example.COM", "sip.example.com"),
    ],
)
def test_an_address_has_one_spelling(host, canonical):
    assert canonical_ip(host) == canonical


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_seen_through_every_spelling(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "localhost", ""])
def test_what_is_no_loopback_literal_is_none(host):
    assert not is_loopback(host)


def test_unspecified_addresses_are_known():
    assert is_unspecified("0.0.0.0")
    assert is_unspecified("::")
    assert is_unspecified("[::]")
    assert not is_unspecified("127.0.0.1")
    assert not is_unspecified("example.com")


@pytest.mark.parametrize(
    ("value", "reference", "bits", "result"),
    [
        (0, 65535, 16, 65536),
        (65535, 65536, 16, 65535),
        (65535, 0, 16, -1),
        (5, 5, 16, 5),
        (0, 0xFFFFFFFF, 32, 1 << 32),
    ],
)
def test_a_wrapped_number_goes_on(value, reference, bits, result):
    assert unwrap(value, reference, bits) == result


@given(st.integers(0, 1 << 40), st.integers(-30000, 30000), st.sampled_from([16, 32]))
def test_unwrapping_undoes_the_wire(reference, step, bits):
    value = (reference + step) & ((1 << bits) - 1)
    assert unwrap(value, reference, bits) == reference + step
