"""The `sdp` room; names load when they are first used."""

from typing import TYPE_CHECKING

from voip._lazy import exports

if TYPE_CHECKING:  # type checkers do not see what is lazy
    from voip.sdp.messages import SessionDescription as SessionDescription
    from voip.sdp.negotiation import Agreement as Agreement
    from voip.sdp.negotiation import LocalMedia as LocalMedia
    from voip.sdp.negotiation import accept_answer as accept_answer
    from voip.sdp.negotiation import make_answer as make_answer
    from voip.sdp.negotiation import make_offer as make_offer
    from voip.sdp.types import Attribute as Attribute
    from voip.sdp.types import Bandwidth as Bandwidth
    from voip.sdp.types import ConnectionData as ConnectionData
    from voip.sdp.types import Direction as Direction
    from voip.sdp.types import MediaDescription as MediaDescription
    from voip.sdp.types import Origin as Origin
    from voip.sdp.types import RTPPayloadFormat as RTPPayloadFormat
    from voip.sdp.types import Timing as Timing

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "Agreement": "voip.sdp.negotiation",
        "Attribute": "voip.sdp.types",
        "Bandwidth": "voip.sdp.types",
        "ConnectionData": "voip.sdp.types",
        "Direction": "voip.sdp.types",
        "LocalMedia": "voip.sdp.negotiation",
        "MediaDescription": "voip.sdp.types",
        "Origin": "voip.sdp.types",
        "RTPPayloadFormat": "voip.sdp.types",
        "SessionDescription": "voip.sdp.messages",
        "Timing": "voip.sdp.types",
        "accept_answer": "voip.sdp.negotiation",
        "make_answer": "voip.sdp.negotiation",
        "make_offer": "voip.sdp.negotiation",
    },
)
