"""The `media` room; names load when they are first used."""

from typing import TYPE_CHECKING

from voip._lazy import exports

if TYPE_CHECKING:  # type checkers do not see what is lazy
    from voip.media.plane import InlineMedia as InlineMedia
    from voip.media.plane import InlinePlane as InlinePlane
    from voip.media.plane import PlaneSettings as PlaneSettings
    from voip.media.playout import Playout as Playout

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "InlineMedia": "voip.media.plane",
        "InlinePlane": "voip.media.plane",
        "PlaneSettings": "voip.media.plane",
        "Playout": "voip.media.playout",
    },
)
