"""The `codecs` room; names load when they are first used."""

from voip._lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Decoder": "voip.codecs.base",
        "Encoder": "voip.codecs.base",
        "G722": "voip.codecs.g722",
        "L16": "voip.codecs.l16",
        "Opus": "voip.codecs.opus",
        "PCMA": "voip.codecs.pcma",
        "PCMU": "voip.codecs.pcmu",
        "REGISTRY": "voip.codecs.registry",
        "RTPCodec": "voip.codecs.base",
        "get": "voip.codecs.registry",
    },
)
