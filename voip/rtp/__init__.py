"""The `rtp` room; names load when they are first used."""

from typing import TYPE_CHECKING

from voip._lazy import exports

if TYPE_CHECKING:  # type checkers do not see what is lazy
    from voip.rtp.call import RTPCall as RTPCall
    from voip.rtp.packet import HeaderExtension as HeaderExtension
    from voip.rtp.packet import RTPPacket as RTPPacket
    from voip.rtp.packet import RTPPayloadType as RTPPayloadType
    from voip.rtp.packet import classify as classify
    from voip.rtp.ports import MediaPorts as MediaPorts
    from voip.rtp.protocol import RTP as RTP
    from voip.rtp.protocol import RealtimeTransportProtocol as RealtimeTransportProtocol
    from voip.rtp.reports import RTCPSession as RTCPSession
    from voip.rtp.source import RemoteSource as RemoteSource
    from voip.rtp.source import SourceRules as SourceRules
    from voip.rtp.source import Verdict as Verdict
    from voip.rtp.stream import ReceiveStreams as ReceiveStreams
    from voip.rtp.telephone_event import TelephoneEvent as TelephoneEvent

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "HeaderExtension": "voip.rtp.packet",
        "MediaPorts": "voip.rtp.ports",
        "RTCPSession": "voip.rtp.reports",
        "RTP": "voip.rtp.protocol",
        "RTPCall": "voip.rtp.call",
        "RTPPacket": "voip.rtp.packet",
        "RTPPayloadType": "voip.rtp.packet",
        "RealtimeTransportProtocol": "voip.rtp.protocol",
        "ReceiveStreams": "voip.rtp.stream",
        "RemoteSource": "voip.rtp.source",
        "SourceRules": "voip.rtp.source",
        "TelephoneEvent": "voip.rtp.telephone_event",
        "Verdict": "voip.rtp.source",
        "classify": "voip.rtp.packet",
    },
)
