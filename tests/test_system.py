"""What is known of UDP without a socket: words, families, ICMP errors (real ones: interop)."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from voip.errors import TransportError
from voip.system import bound, is_in_use, socket_family, unreachable, words


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EADDRINUSE, "[Errno 98] error while …"), "the port is in use"),
        (OSError(errno.ECONNREFUSED, "Connect call failed"), "connection refused"),
        (OSError("something else"), "something else"),
        (socket.gaierror(-2, "Name or service not known"), "[Errno -2] Name or service not known"),
    ],
)
def test_errors_have_words(error, text):
    assert words(error) == text


def test_the_family_of_a_literal():
    assert socket_family("192.0.2.1") == socket.AF_INET
    assert socket_family("::1") == socket.AF_INET6


def test_only_a_taken_port_is_in_use():
    def failed(number):
        error = TransportError("x")
        error.__cause__ = OSError(number, "")
        return error

    assert is_in_use(failed(errno.EADDRINUSE))
    assert is_in_use(failed(errno.EACCES))
    assert not is_in_use(failed(errno.EADDRNOTAVAIL))
    assert not is_in_use(TransportError("x"))


def extended_error(number, origin):
    return struct.pack("=IBBBBII", number, origin, 3, 3, 0, 0, 0)


@pytest.mark.parametrize(
    ("ancillary", "number"),
    [
        ([(0, 11, extended_error(errno.ECONNREFUSED, 2))], errno.ECONNREFUSED),
        ([(41, 25, extended_error(errno.EHOSTUNREACH, 3))], errno.EHOSTUNREACH),
        ([(0, 11, extended_error(errno.EMSGSIZE, 2))], None),  # a path that takes less at once
        ([(0, 11, extended_error(errno.ECONNREFUSED, 1))], None),  # our own kernel's
        ([(0, 11, b"short")], None),
        ([(0, 99, extended_error(errno.ECONNREFUSED, 2))], None),
        ([], None),
    ],
)
def test_what_an_extended_error_means(ancillary, number):
    assert unreachable(ancillary) == number


def test_a_process_that_has_no_sockets_left_says_so():
    def full(family, kind):
        raise OSError(errno.EMFILE, "Too many open files")

    with pytest.raises(
        TransportError, match=r"UDP 192\.0\.2\.1:5000: too many open files"
    ) as caught:
        bound(full, "192.0.2.1", 5000)
    assert not is_in_use(caught.value)
