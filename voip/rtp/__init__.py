"""The `rtp` room; names load when they are first used."""

from voip._lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "HeaderExtension": "voip.rtp.packet",
        "RTPPacket": "voip.rtp.packet",
        "RTPPayloadType": "voip.rtp.packet",
        "classify": "voip.rtp.packet",
    },
)
