"""Draw the pictures of the documentation: the floors, and the machines from their tables.

    python docs/generate_diagrams.py [--check]

Writes `docs/images/*.svg` and `docs/state-machines.md`; with `--check` it writes nothing and fails
when what is there is not what it would write.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

from generate_files import DOCS, write_or_check

from voip.sip.transactions import TABLES

IMAGES = DOCS / "images"

INK, PAPER, LINE, ACCENT = "#1f2937", "#ffffff", "#6b7280", "#4f46e5"
FONT = "font-family='Helvetica, Arial, sans-serif'"

FLOORS = [
    (5, "Doors", "command line, examples"),
    (4, "Shells", "asyncio, sockets, TLS, threads · the SIP and RTP objects · the test kit"),
    (3, "Engines", "media planes that drive legs on a tick"),
    (2, "Legs", "RTPCall → AudioCall → VoiceActivityCall → EchoCall: what you subclass"),
    (1, "Machines", "transactions, dialogs, registration, jitter buffer: no clock, no socket"),
    (0, "Words", "messages, session descriptions, packets, codecs: bytes in, values out"),
]
TINTS = ["#e0e7ff", "#dbeafe", "#d1fae5", "#fef9c3", "#ffedd5", "#fee2e2"]


def svg(width: int, height: int, parts: list[str], title: str) -> str:
    """Return a picture on white paper, so that it reads on a dark page too."""
    marker = (
        f"<defs><marker id='a' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='8' markerHeight='8'"
        f" orient='auto'><path d='M0 0 8 4 0 8z' fill='{LINE}'/></marker></defs>"
    )
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}'"
        f" height='{height}' role='img' {FONT}>\n<title>{escape(title)}</title>\n{marker}\n"
        f"<rect width='{width}' height='{height}' fill='{PAPER}'/>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def text(
    x: float, y: float, words: str, *, size: int = 13, anchor: str = "start", bold: bool = False
) -> str:
    """Return one line of text."""
    weight = " font-weight='bold'" if bold else ""
    return (
        f"<text x='{x:g}' y='{y:g}' font-size='{size}' text-anchor='{anchor}' fill='{INK}'{weight}>"
        f"{escape(words)}</text>"
    )


def draw_floors() -> str:
    """Return the house, cellar at the bottom."""
    parts = ["<path d='M20 66 400 14 780 66z' fill='#eef2ff' stroke='#9ca3af'/>"]
    parts.append(text(400, 50, "voip", size=18, anchor="middle", bold=True))
    for row, (number, name, holds) in enumerate(FLOORS):
        y = 70 + 58 * row
        parts.append(
            f"<rect x='40' y='{y}' width='720' height='52' rx='4' fill='{TINTS[row]}'"
            " stroke='#9ca3af'/>"
        )
        parts.append(text(62, y + 33, str(number), size=20, bold=True))
        parts.append(text(96, y + 32, name, size=16, bold=True))
        parts.append(text(190, y + 32, holds, size=13))
    parts.append(
        text(
            400,
            440,
            "a module imports its own floor or a lower one, never a higher one",
            anchor="middle",
        )
    )
    return svg(800, 456, parts, "The six floors of voip")


MIDDLE, TOP, STEP, HALF, TALL = 330, 46, 136, 70, 64


def edge_to_itself(y: int, causes: list[str]) -> list[str]:
    """Return a loop on the left with its causes."""
    line = f"M{MIDDLE - HALF} {y + 16}c-46 -6 -46 38 0 32"
    parts = [f"<path d='{line}' fill='none' stroke='{LINE}' marker-end='url(#a)'/>"]
    first = y + 36 - 15 * (len(causes) - 1) / 2
    for row, cause in enumerate(causes):
        parts.append(text(MIDDLE - 112, first + 15 * row, cause, size=12, anchor="end"))
    return parts


def edge_down(y: int, causes: list[str]) -> list[str]:
    """Return an arrow to the next state with its causes."""
    line = f"M{MIDDLE} {y + TALL}V{y + STEP - 1}"
    parts = [f"<path d='{line}' stroke='{LINE}' marker-end='url(#a)'/>"]
    for row, cause in enumerate(causes):
        parts.append(text(MIDDLE + 8, y + TALL + 20 + 15 * row, cause, size=12))
    return parts


def edge_around(start: int, end: int, x: int, causes: list[str]) -> list[str]:
    """Return an arrow around the states in between, with its causes above it."""
    line = f"M{MIDDLE + HALF} {start}H{x}V{end}H{MIDDLE + HALF + 1}"
    return [
        f"<path d='{line}' fill='none' stroke='{LINE}' marker-end='url(#a)'/>",
        text(MIDDLE + HALF + 8, start - 4, ", ".join(causes), size=11),
    ]


def draw_machine(title: str, table: dict) -> str:
    """Return a state diagram: states from top to bottom, edges with what causes them."""
    order = list(
        dict.fromkeys([state for state, _ in table] + [after for after, _ in table.values()])
    )
    edges = defaultdict(list)
    for (state, cause), (after, action) in table.items():
        edges[state, after].append(f"{cause} / {action.replace('_', ' ')}")
    place = {state: TOP + STEP * row for row, state in enumerate(order)}
    parts = [text(MIDDLE, 26, title, size=16, anchor="middle", bold=True)]
    leaving, coming, lanes = defaultdict(int), defaultdict(int), 0
    for (state, after), causes in edges.items():
        y = place[state]
        if state is after:
            parts += edge_to_itself(y, causes)
        elif order.index(after) == order.index(state) + 1:
            parts += edge_down(y, causes)
        else:
            lanes += 1
            start = y + 18 + 18 * leaving[state]
            end = place[after] + TALL - 8 - 12 * coming[after]
            leaving[state] += 1
            coming[after] += 1
            parts += edge_around(start, end, MIDDLE + 340 + 26 * lanes, causes)
    for state in order:
        radius = 20 if any(start is state for start, _ in table) else 4
        parts.append(
            f"<rect x='{MIDDLE - HALF}' y='{place[state]}' width='{2 * HALF}' height='{TALL}'"
            f" rx='{radius}' fill='#eef2ff' stroke='{ACCENT}'/>"
        )
        name = state.value.capitalize()
        parts.append(text(MIDDLE, place[state] + 37, name, size=14, anchor="middle", bold=True))
    return svg(MIDDLE + 370 + 26 * lanes, TOP + STEP * len(order) - 50, parts, title)


INTRODUCTION = """
# State machines

Made by `docs/generate_diagrams.py` from the tables in `voip/sip/tables.py`, which are what
runs: the machine looks up (state, input) and finds (next state, action). An input that is not in a
table is ignored and counted when it came from a peer or a clock, and is a `LocalProtocolError` when
it came from our own side. The 2xx to an INVITE, its retransmission and its ACK belong to the INVITE
usage (`voip/sip/invite.py`), not to these (RFC 6026).
""".lstrip()


def slug(kind: str) -> str:
    """Return a file name for a machine."""
    return kind.lower().replace(" ", "-")


def page() -> str:
    """Return the page with every table beside its picture."""
    lines = [INTRODUCTION.rstrip()]
    for kind, table in TABLES.items():
        lines += ["", f"## {str(kind)[0].upper()}{str(kind)[1:]} transaction", ""]
        lines += [f"![States of the {kind} transaction](images/{slug(str(kind))}.svg)", ""]
        lines += ["| state | input | next | action |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {state} | {cause} | {after} | {action.replace('_', ' ')} |"
            for (state, cause), (after, action) in table.items()
        ]
    return "\n".join(lines) + "\n"


def files() -> dict[Path, str]:
    """Return what belongs into the documentation."""
    made = {IMAGES / "floors.svg": draw_floors(), DOCS / "state-machines.md": page()}
    for kind, table in TABLES.items():
        made[IMAGES / f"{slug(str(kind))}.svg"] = draw_machine(f"{kind} transaction", table)
    return made


if __name__ == "__main__":
    sys.exit(write_or_check(files()))
