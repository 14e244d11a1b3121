"""Print the own-file line coverage of floors 0 and 1, and fail below a bar: `floor_coverage.py --at-least 95`.

Reads the data file that `pytest --cov --cov-context=test` left (COVERAGE_FILE). A line counts for its
module when the module's own test file ran it (`voip/sip/uri.py`: `test_uri.py`), or its import did;
what only other tests reach does not count.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import coverage

sys.path.insert(0, str(Path(__file__).parent))
from test_floors import FLOOR, MODULES


def own_lines(data, path, name):
    """Return the lines that the module's own tests, or its import, ran."""
    wanted = f"test_{name.rpartition('.')[2]}.py"
    return {
        line
        for line, contexts in data.contexts_by_lineno(str(path)).items()
        if any(not one or Path(one.partition("::")[0]).name == wanted for one in contexts)
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-least", type=float, default=95.0)
    wanted = parser.parse_args().at_least
    report = coverage.Coverage()
    report.load()
    data = report.get_data()
    lines = missed = unseen = 0
    for name, path in MODULES.items():
        if FLOOR.get(name, 9) > 1:
            continue
        _, statements, _, missing, _ = report.analysis2(str(path))
        own = set(statements) - own_lines(data, path, name)
        lines += len(statements)
        unseen += len(missing)
        missed += len(own)
        if len(own) > 0.05 * len(statements):
            print(f"{name:32} {1 - len(own) / len(statements):7.1%} by its own test file")
    share = 100 * (1 - missed / lines)
    print(f"floors 0 and 1: {100 * (1 - unseen / lines):.2f} % of {lines} lines by all tests")
    print(f"floors 0 and 1: {share:.2f} % of {lines} lines by their own test files")
    return 0 if share >= wanted else 1


if __name__ == "__main__":
    sys.exit(main())
