"""The `codecs` room; names load when they are first used."""

from typing import TYPE_CHECKING

from voip._lazy import exports

if TYPE_CHECKING:  # type checkers do not see what is lazy
    from voip.codecs.base import Decoder as Decoder
    from voip.codecs.base import Encoder as Encoder
    from voip.codecs.base import RTPCodec as RTPCodec
    from voip.codecs.g722 import G722 as G722
    from voip.codecs.l16 import L16 as L16
    from voip.codecs.opus import Opus as Opus
    from voip.codecs.pcma import PCMA as PCMA
    from voip.codecs.pcmu import PCMU as PCMU
    from voip.codecs.registry import REGISTRY as REGISTRY
    from voip.codecs.registry import get as get

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
