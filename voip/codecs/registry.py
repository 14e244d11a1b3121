"""The codecs that this installation can speak, by encoding name."""

from __future__ import annotations

from importlib.util import find_spec

from voip.codecs.base import RTPCodec
from voip.codecs.g722 import G722
from voip.codecs.l16 import L16
from voip.codecs.opus import Opus
from voip.codecs.pcma import PCMA
from voip.codecs.pcmu import PCMU
from voip.errors import UnsupportedCodecError

__all__ = ["REGISTRY", "available", "get"]


def available(*, with_av: bool) -> dict[str, type[RTPCodec]]:
    """Return the codecs by lower-case encoding name, best first.

    Args:
        with_av: whether the codecs that need the `av` package count.
    """
    codecs: tuple[type[RTPCodec], ...] = (PCMA, PCMU, L16)
    if with_av:
        codecs = (Opus, G722, *codecs)
    return {codec.encoding_name: codec for codec in codecs}


#: The codecs that can be used here; more may be added. `av` is looked for, but not yet loaded.
REGISTRY: dict[str, type[RTPCodec]] = available(with_av=find_spec("av") is not None)


def get(name: str) -> type[RTPCodec]:
    """Return a codec by its encoding name, compared without regard to case.

    Raises:
        UnsupportedCodecError: it is unknown or needs a package that is missing.
    """
    codec = REGISTRY.get(name.lower())
    if codec is None:
        known = ", ".join(REGISTRY)
        raise UnsupportedCodecError(f"Unsupported codec {name!r}; supported: {known}")
    return codec
