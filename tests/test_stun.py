from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.stun import (
    BINDING,
    ERROR,
    ERROR_CODE,
    INDICATION,
    MAPPED_ADDRESS,
    MESSAGE_INTEGRITY,
    REQUEST,
    SUCCESS,
    USERNAME,
    XOR_MAPPED_ADDRESS,
    StunClient,
    StunFailed,
    StunMapped,
    StunMessage,
)
from voip.types import HostPort

# RFC 5769
PASSWORD = b"VOkJxbRl1RmTxUk/WvJxBt"
VECTORS = {
    "2.1": "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf",
    "2.2": "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7"
    "80280004c07d4c96",
    "2.3": "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf1"
    "1784c97c8292c275bfe3ed4180280004c8fb0b4c",
    "2.4": "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383"
    "e382afe382b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679"
    "363473410014000b6578616d706c652e6f72670000080014f67024656dd64a3e02b8e071"
    "2e85c9a28ca89666",
}
WIRES = {name: bytes.fromhex(wire) for name, wire in VECTORS.items()}


@pytest.mark.parametrize("name", ["2.1", "2.2", "2.3"])
def test_vectors_of_rfc_5769_are_genuine(name):
    message = StunMessage.parse(WIRES[name])
    assert message.has_integrity(PASSWORD)
    assert message.has_fingerprint()
    assert not message.has_integrity(PASSWORD + b"x")


def test_the_long_term_vector_is_genuine():
    message = StunMessage.parse(WIRES["2.4"])
    name = "マトリックス"
    assert message.get(USERNAME) == name.encode()
    key = hashlib.md5(f"{name}:example.org:TheMatrIX".encode()).digest()
    assert message.has_integrity(key)
    assert not message.has_fingerprint()


def test_vectors_say_what_the_rfc_says():
    request = StunMessage.parse(WIRES["2.1"])
    assert (request.method, request.kind) == (BINDING, REQUEST)
    assert request.get(USERNAME) == b"evtj:h6vY"
    assert request.mapped is None
    assert StunMessage.parse(WIRES["2.2"]).mapped == HostPort("192.0.2.1", 32853)
    assert StunMessage.parse(WIRES["2.3"]).mapped == HostPort(
        "2001:db8:1234:5678:11:2233:4455:6677", 32853
    )
    assert StunMessage.parse(WIRES["2.3"]).kind == SUCCESS


@pytest.mark.parametrize("name", ["2.1", "2.2", "2.3"])
@pytest.mark.parametrize("at", [4, 21, 30, 60])
def test_one_changed_bit_is_noticed(name, at):
    wire = bytearray(WIRES[name])
    wire[at] ^= 1
    try:
        message = StunMessage.parse(bytes(wire))
    except ParseError:
        return
    assert not message.has_integrity(PASSWORD)
    assert not message.has_fingerprint()


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_what_is_built_is_read_as_the_same(host):
    made = StunMessage(BINDING, SUCCESS, bytes(range(12)))
    made.add_mapped(HostPort(host, 32853))
    made.attributes.append((0x8022, b"five!"))
    made.add_integrity(b"key")
    made.add_fingerprint()
    found = StunMessage.parse(bytes(made))
    assert found == made
    assert found.mapped == HostPort(host, 32853)
    assert found.has_integrity(b"key")
    assert found.has_fingerprint()


def test_the_first_vector_can_be_built_but_for_its_padding():
    made = StunMessage(BINDING, SUCCESS, WIRES["2.3"][8:20], [(0x8022, b"test vector")])
    made.add_mapped(HostPort("2001:db8:1234:5678:11:2233:4455:6677", 32853))
    # The RFC pads with a blank where we pad with zero (§14: the value does not matter).
    assert bytes(made)[36:] == WIRES["2.3"][36:60]


def test_integrity_and_fingerprint_that_are_missing_or_misplaced():
    bare = StunMessage.parse(bytes(StunMessage(BINDING, REQUEST, bytes(12))))
    assert not bare.has_integrity(b"")
    assert not bare.has_fingerprint()
    made = StunMessage(BINDING, REQUEST, bytes(12))
    made.add_fingerprint()
    made.attributes.append((0x8022, b"later"))
    assert not StunMessage.parse(bytes(made)).has_fingerprint()
    short = StunMessage(BINDING, REQUEST, bytes(12), [(MESSAGE_INTEGRITY, b"1234")])
    assert not StunMessage.parse(bytes(short)).has_integrity(b"")


@pytest.mark.parametrize(("method", "kind"), [(1, 0), (1, 1), (1, 2), (1, 3), (0xFFF, 3), (3, 2)])
def test_method_and_class_are_woven_into_the_type(method, kind):
    found = StunMessage.parse(bytes(StunMessage(method, kind, bytes(12))))
    assert (found.method, found.kind) == (method, kind)


HEAD = bytes.fromhex("010100082112a442") + bytes(12)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        HEAD[:19],
        HEAD + b"\0\x20\0\x08" + bytes(8),  # longer than it says
        HEAD + b"\0\x20\0\x08" + bytes(4),  # an attribute of eight bytes in four
        HEAD + b"\0\x20\xff\xff" + bytes(4),
        b"\x81" + HEAD[1:] + bytes(8),
        HEAD[:4] + bytes(16) + bytes(8),  # no magic cookie
        bytes.fromhex("010100062112a442") + bytes(12) + bytes(6),
        bytes.fromhex("010101082112a442") + bytes(12) + bytes(4) * 66,  # 33 attributes
    ],
)
def test_lengths_that_lie_are_refused(data):
    with pytest.raises(ParseError):
        StunMessage.parse(data)


@pytest.mark.parametrize("value", ["", "0001", "0003a147e112a643", "0001a147e112a64300000000"])
def test_addresses_that_make_no_sense_are_none(value):
    message = StunMessage(BINDING, SUCCESS, bytes(12), [(XOR_MAPPED_ADDRESS, bytes.fromhex(value))])
    assert message.mapped is None


def test_a_port_of_zero_is_no_address():
    assert StunMessage(1, 2, bytes(12), [(0x20, bytes.fromhex("00012112e112a643"))]).mapped is None


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_read_or_refused(data, framed):
    if framed:
        data = data[: len(data) // 4 * 4]
        data = b"\1\1" + len(data).to_bytes(2, "big") + b"\x21\x12\xa4\x42" + bytes(12) + data
    try:
        message = StunMessage.parse(data)
    except ParseError:
        return
    _ = message.mapped, message.error, message.unknown(), message.has_fingerprint()
    assert not message.has_integrity(b"k")
    assert StunMessage.parse(bytes(message)) == message


# The client

SERVER = HostPort("198.51.100.1", 3478)
MINE = HostPort("203.0.113.5", 40000)


def client(**more):
    return StunClient(SERVER, random.Random(7).randbytes, **more)


def response(request, kind=SUCCESS, attributes=(), address=MINE):
    made = StunMessage(BINDING, kind, StunMessage.parse(request).transaction_id)
    if address is not None:
        made.add_mapped(address)
    made.attributes.extend(attributes)
    return made


def run(one, until=100.0):
    """Advance through all deadlines; return when requests left."""
    times = [0.0] * len(one.outgoing())
    while (due := one.deadline()) is not None and due.at <= until:
        one.advance(due.at)
        times += [due.at] * len(one.outgoing())
    return times


def test_learns_its_public_address():
    one = client()
    one.start(0)
    [request] = one.outgoing()
    assert StunMessage.parse(request).has_fingerprint()
    answer = response(request)
    answer.add_fingerprint()
    one.receive(bytes(answer), SERVER, 0.03)
    assert one.events() == [StunMapped(MINE)]
    assert one.events() == []
    assert one.mapped == MINE
    assert one.deadline() is None


def test_asks_seven_times_and_gives_up():
    one = client()
    one.start(0)
    assert run(one) == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert one.events() == [StunFailed("no answer")]


def test_gives_up_sooner_when_told_and_not_before_its_time():
    one = client(requests=2)
    one.start(0)
    one.advance(0.4)
    assert run(one) == [0, 0.5]
    one.advance(1000)
    assert one.events() == [StunFailed("no answer")]


def test_repeats_the_same_request_and_a_new_start_draws_a_new_id():
    one = client()
    one.start(0)
    one.advance(0.5)
    first, second = one.outgoing()
    assert first == second
    one.start(1)
    assert one.outgoing() != [first]


@pytest.mark.parametrize(
    ("spoil", "counter"),
    [
        (lambda answer: setattr(answer, "transaction_id", bytes(12)), "stun_forged"),
        (lambda answer: setattr(answer, "method", 3), "stun_forged"),
        (lambda answer: setattr(answer, "kind", REQUEST), "stun_forged"),
        (lambda answer: setattr(answer, "kind", INDICATION), "stun_forged"),
        (lambda answer: answer.attributes.append((0x8028, b"abcd")), "stun_fingerprint"),
    ],
)
def test_forged_responses_are_ignored(spoil, counter):
    one = client()
    one.start(0)
    answer = response(one.outgoing()[0])
    spoil(answer)
    one.receive(bytes(answer), SERVER, 0.1)
    assert one.counters[counter] == 1
    assert (one.events(), one.mapped) == ([], None)
    assert one.deadline() is not None


def test_responses_from_elsewhere_are_ignored():
    one = client()
    one.start(0)
    answer = bytes(response(one.outgoing()[0]))
    for addr in (("198.51.100.2", 3478), ("198.51.100.1", 3479)):
        one.receive(answer, addr, 0.1)
    assert one.counters["stun_forged"] == 2
    one.receive(answer, ("::ffff:198.51.100.1", 3478), 0.1)
    assert one.mapped == MINE


def test_malformed_and_unexpected_responses_are_counted():
    one = client()
    one.receive(b"", SERVER, 0)
    one.start(0)
    one.receive(b"garbage", SERVER, 0)
    assert one.counters == {"stun_unexpected": 1, "stun_malformed": 1}


def test_a_plain_mapped_address_is_not_believed():
    one = client()
    one.start(0)
    plain = (MAPPED_ADDRESS, bytes.fromhex("00019c40cb007105"))
    one.receive(bytes(response(one.outgoing()[0], attributes=[plain], address=None)), SERVER, 0)
    assert one.events() == [StunFailed("no XOR-MAPPED-ADDRESS")]


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ([(ERROR_CODE, b"\x00\x00\x04\x14Unknown")], "420 Unknown"),
        ([(ERROR_CODE, b"\x00")], "0 no ERROR-CODE"),
        ([], "0 no ERROR-CODE"),
    ],
)
def test_an_error_response_ends_it(attributes, reason):
    one = client()
    one.start(0)
    one.receive(bytes(response(one.outgoing()[0], ERROR, attributes)), SERVER, 0)
    assert one.events() == [StunFailed(reason)]


def test_a_response_that_asks_for_more_than_we_know_ends_it():
    one = client()
    one.start(0)
    answer = response(one.outgoing()[0], attributes=[(0x7777, b""), (0x8777, b"")])
    one.receive(bytes(answer), SERVER, 0)
    assert one.events() == [StunFailed("unknown attribute 0x7777")]
