"""The `sdp` room; names load when they are first used."""

from voip._lazy import exports

_TYPES = (
    "Attribute",
    "Bandwidth",
    "ConnectionData",
    "Direction",
    "MediaDescription",
    "Origin",
    "RTPPayloadFormat",
    "Timing",
)
_NEGOTIATION = ("Agreement", "LocalMedia", "accept_answer", "make_answer", "make_offer")

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "SessionDescription": "voip.sdp.messages",
        **dict.fromkeys(_TYPES, "voip.sdp.types"),
        **dict.fromkeys(_NEGOTIATION, "voip.sdp.negotiation"),
    },
)
