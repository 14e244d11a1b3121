from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voip.errors import ParseError
from voip.sip.auth import (
    Challenge,
    Credentials,
    Identity,
    Secret,
    answer,
    compute_ha1,
    compute_response,
    parse_authentication,
    verify,
)
from voip.sip.types import DigestAlgorithm, DigestQoP

MD5, SHA_256 = DigestAlgorithm.MD5, DigestAlgorithm.SHA_256
RFC_7616 = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256,'
    ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",'
    ' opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
MUFASA = Identity("Mufasa", Secret("Circle of Life"))
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


def challenge(text: str) -> Challenge:
    (only,) = Challenge.parse([text])
    return only


# Vectors


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_rfc_7616_section_3_9_1(algorithm: str, response: str):
    asked = challenge(RFC_7616.replace("SHA-256", algorithm))
    given = answer(asked, MUFASA, method="GET", uri="/dir/index.html", cnonce=CNONCE)
    assert given is not None
    assert given.response == response
    assert given.opaque == "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"


def test_rfc_7616_section_3_9_2_with_erratum_4897():
    asked = challenge(
        'Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256,'
        ' nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",'
        ' opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true'
    )
    cnonce = "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    user = Identity("J\u00e4s\u00f8n Doe", Secret("Secret, or not?"))
    given = answer(asked, user, method="GET", uri="/doe.json", cnonce=cnonce)
    assert given is not None
    # The RFC prints the first 256 bits of SHA-512 (shown below), which is not SHA-512/256.
    assert given.response == "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"

    def cut(text: str) -> str:
        return hashlib.sha512(text.encode()).hexdigest()[:64]

    ha1, ha2 = cut("J\u00e4s\u00f8n Doe:api@example.org:Secret, or not?"), cut("GET:/doe.json")
    printed = cut(f"{ha1}:{asked.nonce}:00000001:{cnonce}:auth:{ha2}")
    assert printed == "ae66e67d6b427bd3f120414a82e4acff38e8ecd9101d6c861229025f607a79dd"


def test_rfc_2617_section_3_5():
    asked = challenge(
        'Digest realm="testrealm@host.com", qop="auth,auth-int",'
        ' nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    user = Identity("Mufasa", Secret("Circle Of Life"))
    given = answer(asked, user, method="GET", uri="/dir/index.html", cnonce="0a4f113b")
    assert given is not None
    assert given.response == "6629fae49393a05397450978507c4ef1"


def test_rfc_2069_section_2_4_with_its_erratum():
    asked = challenge(
        'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",'
        ' opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    user = Identity("Mufasa", Secret("CircleOfLife"))
    given = answer(asked, user, method="GET", uri="/dir/index.html", cnonce="unused")
    assert given is not None
    assert given.response == "1949323746fe6a43ef61f9606e7febea"
    assert "cnonce" not in str(given)
    assert "nc=" not in str(given)


def test_sha_256_of_rfc_8760_is_that_of_hashlib():
    asked = challenge('Digest realm="atlanta.example.com",nonce="n",algorithm=SHA-256,qop="auth"')
    user = Identity("bob", Secret("zanzibar"))
    given = answer(
        asked, user, method="REGISTER", uri="sip:atlanta.example.com", cnonce="c", count=2
    )

    def sha(text: str) -> str:
        return hashlib.sha256(text.encode()).hexdigest()

    ha1, ha2 = sha("bob:atlanta.example.com:zanzibar"), sha("REGISTER:sip:atlanta.example.com")
    assert given is not None
    assert given.response == sha(f"{ha1}:n:00000002:c:auth:{ha2}")


# The matrix: six algorithms, with qop auth, auth-int, both, none


@pytest.mark.parametrize("qop", ["", ',qop="auth"', ',qop="auth-int"', ',qop="auth-int,auth"'])
@pytest.mark.parametrize("algorithm", list(DigestAlgorithm))
def test_what_is_answered_verifies_and_nothing_else_does(algorithm: DigestAlgorithm, qop: str):
    asked = challenge(f'Digest realm="r",nonce="n",opaque="o",algorithm={algorithm}{qop}')
    user = Identity("alice", Secret("secret"))
    body = b"v=0\r\n"
    given = answer(
        asked, user, method="INVITE", uri="sip:b@r", cnonce="c\u00f6", count=255, body=body
    )
    assert given is not None
    assert given.qop is (
        None if not qop else DigestQoP.AUTH_INT if 'auth-int"' in qop else DigestQoP.AUTH
    )
    read = Credentials.parse(str(given).encode())
    assert read == given
    ha1 = compute_ha1("alice", "r", "secret", algorithm)
    assert verify(read, ha1, method="INVITE", body=body)
    assert not verify(
        read, compute_ha1("alice", "r", "wrong", algorithm), method="INVITE", body=body
    )
    assert not verify(read, ha1, method="BYE", body=body)
    signed = given.qop is DigestQoP.AUTH_INT
    assert verify(read, ha1, method="INVITE", body=b"other") is not signed


def test_hashes_stand_for_a_password():
    held = {SHA_256: Secret(compute_ha1("alice", "r", "secret", SHA_256).upper())}
    user = Identity("alice", hashes=held)
    for name in (SHA_256, DigestAlgorithm.SHA_256_SESS):
        asked = challenge(f'Digest realm="r",nonce="n",algorithm={name},qop="auth"')
        given = answer(asked, user, method="BYE", uri="sip:b@r", cnonce="c")
        by_password = Identity("alice", Secret("secret"))
        assert given == answer(asked, by_password, method="BYE", uri="sip:b@r", cnonce="c")
    asked = challenge('Digest realm="r",nonce="n",qop="auth"')
    assert answer(asked, user, method="BYE", uri="sip:b@r", cnonce="c") is None


@pytest.mark.parametrize("tail", ["algorithm=AKAv1-MD5", 'qop="auth-conf"', 'qop=""'])
def test_an_unknown_algorithm_or_quality_is_not_answered(tail: str):
    asked = challenge(f'Digest realm="r",nonce="n",{tail}')
    assert not asked.answerable
    assert answer(asked, MUFASA, method="GET", uri="/", cnonce="c") is None


def test_a_forged_response_of_odd_text_does_not_verify():
    odd = Credentials("u", "r", "n", "sip:r", "\u0131\ud800")
    assert not verify(odd, "00", method="GET")


def test_the_response_covers_the_nonce_count():
    one = Credentials("u", "r", "n", "sip:r", "", SHA_256, "c", None, DigestQoP.AUTH, 1)
    two = Credentials("u", "r", "n", "sip:r", "", SHA_256, "c", None, DigestQoP.AUTH, 2)
    assert compute_response(one, "00", method="M") != compute_response(two, "00", method="M")


# Grammar


def test_reads_several_challenges_of_one_line():
    line = b'Basic realm="x", Digest realm="a, b",nonce="1" , qop="auth" ,Digest realm="c",nonce="2",stale=TRUE'
    first, second = Challenge.parse([line])
    assert (first.realm, first.nonce, first.qop, first.stale) == (
        "a, b",
        "1",
        (DigestQoP.AUTH,),
        False,
    )
    assert (second.realm, second.stale, second.legacy) == ("c", True, True)
    assert [scheme for scheme, _ in parse_authentication(line)] == ["Basic", "Digest", "Digest"]


def test_names_and_schemes_have_no_case():
    asked = challenge('dIGEST REALM="r", Nonce="n", ALGORITHM="sha-256", QOP=AUTH')
    assert asked.algorithm is SHA_256
    assert asked.qop == (DigestQoP.AUTH,)


def test_quoted_pairs_stay_as_they_are():
    asked = challenge(r'Digest realm="a\"b\\",nonce="n"')
    assert asked.realm == r"a\"b\\"
    given = answer(asked, MUFASA, method="GET", uri="/", cnonce="c")
    assert r'realm="a\"b\\"' in str(given)


@pytest.mark.parametrize(
    "line", ["Digest", "Bearer abc.def=", "", " ", "NTLM TlRM=", "Digest nonce=1"]
)
def test_what_is_no_whole_digest_challenge_is_left_out(line: str):
    assert Challenge.parse([line]) == []


@pytest.mark.parametrize(
    "line",
    [
        b'Digest realm="a',
        b'Digest realm="a" nonce="b"',
        b'Digest realm="a",realm="b",nonce="c"',
        b'Digest realm="a\x00",nonce="c"',
        b'Digest realm="a\x7f",nonce="c"',
        b'Digest realm="\xff",nonce="c"',
        b'Digest realm="a",,nonce',
        b'Digest realm=a;b,nonce="c"',
        b"Digest " + b",".join(b"p%d=1" % n for n in range(33)),
        b'Digest realm="' + b"a" * 8192 + b'"',
        b", ".join([b'Digest realm="a"'] * 17),
    ],
)
def test_refuses_malformed_lines(line: bytes):
    with pytest.raises(ParseError):
        Challenge.parse([line])


def test_refuses_too_many_challenges_over_several_lines():
    with pytest.raises(ParseError):
        Challenge.parse(['Digest realm="a",nonce="b"'] * 17)


GOOD = 'Digest username="u", realm="r", nonce="n", uri="sip:r", response="00"'


@pytest.mark.parametrize(
    "tail",
    [
        ", algorithm=MD4",
        ", qop=auth-conf, nc=00000001, cnonce=c",
        ", qop=auth, nc=00000001",
        ', qop=auth, nc=00000001, cnonce=""',
        ", qop=auth, cnonce=c",
        ", qop=auth, nc=1, cnonce=c",
        ", qop=auth, nc=0000000g, cnonce=c",
        ", qop=auth, nc=000000001, cnonce=c",
        ', qop=auth, nc="-0000001", cnonce=c',
        ", Digest realm=x",
    ],
)
def test_refuses_malformed_credentials(tail: str):
    assert Credentials.parse(GOOD) is not None
    with pytest.raises(ParseError):
        Credentials.parse(GOOD + tail)


@pytest.mark.parametrize("name", ["username", "realm", "nonce", "uri", "response"])
def test_credentials_need_every_mandatory_parameter(name: str):
    with pytest.raises(ParseError, match=name):
        Credentials.parse(GOOD.replace(name, "x-" + name))


def test_credentials_of_another_scheme_are_none():
    assert Credentials.parse('NoOneKnowsThisScheme opaque-data="x", realm="r"') is None
    assert Credentials.parse("Basic dTpw") is None


def test_a_missing_algorithm_is_md5():
    read = Credentials.parse(GOOD)
    assert read is not None
    assert read.algorithm is None
    response = compute_response(read, "00", method="M")
    named = Credentials.parse(GOOD + ", algorithm=MD5")
    assert named is not None
    assert response == compute_response(named, "00", method="M")


_TEXT = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters='"\\'), max_size=20
)


@given(
    realm=_TEXT,
    nonce=_TEXT,
    opaque=st.none() | _TEXT,
    algorithm=st.sampled_from(DigestAlgorithm),
    qop=st.sampled_from([(), (DigestQoP.AUTH,), (DigestQoP.AUTH, DigestQoP.AUTH_INT)]),
    stale=st.booleans(),
)
def test_a_challenge_reads_back(realm, nonce, opaque, algorithm, qop, stale):
    made = Challenge("Digest", realm, nonce, algorithm, qop, opaque, stale, legacy=not qop)
    assert Challenge.parse([str(made)]) == [made]


def test_a_challenge_of_an_unknown_algorithm_is_written_without_it():
    assert "algorithm" not in str(Challenge("Digest", "r", "n", None))


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            [b"Digest ", b'"', b"=", b",", b"a", b" ", b"\\", b"\xff", b"realm=", b"\x00"]
        ),
        max_size=30,
    )
)
def test_any_bytes_parse_or_are_refused(parts: list[bytes]):
    data = b"".join(parts)
    for reader in (parse_authentication, Credentials.parse):
        with contextlib.suppress(ParseError):
            reader(data)


def test_a_value_with_line_ends_is_never_written():
    with pytest.raises(ValueError, match="control character"):
        str(Credentials("u\r\nX: y", "r", "n", "sip:r", "00"))


def test_credentials_show_no_response():
    given = Credentials("u", "r", "n", "sip:r", "0123456789abcdef")
    assert "0123456789abcdef" not in repr(given)
