"""Print the line coverage of floors 0 and 1 and fail below a bar: `floor_coverage.py --at-least 95`.

Reads the data file that `pytest --cov` left (COVERAGE_FILE). Branches count beside lines in coverage's own
reports; the bar here is lines.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import coverage

sys.path.insert(0, str(Path(__file__).parent))
from test_floors import FLOOR, MODULES


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-least", type=float, default=95.0)
    wanted = parser.parse_args().at_least
    data = coverage.Coverage()
    data.load()
    lines = missed = 0
    for name, path in MODULES.items():
        if FLOOR.get(name, 9) > 1:
            continue
        _, statements, _, missing, _ = data.analysis2(str(path))
        lines += len(statements)
        missed += len(missing)
        if missing:
            print(f"{name:32} {1 - len(missing) / len(statements):7.1%}  lines {missing[:12]}")
    share = 100 * (1 - missed / lines)
    print(f"floors 0 and 1: {share:.2f} % of {lines} lines")
    return 0 if share >= wanted else 1


if __name__ == "__main__":
    sys.exit(main())
