from __future__ import annotations

import io

from voip.cli.output import LiveOutput, Output, open_output

RESPONSE = b"SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\nv=0\r\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def said(verbosity):
    stream = io.StringIO()
    Output(verbosity, stream).message(RESPONSE, outgoing=True)
    return stream.getvalue().splitlines()


def test_verbosity_shows_more_of_a_message():
    assert said(0) == []
    assert said(1) == ["→ SIP/2.0 200 OK"]
    assert said(2) == ["→ SIP/2.0 200 OK", "    CSeq: 1 INVITE"]
    assert said(3)[-1] == "    v=0"


def test_plain_output_is_one_line_for_each_event():
    stream = io.StringIO()
    with open_output(0, stream) as output:
        assert type(output) is Output
        row = output.call("*bob")
        output.change(row, "ringing")
        output.change(row, "talking", "answered")
        output.forget(row)
        output.forget(row)
    assert stream.getvalue() == "call 1: ringing\ncall 1: answered\n"
    assert output.rows == []


def test_a_terminal_gets_a_live_table_below_its_lines():
    stream = Terminal()
    with open_output(0, stream) as output:
        assert type(output) is LiveOutput
        row = output.call("*bob")
        row.codec, row.level_dbfs = "pcmu", -20.0
        output.change(row, "talking", "answered with [pcmu]")
        output._live.refresh()
        assert row.seconds >= 0
    shown = stream.getvalue()
    assert "call 1: answered with [pcmu]" in shown
    assert "*bob" in shown
    assert "▮" in shown
