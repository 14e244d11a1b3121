"""What a command says: plain lines when nobody watches, colour and a live table on a terminal."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Self, TextIO

from voip.cli.messages import highlight

__all__ = ["CallRow", "LiveOutput", "Output", "open_output"]


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

    Args:
        verbosity: 0 nothing of SIP, 1 first lines, 2 headers too, 3 bodies too.
        stream: where lines go.
    """

    def __init__(self, verbosity: int = 0, stream: TextIO | None = None) -> None:
        self.verbosity = verbosity
        self.rows: list[CallRow] = []
        self._stream = stream or sys.stdout
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def say(self, text: str, style: str = "") -> None:
        """Say one line."""
        self._stream.write(f"{text}\n")
        self._stream.flush()

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
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self._stream)
        self._live = Live(get_renderable=self._table, console=self._console, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Say one line, above the table."""
        from rich.text import Text

        self._console.print(Text(text, style))

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, show_header=bool(self.rows), pad_edge=False)
        for heading in ("call", "with", "codec", "time", "heard", ""):
            table.add_column(heading, header_style="dim")
        for row in self.rows:
            bar = "▮" * max(0, min(12, round((row.level_dbfs + 60) / 4)))
            minutes, seconds = divmod(int(row.seconds), 60)
            table.add_row(
                str(row.number), row.party, row.codec, f"{minutes}:{seconds:02}", bar, row.state
            )
        return table


def open_output(verbosity: int = 0, stream: TextIO | None = None) -> Output:
    """Return what fits: live on a terminal, plain lines elsewhere."""
    target = stream or sys.stdout
    return (LiveOutput if target.isatty() else Output)(verbosity, target)
