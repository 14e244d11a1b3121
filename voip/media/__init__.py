"""The `media` room; names load when they are first used."""

from voip._lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "InlineMedia": "voip.media.plane",
        "InlinePlane": "voip.media.plane",
        "PlaneSettings": "voip.media.plane",
        "Playout": "voip.media.playout",
    },
)
