"""`python -m voip`: the command line."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; says in one line which extra is missing when it is."""
    try:
        from voip.cli.app import app

        app()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("typer", "rich", "click"):
            raise
        sys.exit(f"voip: error: the command line needs {missing}: pip install 'voip[cli]'")
    except KeyboardInterrupt:  # while it loads: later, the command says goodbye first
        sys.exit(130)


if __name__ == "__main__":
    main()
