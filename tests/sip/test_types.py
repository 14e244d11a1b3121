from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sip.types import CallerID, CSeq, NameAddress, SipURI, TelURI, Via

printable = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)


def test_cseq_is_number_and_method():
    assert CSeq.parse(b"4711 INVITE") == (4711, "INVITE")
    assert CSeq.parse(b"0009\t INVITE") == CSeq(9, "INVITE")
    assert CSeq.parse(b"1   RE%47IST%45R") == CSeq(1, "RE%47IST%45R")
    assert CSeq.parse(b"2147483647 BYE").number == 2**31 - 1
    assert str(CSeq(1, "ACK")) == "1 ACK"


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"1", b"INVITE", b"1 ", b" INVITE", b"-1 INVITE", b"2147483648 INVITE", b"1 A B"),
        *(
            b"36893488147419103232 REGISTER",
            b"1_0 ACK",
            b"+1 ACK",
            b"1 \xff",
            b"1;2 ACK",
            b"1 IN,ITE",
        ),
    ],
)
def test_bad_cseq_is_400(value):
    with pytest.raises(ParseError) as caught:
        CSeq.parse(value)
    assert caught.value.status == 400


def test_name_address_with_quoted_name():
    address = NameAddress.parse(b'"Bell, \\"A\\" <x>" <sip:a.g.bell@example.com;lr>;tag=43;Foo=bar')
    assert address.display_name == 'Bell, "A" <x>'
    assert str(address.uri) == "sip:a.g.bell@example.com;lr"
    assert address.tag == "43"
    assert address.parameters == {"tag": "43", "foo": "bar"}


def test_name_address_forms():
    assert NameAddress.parse("Alice Example <sip:a@x>").display_name == "Alice Example"
    assert NameAddress.parse("caller<sip:a@x>").display_name == "caller"
    assert NameAddress.parse("<sip:a@x>").display_name == ""
    assert NameAddress.parse("Zoë <sip:a@x>".encode()).display_name == "Zoë"
    assert NameAddress.parse(b"<sip:a@x>").tag is None
    bare = NameAddress.parse(b" sip:a@x ;   tag    = 1 ")
    assert (str(bare.uri), bare.tag) == ("sip:a@x", "1")
    assert isinstance(NameAddress.parse("<tel:+123>").uri, TelURI)
    assert str(NameAddress.parse(b"*")) == "*"


@pytest.mark.parametrize(
    "value",
    [
        *(
            b"",
            b'"Mr. Watson <sip:w@x>',
            b"< sip:w@x>",
            b"<sip:w@x >",
            b"Bell, A <sip:b@x>",
            b"<sip:a@x",
        ),
        *(
            b"sip:a@x>",
            b"<sip:a@x>;;",
            b"<sip:a@x> junk",
            b"<<sip:a@x>>",
            b"sip:a@x?h=v",
            b"sip:a@x,b",
        ),
        *(b"<>", b"<sip:a@x>;tag=", b"<sip:a@x>;tag", b"<sip:a@x>;tag=a;tag=b", b'"a"b <sip:a@x>'),
        *(b"a@b <sip:a@x>", b"a b", b"<sip:a@x>, <sip:b@x>", b'"a" "b" <sip:a@x>'),
    ],
)
def test_bad_address_is_refused(value):
    with pytest.raises(ParseError):
        NameAddress.parse(value)


def test_uri_of_an_address_is_read_when_it_is_asked_for():
    address = NameAddress.parse(b"<sip:2001:db8::1>;tag=1")
    assert address.tag == "1"
    with pytest.raises(ParseError):
        _ = address.uri


def test_control_characters_of_a_quoted_pair_are_not_shown_and_not_repeated():
    address = NameAddress.parse(b'"BEL:\\\x07 NUL:\\\x00" <sip:a@x>')
    assert address.display_name == "BEL: NUL:"
    assert str(address) == '"BEL: NUL:" <sip:a@x>'


@given(printable, st.none() | st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True))
def test_address_that_is_written_is_read_again(name, tag):
    address = NameAddress(SipURI("sip:a@x"), name, {} if tag is None else {"tag": tag})
    again = NameAddress.parse(str(address))
    assert again.display_name == name.strip(" ")
    assert again.tag == tag
    assert str(again.uri) == "sip:a@x"


def test_address_refuses_to_inject():
    with pytest.raises(ValueError):
        NameAddress("sip:a@x", "Eve\r\nContact: <sip:evil>")
    with pytest.raises(ValueError):
        NameAddress("sip:a@x>\r\n")
    with pytest.raises(ValueError):
        str(NameAddress("sip:a@x", parameters={"x": "a\nb"}))


def test_tag_is_replaced_in_a_copy():
    address = NameAddress.parse(b'"A" <sip:a@x>;tag=1;q=2')
    assert str(address.with_tag("9")) == '"A" <sip:a@x>;tag=9;q=2'
    assert address.with_tag(None).tag is None
    assert address.with_tag(None).uri == address.uri
    assert address.tag == "1"
    assert NameAddress.parse(b"<sip:a@x>").with_tag(None).tag is None


def test_addresses_compare_by_what_they_say():
    one, other = (
        NameAddress.parse(b"sip:a@x;tag=1"),
        NameAddress("sip:a@x", parameters={"tag": "1"}),
    )
    assert one == other
    assert len({one, other}) == 1
    assert one != "sip:a@x"
    assert repr(one) == "NameAddress(SipURI('sip:*@x'))"


def test_via_parts():
    via = Via.parse(b"SIP/2.0/udp pc33.Atlanta.com:5066;branch=z9hG4bK776;rport;received=192.0.2.1")
    assert (via.transport, via.host, via.port) == ("UDP", "pc33.Atlanta.com", 5066)
    assert via.branch == "z9hG4bK776"
    assert via.received == "192.0.2.1"
    assert via.rport is None
    assert via.wants_rport
    assert via.sent_by == "pc33.atlanta.com:5066"
    assert repr(via).startswith("Via('SIP/2.0/UDP pc33")


def test_via_with_the_usual_parameters():
    plain = Via.parse("SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK1")
    assert plain.parameters == {"branch": "z9hG4bK1"}
    assert (plain.port, plain.received, plain.rport, plain.wants_rport) == (None, None, None, False)
    asking = Via.parse("SIP/2.0/TLS 192.0.2.1:5061;branch=z9hG4bK1;rport")
    assert asking.parameters == {"branch": "z9hG4bK1", "rport": None}
    told = Via.parse("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport=5066;received=192.0.2.44")
    assert told.parameters == {"branch": "z9hG4bK1", "rport": "5066", "received": "192.0.2.44"}
    assert (told.rport, told.received) == (5066, "192.0.2.44")


def test_via_with_white_space_and_none_of_the_usual():
    via = Via.parse(b"SIP  / 2.0  / UNKNOWN\t [::1] : 5066 ; Branch = z9 ; x")
    assert (via.transport, via.host, via.port) == ("UNKNOWN", "::1", 5066)
    assert via.parameters == {"branch": "z9", "x": None}
    assert via.sent_by == "[::1]:5066"
    assert str(via) == "SIP/2.0/UNKNOWN [::1]:5066;branch=z9;x"


@pytest.mark.parametrize("value", ["[2001:db8::9]", "2001:db8::9"])
def test_received_has_no_brackets(value):
    assert Via.parse(f"SIP/2.0/UDP [::1];received={value}").received == "2001:db8::9"


@pytest.mark.parametrize("value", ["x", "99999", "5_0", "é"])
def test_bad_rport_is_none(value):
    assert Via.parse(f"SIP/2.0/UDP a;rport={value}").rport is None


@pytest.mark.parametrize(
    "value",
    [
        *("", "SIP/2.0/UDP", "SIP/2.0/UDP ", "SIP/7.0/UDP a", "HTTP/2.0/UDP a", "SIP/2.0 a", "a"),
        *(
            "SIP/2.0/UDP a:0",
            "SIP/2.0/UDP a:65536",
            "SIP/2.0/UDP a:x",
            "SIP/2.0/UDP a;branch=",
        ),
        *("SIP/2.0/UDP a;branch", "SIP/2.0/UDP a;;", "SIP/2.0/UDP a;branch=1;branch=2"),
        *("SIP/2.0/UDP a b", "SIP/2.0/U(P a", "SIP/2.0/UDP é", "SIP/2.0/UDP a:99999999999"),
        "SIP/2.0/UDP a;branch=1;rport;branch=2",
    ],
)
def test_bad_via_is_refused(value):
    with pytest.raises(ParseError):
        Via.parse(value)


def test_via_is_made_and_compared():
    via = Via("tls", "::1", 5061, {"branch": "z9hG4bKabc", "rport": None})
    assert str(via) == "SIP/2.0/TLS [::1]:5061;branch=z9hG4bKabc;rport"
    assert Via.parse(str(via)) == via
    assert hash(Via.parse(str(via))) == hash(via)
    assert via != str(via)
    assert Via("UDP", "a").sent_by == "a"
    assert str(Via("UDP", "a")) == "SIP/2.0/UDP a"
    assert Via("UDP", "a").branch is None


@given(st.binary(max_size=120))
def test_any_bytes_are_read_or_refused(data):
    for read in (NameAddress.parse, Via.parse, CSeq.parse):
        try:
            value = read(data)
        except ParseError:
            continue
        assert read(str(value).encode()) == value


def test_caller_is_a_str_with_parts():
    caller = CallerID('"Alice" <sip:+4930123456@example.com>;tag=8f3a')
    assert caller == '"Alice" <sip:+4930123456@example.com>;tag=8f3a'
    assert (caller.user, caller.host) == ("+4930123456", "example.com")
    assert (caller.display_name, caller.tag) == ("Alice", "8f3a")


def test_caller_is_masked_where_it_may_be_logged():
    caller = CallerID('"Alice" <sip:+4930123456@example.com>;tag=8f3a')
    assert repr(caller) == "*******3456@example.com"
    assert f"{caller!r}" == caller.masked
    assert repr(CallerID("sip:alice@example.com")) == "*lice@example.com"
    assert repr(CallerID("08001234567")) == "*******4567"
    assert repr(CallerID("tel:+49-30-123456")) == "*******3456"
    assert repr(CallerID("sip:a%0d%0a1@x")) == "a??1@x"


def test_caller_may_be_anything():
    number = CallerID.parse(b"08001234567")
    assert (number.user, number.host, number.display_name, number.tag) == (
        "08001234567",
        "",
        "",
        None,
    )
    assert CallerID.parse("<sip:x@h>").user == "x"
    assert CallerID("<sip:h>").user == ""
    assert CallerID("<isbn:123>").user == ""
    assert CallerID("<sip:a:b:c@h>").user == "<sip:a:b:c@h>"


def test_an_address_that_cannot_be_read_still_has_a_repr():
    assert repr(NameAddress.parse(b"<sip:\xe2\x80\xa9@192.0.2.1>")) == "NameAddress(<malformed>)"
