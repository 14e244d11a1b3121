"""RFC 4475 and RFC 5118: every message, with the outcome that its index gives it."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from voip.errors import ParseError
from voip.sdp.messages import SessionDescription
from voip.sip.messages import Message, Request, Response
from voip.sip.types import SipURI
from voip.sip.validation import validate, validate_response

DATA = Path(__file__).parents[1] / "data"
ALLOW = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS")
INDEX = list(
    csv.DictReader(
        (DATA / "rfc4475" / "INDEX.tsv").read_text(encoding="utf-8").splitlines(),
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
    )
)
REQUESTS = [row for row in INDEX if row["kind"] == "request"]
RESPONSES = [row for row in INDEX if row["kind"] == "response"]
# These never reach the parser of a stream as one whole message: the framer ends the connection.
UNFRAMED = {"clerr.dat", "baddn.dat", "ncl.dat", "mcl01.dat", "inv2543.dat", "dblreq.dat"}
IPV6_FINE = """
    ipv6-good port-unambiguous via-received-param-no-delim via-received-param-with-delim ipv6-in-sdp
    mult-ip-in-header mult-ip-in-sdp ipv4-mapped-ipv6 ipv6-correct-abnf-2-colons port-ambiguous
""".split()  # noqa: SIM905


def load(name, folder="rfc4475"):
    return (DATA / folder / name).read_bytes()


def request(name, folder="rfc4475", stream=False):
    message = Message.parse(load(name, folder), stream=stream)
    assert isinstance(message, Request)
    return message


def verdict(message, transport="UDP", allow=ALLOW):
    found = validate(message, transport=transport, allow=allow)
    return None if found is None else found.status


def owed(outcome):
    """Return what the validator owes by a column of the index; None: it is for the endpoint."""
    word = outcome.split()[0].rstrip(",")
    status = int(word) if word.isdigit() else None
    return None if status in (180, 200, 481) else status


def test_all_messages_are_here_byte_for_byte():
    assert len(INDEX) == 49
    for row in INDEX:
        data = load(row["file"])
        assert (len(data), hashlib.sha256(data).hexdigest()) == (int(row["bytes"]), row["sha256"])


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: row["file"])
def test_request_gets_what_it_is_owed_over_udp(row):
    message = request(row["file"])
    assert verdict(message) == owed(row["ua_udp"])
    # Whatever it is, the answer can be made, and read again.
    answer = Message.parse(bytes(message.respond(400, to_tag="a6c85cf")))
    assert isinstance(answer, Response)
    assert answer.status_code == 400
    assert answer.flaw is None


@pytest.mark.parametrize("row", REQUESTS, ids=lambda row: row["file"])
def test_request_gets_what_it_is_owed_over_tcp(row):
    if row["file"] in UNFRAMED:
        assert row["ua_tcp"] != row["ua_udp"] or row["file"] in ("inv2543.dat", "baddn.dat")
        return
    message = request(row["file"], stream=True)
    assert verdict(message, "TCP") == owed(row["ua_tcp"].removeprefix("as longreq, "))


@pytest.mark.parametrize("row", RESPONSES, ids=lambda row: row["file"])
def test_response_is_dropped_when_it_is_wrong(row):
    if row["file"] == "bigcode.dat":
        with pytest.raises(ParseError) as caught:
            Message.parse(load(row["file"]))
        assert caught.value.status is None
        return
    message = Message.parse(load(row["file"]))
    assert isinstance(message, Response)
    assert (validate_response(message) is None) == (row["expected"] == "accept")


@pytest.mark.parametrize("name", ["ncl.dat", "mcl01.dat", "inv2543.dat"])
def test_doubtful_length_is_400_on_a_stream(name):
    assert verdict(request(name, stream=True), "TCP") == 400


def test_message_is_415_once_its_method_is_served():
    message = request("mpart01.dat")
    found = validate(message, transport="UDP", allow=("MESSAGE",))
    assert found is not None
    assert found.status == 415
    assert found.headers == (("Accept", "application/sdp"),)
    assert isinstance(message.body, bytes)
    assert b"\x82" in message.body


def test_unterminated_and_terminated_bad_display_name_are_both_400():
    assert request("baddn.dat").flaw == "the headers do not end"
    terminated = request("baddn_terminated.dat")
    assert terminated.flaw is None
    assert verdict(terminated) == 400


def test_wsinv_means_what_its_note_says():
    message = request("wsinv.dat")
    assert message.cseq == (9, "INVITE")
    assert message.max_forwards == 68
    assert message.to.tag == "1918181833n"
    assert message.from_.display_name == 'J Rosenberg \\"'
    assert [via.transport for via in message.vias] == ["UDP", "TCP", "UDP"]
    assert [via.branch for via in message.vias] == [
        "390skdjuw",
        "z9hG4bK9ikj8",
        "z9hG4bK30239",
    ]
    assert message.contact is not None
    assert message.contact.display_name == 'Quoted string ""'
    assert message.contact.parameters == {
        "newparam": "newvalue",
        "secondparam": None,
        "q": "0.33",
    }
    assert message.headers["Subject"] == ""
    assert message.headers["unknownheaderwithunusualvalue"] == ";;,,;;,;"
    assert message.headers["NewFangledHeader"] == "newfangled value continued newfangled value"
    assert isinstance(message.body, SessionDescription)


def test_intmeth_keeps_every_odd_character():
    message = request("intmeth.dat")
    assert message.method == "!interesting-Method0123456789_*+`.%indeed'~"
    assert message.uri.user == "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"
    assert message.uri.password == "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"
    assert message.to.display_name == "BEL: NUL: DEL:"
    assert message.from_.display_name == "token1~` token2'+_ token3*%!.-"
    assert message.from_.tag == "_token~1'+`*%!-."
    assert message.flaw is None
    assert bytes(message) == load("intmeth.dat")


def test_esc01_is_decoded_once():
    message = request("esc01.dat")
    assert message.uri.user == "sips:user@example.com"
    assert message.contact is not None
    assert message.contact.uri.parameters == {"lr": None, "name": "value%41"}


def test_escnull_is_not_cut_and_its_contacts_differ():
    first, second = request("escnull.dat").contacts
    assert first.uri.user == "\x00"
    assert second.uri.user == "\x00\x00"
    assert isinstance(first.uri, SipURI)
    assert not first.uri.matches(second.uri)


def test_esc02_names_are_not_unescaped():
    message = request("esc02.dat")
    assert message.method == "RE%47IST%45R"
    assert len(message.contacts) == 2
    assert message.from_.display_name == "%Z%45"


def test_lwsdisp_needs_no_space_before_the_bracket():
    assert request("lwsdisp.dat").from_.display_name == "caller"


def test_dblreq_ignores_what_follows_the_first():
    message = request("dblreq.dat")
    assert message.method == "REGISTER"
    assert message.raw_body == b""
    assert message.body is None


def test_semiuri_keeps_the_semicolon_in_the_user():
    assert request("semiuri.dat").uri.user == "user;par=u@example.net"


def test_transports_may_be_unknown():
    transports = [via.transport for via in request("transports.dat").vias]
    assert transports == ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]


def test_unreason_and_noreason_are_read():
    cyrillic = Message.parse(load("unreason.dat"))
    assert isinstance(cyrillic, Response)
    assert cyrillic.reason.startswith("= 2**3 * 5**2 но сто")
    nothing = Message.parse(load("noreason.dat"))
    assert isinstance(nothing, Response)
    assert (nothing.status_code, nothing.reason) == (100, "")


def test_badbranch_is_the_bare_cookie():
    assert request("badbranch.dat").branch == "z9hG4bK"


def test_insuf_is_answered_with_what_it_has():
    answer = bytes(request("insuf.dat").respond(400, to_tag="a6c85cf"))
    assert b"Via: SIP/2.0/UDP 192.0.2.95" in answer
    assert b"From" not in answer
    assert b"tag" not in answer


def test_bext01_names_what_is_not_supported():
    found = validate(request("bext01.dat"), transport="UDP", allow=ALLOW)
    assert found is not None
    assert found.headers == (("Unsupported", "nothingSupportsThis, nothingSupportsThisEither"),)


def test_cparam_tells_header_from_uri_parameters():
    outside = request("cparam01.dat").contact
    inside = request("cparam02.dat").contact
    assert outside is not None
    assert inside is not None
    assert outside.uri.parameters == {}
    assert "unknownparam" in outside.parameters
    assert "unknownparam" in inside.uri.parameters
    assert inside.parameters == {}


def test_regescrt_is_data_and_no_route():
    message = request("regescrt.dat")
    assert message.contact is not None
    assert message.contact.uri.headers == (("Route", "<sip:sip.example.com>"),)
    assert message.routes == []


def test_inv2543_has_no_branch_and_takes_the_rest_as_body():
    message = request("inv2543.dat")
    assert message.branch is None
    assert message.from_.tag is None
    assert message.max_forwards is None
    assert message.raw_body.startswith(b"v=0\r\n")


@pytest.mark.parametrize("name", IPV6_FINE)
def test_ipv6_is_accepted(name):
    message = request(f"{name}.dat", "rfc5118")
    allow = (*ALLOW, "REGISTER")
    assert verdict(message, allow=allow) is None
    assert message.body is None or isinstance(message.body, SessionDescription)


def test_ipv6_without_brackets_is_400():
    assert verdict(request("ipv6-bad.dat", "rfc5118")) == 400


def test_three_colons_are_refused_and_answered():
    message = request("ipv6-bug-abnf-3-colons.dat", "rfc5118")
    assert verdict(message) == 400


def test_port_inside_the_brackets_is_part_of_the_address():
    uri = request("port-ambiguous.dat", "rfc5118").uri
    assert (uri.host, uri.port) == ("2001:db8::10:5070", None)
    uri = request("port-unambiguous.dat", "rfc5118").uri
    assert (uri.host, uri.port) == ("2001:db8::10", 5070)


@pytest.mark.parametrize("spelling", ["no-delim", "with-delim"])
def test_received_is_one_address_with_and_without_brackets(spelling):
    message = request(f"via-received-param-{spelling}.dat", "rfc5118")
    assert message.via.received == "2001:db8::9:255"
