"""Which codec a call speaks: chosen from an offer, and read back from what was agreed on."""

from __future__ import annotations

from collections.abc import Sequence

from voip import codecs
from voip.codecs.base import RTPCodec
from voip.errors import UnsupportedCodecError
from voip.sdp.types import Attribute, MediaDescription, RTPPayloadFormat

__all__ = ["choose", "codec_named"]

_FIRST_DYNAMIC = 96

Codecs = Sequence[type[RTPCodec]]


def codec_named(preferred: Codecs, fmt: RTPPayloadFormat) -> type[RTPCodec]:
    """Return the codec of a format: of those that a class prefers, else of the registry.

    Raises:
        ValueError: the format names no codec.
        UnsupportedCodecError: it names one that is not supported.
    """
    if not fmt.encoding_name:
        raise ValueError(f"No encoding name for payload type {fmt.payload_type}")
    name = fmt.encoding_name.lower()
    for codec in reversed(preferred):
        if codec.encoding_name.lower() == name:
            return codec
    return codecs.get(fmt.encoding_name)


def choose(
    preferred: Codecs, remote_media: MediaDescription, ptime_ms: int | None
) -> MediaDescription:
    """Return an m= section with the first of `preferred` that the peer offers, and only that.

    Args:
        preferred: best first.
        remote_media: the offer.
        ptime_ms: the packet time where the offer tells none; None leaves it to the codec.

    Raises:
        UnsupportedCodecError: none is offered and supported.
    """
    offered = remote_media.fmt
    if remote_media.attribute("ptime") or remote_media.attribute("maxptime"):
        ptime_ms = None
    for codec in preferred:
        fmt = _match(codec, offered)
        if fmt is None:
            continue
        sent = codec.for_format(fmt, ptime_ms=ptime_ms)
        duration_ms = round(1000 * sent.frame_size / sent.sample_rate_hz)
        attributes = [] if duration_ms == 20 else [Attribute("ptime", str(duration_ms))]
        return MediaDescription(
            media=remote_media.media,
            port=0,
            proto=remote_media.proto,
            fmt=[fmt],
            attributes=attributes,
        )
    supported = ", ".join(codec.encoding_name for codec in preferred)
    names = ", ".join(str(fmt.encoding_name or fmt.payload_type) for fmt in offered)
    raise UnsupportedCodecError(
        f"No codec in common: offered {names or 'nothing'}; supported {supported or 'nothing'}"
    )


def _match(codec: type[RTPCodec], offered: Sequence[RTPPayloadFormat]) -> RTPPayloadFormat | None:
    """Return the offered format that a codec can serve: by its number first, then by name."""
    name = codec.encoding_name.lower()
    for fmt in offered:
        said = fmt.encoding_name and fmt.encoding_name.lower()
        if fmt.payload_type != codec.payload_type:
            continue
        # RFC 3551 §3: a dynamic number means what its rtpmap says, and nothing without one.
        static = fmt.payload_type < _FIRST_DYNAMIC
        if (said == name or (static and not said)) and codec.supports(fmt):
            return fmt
    for fmt in offered:
        named = fmt.payload_type >= _FIRST_DYNAMIC and (fmt.encoding_name or "").lower() == name
        if named and codec.supports(fmt):
            return fmt
    return None
