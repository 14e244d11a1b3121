"""What a command says: plain lines when nobody watches, colour and a live table on a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self, TextIO

from voip.cli.messages import highlight, printable

__all__ = ["CallRow", "LiveOutput", "Output", "complain", "open_output"]

ROWS_SHOWN = 20
"""Calls in the live table; a terminal has no room for more, and drawing them takes time."""

_BAR = 12


def complain(text: str) -> None:
    """Say what went wrong: one line on standard error, where there is one."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"voip: error: {printable(text)}\n")
            sys.stderr.flush()


def _now() -> float:
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:  # the thread that redraws the table; the loop's clock is this one
        return time.monotonic()


@dataclass(slots=True, eq=False)
class CallRow:
    """One call as it is shown.

    Attributes:
        number: counts calls from 1.
        party: who it is with, masked.
        codec: the codec's name, once it is known.
        state: what is going on, in a word or two.
        level_dbfs: level of the last frame that was heard.
        began: when it began, by the loop's clock.
    """

    number: int
    party: str
    codec: str = ""
    state: str = "ringing"
    level_dbfs: float = -120.0
    began: float = field(default_factory=_now)

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return _now() - self.began


class Output:
    """Plain lines, one for each thing that happens.

    What cannot be written ends the command and never a call: `lost` says why, `stop` is called.

    Args:
        verbosity: 0 nothing of SIP, 1 first lines, 2 headers too, 3 bodies too.
        stream: where lines go.

    Attributes:
        lost: why nothing can be written any more, None while it can.
        stop: ends the command; set by whoever runs it.
    """

    def __init__(self, verbosity: int = 0, stream: TextIO | None = None) -> None:
        self.verbosity = verbosity
        self.rows: list[CallRow] = []
        self.lost: OSError | None = None
        self.stop: Callable[[], object] = lambda: None
        self._stream = stream or sys.stdout
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def say(self, text: str, style: str = "") -> None:
        """Say one line; what is no printable character is replaced."""
        if self.lost is not None:
            return
        try:
            self._write(printable(text), style)
        except OSError as error:  # who read this is gone, or the disk is full
            self.lost = error
            self.stop()

    def _write(self, line: str, style: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()

    def table(self, rows: Iterable[tuple[str, str]]) -> None:
        """Say figures, each with its name before it."""
        for name, figure in rows:
            self.say(f"{name:>16}  {figure}")

    def message(self, message: Any, *, outgoing: bool) -> None:
        """Show a SIP message as far as the verbosity goes."""
        if not self.verbosity:
            return
        lines = highlight(message, outgoing=outgoing, body=self.verbosity > 2)
        for text, style in lines if self.verbosity > 1 else lines[:1]:
            self.say(text, style)

    def call(self, party: str) -> CallRow:
        """Begin a call."""
        self._count += 1
        row = CallRow(self._count, party)
        self.rows.append(row)
        return row

    def change(self, row: CallRow, state: str, said: str = "") -> None:
        """Say what a call does now."""
        row.state = state
        self.say(f"call {row.number}: {said or state}")

    def forget(self, row: CallRow) -> None:
        """End a call."""
        if row in self.rows:
            self.rows.remove(row)


class LiveOutput(Output):
    """Coloured lines with a table of the running calls below them, drawn by rich."""

    def __init__(self, verbosity: int = 0, stream: TextIO | None = None) -> None:
        super().__init__(verbosity, stream)
        # Here and below: who pipes the output somewhere does not wait for rich to load.
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self._stream)
        self._live = Live(get_renderable=self._table, console=self._console, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # the terminal may be gone
            self._live.stop()

    def _write(self, line: str, style: str) -> None:
        """Say one line, above the table; the terminal folds it, so that it can be copied whole."""
        from rich.text import Text

        self._console.print(Text(line, style), soft_wrap=True)

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, show_header=bool(self.rows), pad_edge=False)
        for heading in ("call", "with", "codec", "time", "heard", ""):
            wide = _BAR if heading == "heard" else None  # or the columns after it dance
            table.add_column(heading, header_style="dim", width=wide)
        for row in self.rows[:ROWS_SHOWN]:
            bar = "▮" * max(0, min(_BAR, round((row.level_dbfs + 60) / 4)))
            minutes, seconds = divmod(int(row.seconds), 60)
            table.add_row(
                str(row.number), row.party, row.codec, f"{minutes}:{seconds:02}", bar, row.state
            )
        return table


def open_output(verbosity: int = 0, stream: TextIO | None = None) -> Output:
    """Return what fits: live on a terminal, plain lines elsewhere, nothing where stdout is closed.

    An encoding without arrows and bars gets question marks for them.
    """
    target = stream or sys.stdout
    if target is None:  # `>&-`
        target = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
    if isinstance(target, io.TextIOWrapper):
        target.reconfigure(errors="replace")
    return (LiveOutput if target.isatty() else Output)(verbosity, target)
