from __future__ import annotations

import io
import sys

import pytest

from voip.cli.output import ROWS_SHOWN, LiveOutput, Output, complain, open_output

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


def test_a_narrow_terminal_folds_nothing_that_is_to_be_copied(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    uri = "sip:echo@192.0.2.100:5060;transport=tcp"
    with open_output(0, stream) as output:
        output.say(f"listening, dial {uri}", "bold")
    assert uri in stream.getvalue()


def test_no_color_means_none(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    with open_output(0, stream) as output:
        output.say("registered", "green")
    assert "\x1b[32m" not in stream.getvalue()


def test_the_table_has_as_many_rows_as_a_terminal():
    stream = Terminal()
    output = LiveOutput(0, stream)
    for _ in range(ROWS_SHOWN + 30):
        output.call("*bob")
    assert output._table().row_count == ROWS_SHOWN


def test_what_a_peer_says_drives_no_terminal():
    for stream in (io.StringIO(), Terminal()):
        with open_output(0, stream) as output:
            output.say("call 1: \x1b]0;owned\x07 \x9b31m[bold]")
        assert "]0;owned" in stream.getvalue()
        assert "[bold]" in stream.getvalue()
        for control in ("\x1b]", "\x07", "\x9b"):
            assert control not in stream.getvalue()


def test_an_encoding_without_arrows_gets_question_marks():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    open_output(1, stream).message(RESPONSE, outgoing=True)
    stream.flush()
    assert raw.getvalue() == b"? SIP/2.0 200 OK\n"


def test_figures_stand_below_each_other():
    stream = io.StringIO()
    open_output(0, stream).table([("codec", "pcmu"), ("set-up time", "2.0 ms")])
    assert stream.getvalue() == f"{'codec':>16}  pcmu\n{'set-up time':>16}  2.0 ms\n"


@pytest.mark.parametrize("kind", [io.StringIO, Terminal])
def test_what_cannot_be_written_stops_the_command_once_and_raises_nothing(kind):
    class Gone(kind):
        broken = False

        def write(self, text):
            if self.broken:
                raise OSError(5, "Input/output error")
            return super().write(text)

    stopped = []
    stream = Gone()
    with open_output(0, stream) as output:
        output.stop = lambda: stopped.append(1)
        output.say("one")
        assert output.lost is None
        stream.broken = True
        output.say("two")
        output.say("three")
    assert stopped == [1]
    assert output.lost.errno == 5


def test_without_a_standard_output_nothing_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with open_output(0) as output:
        output.say("hello")
        assert output.lost is None
        output._stream.close()


def test_a_complaint_is_one_line_where_there_is_a_standard_error(monkeypatch, capsys):
    complain("486 \x1b[31mGone")
    assert capsys.readouterr().err == "voip: error: 486 \N{REPLACEMENT CHARACTER}[31mGone\n"
    monkeypatch.setattr(sys, "stderr", None)
    complain("nobody hears it")
