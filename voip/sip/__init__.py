"""The `sip` room; names load when they are first used."""

from typing import TYPE_CHECKING

from voip._lazy import exports

if TYPE_CHECKING:  # type checkers do not see what is lazy
    from voip.sip.endpoint import Endpoint as Endpoint
    from voip.sip.headers import Headers as Headers
    from voip.sip.invite import Call as Call
    from voip.sip.invite import CallState as CallState
    from voip.sip.messages import Message as Message
    from voip.sip.messages import Request as Request
    from voip.sip.messages import Response as Response
    from voip.sip.protocol import SIP as SIP
    from voip.sip.protocol import SessionInitiationProtocol as SessionInitiationProtocol
    from voip.sip.settings import EndpointSettings as EndpointSettings
    from voip.sip.settings import Timing as Timing
    from voip.sip.types import CallerID as CallerID
    from voip.sip.types import CSeq as CSeq
    from voip.sip.types import DigestAlgorithm as DigestAlgorithm
    from voip.sip.types import DigestQoP as DigestQoP
    from voip.sip.types import NameAddress as NameAddress
    from voip.sip.types import OtherURI as OtherURI
    from voip.sip.types import SipURI as SipURI
    from voip.sip.types import Status as Status
    from voip.sip.types import TelURI as TelURI
    from voip.sip.types import Via as Via

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "CSeq": "voip.sip.types",
        "Call": "voip.sip.invite",
        "CallState": "voip.sip.invite",
        "CallerID": "voip.sip.types",
        "DigestAlgorithm": "voip.sip.types",
        "DigestQoP": "voip.sip.types",
        "Endpoint": "voip.sip.endpoint",
        "EndpointSettings": "voip.sip.settings",
        "Headers": "voip.sip.headers",
        "Message": "voip.sip.messages",
        "NameAddress": "voip.sip.types",
        "OtherURI": "voip.sip.types",
        "Request": "voip.sip.messages",
        "Response": "voip.sip.messages",
        "SIP": "voip.sip.protocol",
        "SessionInitiationProtocol": "voip.sip.protocol",
        "SipURI": "voip.sip.types",
        "Status": "voip.sip.types",
        "TelURI": "voip.sip.types",
        "Timing": "voip.sip.settings",
        "Via": "voip.sip.types",
    },
)
