"""The `rtp` room; names load when they are first used."""

from voip._lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "RTP": "voip.rtp.protocol:RealtimeTransportProtocol",
        "RealtimeTransportProtocol": "voip.rtp.protocol",
        "MediaPorts": "voip.rtp.ports",
        "HeaderExtension": "voip.rtp.packet",
        "RTCPSession": "voip.rtp.reports",
        "RTPCall": "voip.rtp.call",
        "RTPPacket": "voip.rtp.packet",
        "RTPPayloadType": "voip.rtp.packet",
        "ReceiveStreams": "voip.rtp.stream",
        "RemoteSource": "voip.rtp.source",
        "SourceRules": "voip.rtp.source",
        "TelephoneEvent": "voip.rtp.telephone_event",
        "Verdict": "voip.rtp.source",
        "classify": "voip.rtp.packet",
    },
)
