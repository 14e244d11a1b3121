"""What the generators of the documentation share: write what they make, or check it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

DOCS = Path(__file__).resolve().parent


def write_or_check(made: Mapping[Path, str], wrong: Iterable[str] = ()) -> int:
    """Write files; with `--check` on the command line, complain of what differs instead.

    Args:
        made: what belongs into each file.
        wrong: further complaints, one line each.

    Returns:
        The exit status: 1 when there is a complaint.
    """
    complaints = list(wrong)
    stale = [path for path, words in made.items() if not path.exists() or path.read_text() != words]
    if "--check" in sys.argv:
        script = Path(sys.argv[0]).name
        complaints += [
            f"docs/{path.relative_to(DOCS)} is stale: run docs/{script}" for path in stale
        ]
    else:
        for path in stale:
            path.parent.mkdir(exist_ok=True)
            path.write_text(made[path])
    for line in complaints:
        sys.stderr.write(f"{line}\n")
    return 1 if complaints else 0
