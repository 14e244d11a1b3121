"""Re-exports that load their module when a name is first asked for."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["exports"]

# Whatever is imported of the house comes by here first, and the library is silent until the
# application sets up logging.
logging.getLogger("voip").addHandler(logging.NullHandler())


def exports(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for a package that holds re-exports only.

    Args:
        package: the `__name__` of the package.
        homes: public name to the module that defines it; `module:attribute` renames it.
    """

    def load(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = home.partition(":")
        value = getattr(importlib.import_module(module), attribute or name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names, sorted(homes)
