"""The command line; names load when they are first used."""

from voip._lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, {"app": "voip.cli.app"})
