from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sip.uri import OtherURI, SipURI, TelURI, parse_uri


def test_every_part_is_read():
    uri = SipURI.parse(
        "sips:alice:secret@atlanta.com:5061;transport=TCP;lr;x=%41?subject=project%20x&priority=urgent"
    )
    assert (uri.scheme, uri.user, uri.password) == ("sips", "alice", "secret")
    assert (uri.host, uri.port) == ("atlanta.com", 5061)
    assert uri.parameters == {"transport": "TCP", "lr": None, "x": "A"}
    assert uri.headers == (("subject", "project x"), ("priority", "urgent"))
    assert uri.secure
    assert uri.transport == "tcp"
    assert uri.aor == "sips:alice@atlanta.com"


def test_absent_parts_are_none():
    uri = SipURI.parse(b"sip:Example.COM")
    assert (uri.user, uri.password, uri.port, uri.transport) == (None, None, None, None)
    assert (uri.parameters, uri.headers) == ({}, ())
    assert not uri.secure
    assert uri.aor == "sip:example.com"


def test_text_is_kept_as_it_came():
    text = "sip:%61lice@Example.com;Transport=udp"
    uri = SipURI.parse(text)
    assert str(uri) == text
    assert uri.raw_user == "%61lice"
    assert uri.user == "alice"


def test_a_repr_tells_no_number_and_no_password():
    uri = SipURI.parse("sip:+4930123456:secret@Example.com;transport=udp")
    assert repr(uri) == "SipURI('sip:*******3456@Example.com')"


def test_user_is_decoded_once_and_never_written_back():
    uri = SipURI.parse("sip:a%0d%0aVia%2541@example.com")
    assert uri.user == "a\r\nVia%41"
    assert "\r" not in str(uri)
    assert uri.aor == "sip:a%0d%0aVia%2541@example.com"


def test_address_literals():
    uri = SipURI.parse("sip:bob@[2001:db8::10]:5070")
    assert (uri.host, uri.port) == ("2001:db8::10", 5070)
    assert uri.aor == "sip:bob@[2001:db8::10]"
    assert SipURI.parse("sip:[2001:db8::10:5070]").port is None
    assert SipURI.parse("sip:bob@192.0.2.4").host == "192.0.2.4"


def test_number_sign_of_real_phones_is_taken():
    assert SipURI.parse("sip:*#06#@example.com").user == "*#06#"


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "sip:",
            "sip:@",
            "sip:@x",
            "sip:a@",
            "http://x",
            "sip:a b@x",
            "sip:a@x y",
            "<sip:a@x>",
        ),
        *("sip:a@x;;lr", "sip:a@x;", "sip:a@x;lr;LR=1", "sip:a@x?", "sip:a@x:0", "sip:a@x:65536"),
        *("sip:a@x:", "sip:a@x:5_0", "sip:a@x:-1", "sip:2001:db8::10", "sip:[1:2]", "sip:[::g]"),
        *(
            "sip:a%4@x",
            "sip:a%zz@x",
            "sip:é@x",
            "sip:a@x,b",
            'sip:"a"@x',
            "sip:a@b@c",
            "sip:a\x00@x",
        ),
        *("sip:" + "a" * 2048 + "@x", "sip:a@x" + ";p" * 65, "sip:a@x;=y", "sip:a:b:c@x"),
    ],
)
def test_what_is_no_sip_uri_is_refused(text):
    with pytest.raises(ParseError):
        SipURI.parse(text)


def test_bytes_that_are_not_ascii_are_refused():
    with pytest.raises(ParseError):
        parse_uri(b"sip:\xe9@x")


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_any_user_can_be_built_and_is_read_again(user):
    uri = SipURI.build(user, "example.com")
    again = SipURI.parse(str(uri))
    # No user part at all and an empty one cannot be told apart on the wire.
    assert (again.user or "") == user
    assert again.host == "example.com"
    assert again.parameters == {}
    assert again.headers == ()


def test_form_field_can_add_no_second_part():
    uri = SipURI.build("5551;transport=tcp?Route=x@evil\r\n", "example.com", 5060)
    assert uri.host == "example.com"
    assert uri.parameters == {}
    assert uri.headers == ()
    assert "\r" not in str(uri)


def test_build_takes_ports_parameters_and_literals():
    uri = SipURI.build("bob", "::1", 5070, scheme="sips", parameters={"lr": None, "x": "a;b"})
    assert str(uri) == "sips:bob@[::1]:5070;lr;x=a%3Bb"
    assert uri.parameters["x"] == "a;b"
    assert str(SipURI.build(None, "[::1]")) == "sip:[::1]"


def test_a_parameter_may_say_the_same_twice_as_baresip_does():
    text = "sip:echo@127.0.0.1:5061;transport=tls;Transport=tls;lr;lr"
    uri = SipURI.parse(text)
    assert uri.parameters == {"transport": "tls", "lr": None}
    assert str(uri) == text


@pytest.mark.parametrize("host", ["", "a b", "a;b", "a@b", "a\r\nb", "a/b"])
def test_build_refuses_a_host_that_is_none(host):
    with pytest.raises(ValueError):
        SipURI.build("bob", host)


def test_parameters_and_headers_are_replaced_in_copies():
    uri = SipURI.parse("sip:a@x;lr;b=1?h=v")
    assert str(uri.with_parameters(b="2", c=None)) == "sip:a@x;lr;b=2;c?h=v"
    assert str(uri.with_headers([])) == "sip:a@x;lr;b=1"
    bare = SipURI.parse("sip:a@x")
    assert str(bare.with_parameters(transport="tcp")) == "sip:a@x;transport=tcp"
    changed = bare.with_headers([("Replaces", "a@b;to-tag=1&x")])
    assert changed.headers == (("Replaces", "a@b;to-tag=1&x"),)


# RFC 3261 §19.1.4, its own examples.
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("sip:a%3bb@x", "sip:a%3Bb@x"),
    ],
)
def test_uris_that_match(one, other):
    assert SipURI.parse(one).matches(SipURI.parse(other))
    assert SipURI.parse(other).matches(SipURI.parse(one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@x", "sips:a@x"),
        ("sip:a:b@x", "sip:a:c@x"),
        ("sip:a;b@x", "sip:a%3Bb@x"),
    ],
)
def test_uris_that_do_not_match(one, other):
    assert not SipURI.parse(one).matches(SipURI.parse(other))


def test_other_kinds_never_match():
    assert not SipURI.parse("sip:a@x").matches(TelURI("tel:+1"))


def test_equality_is_that_of_the_text():
    assert SipURI.parse("sip:a@x") == SipURI.parse(b"sip:a@x")
    assert SipURI.parse("sip:a@x") != SipURI.parse("sip:A@x")
    assert SipURI.parse("sip:a@x") != "sip:a@x"
    assert len({SipURI.parse("sip:a@x"), SipURI.parse("sip:a@x")}) == 1


def test_tel_uri():
    uri = parse_uri("tel:+1-201-555-0123;Phone-Context=example.com;ext=5")
    assert isinstance(uri, TelURI)
    assert (uri.number, uri.user, uri.host) == ("+12015550123", "+12015550123", "")
    assert uri.parameters == {"phone-context": "example.com", "ext": "5"}
    assert uri.scheme == "tel"


@pytest.mark.parametrize(
    "text", ["tel:", "tel:+", "tel:--", "tel:abcxyz", "tel:1 2", "tel:1;a=1;a=2"]
)
def test_bad_tel_uri_is_refused(text):
    with pytest.raises(ParseError):
        parse_uri(text)


def test_other_schemes_are_kept_opaque():
    uri = parse_uri("soap.beep://192.0.2.103:3002")
    assert isinstance(uri, OtherURI)
    assert (uri.scheme, uri.opaque) == ("soap.beep", "//192.0.2.103:3002")
    assert str(parse_uri(b"ISBN:2983792873")) == "ISBN:2983792873"
    assert str(OtherURI("", "*")) == "*"


@pytest.mark.parametrize("text", ["", ":", "1a:b", "nothing", "a:<b>", "a: b", "é:b"])
def test_what_is_no_uri_is_refused(text):
    with pytest.raises(ParseError):
        parse_uri(text)


@pytest.mark.parametrize("text", ["SIP:a@x", "sips:a@x", "Sips:a@x"])
def test_scheme_has_no_case(text):
    uri = parse_uri(text)
    assert isinstance(uri, SipURI)
    assert uri.scheme == text.partition(":")[0].lower()


@given(st.binary(max_size=120) | st.from_regex(rb"sips?:[ -~]{0,60}", fullmatch=True))
def test_any_bytes_are_a_uri_or_refused(data):
    try:
        uri = parse_uri(data)
    except ParseError:
        return
    assert str(uri).encode() == data
    assert parse_uri(str(uri)) == uri
    if isinstance(uri, SipURI):
        assert uri.matches(uri)
