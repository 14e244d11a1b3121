"""Answer and make phone calls in Python.

Subclass a call leg, pass it to `answer()`, and have a phone service. Names load when they are first
used: `import voip` starts no event loop and needs no numpy.
"""

from typing import TYPE_CHECKING

from voip._lazy import exports

if TYPE_CHECKING:  # type checkers do not see what is lazy
    from voip.audio import AudioCall as AudioCall
    from voip.audio import EchoCall as EchoCall
    from voip.audio import VoiceActivityCall as VoiceActivityCall
    from voip.errors import CallEnded as CallEnded
    from voip.errors import CallFailed as CallFailed
    from voip.errors import NegotiationError as NegotiationError
    from voip.errors import RegistrationError as RegistrationError
    from voip.errors import VoIPError as VoIPError
    from voip.hooks import blocking as blocking
    from voip.rtp.call import RTPCall as RTPCall
    from voip.rtp.protocol import RTP as RTP
    from voip.rtp.protocol import RealtimeTransportProtocol as RealtimeTransportProtocol
    from voip.sip.protocol import SIP as SIP
    from voip.sip.protocol import SessionInitiationProtocol as SessionInitiationProtocol

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "AudioCall": "voip.audio",
        "CallEnded": "voip.errors",
        "CallFailed": "voip.errors",
        "EchoCall": "voip.audio",
        "NegotiationError": "voip.errors",
        "RTP": "voip.rtp.protocol",
        "RTPCall": "voip.rtp.call",
        "RealtimeTransportProtocol": "voip.rtp.protocol",
        "RegistrationError": "voip.errors",
        "SIP": "voip.sip.protocol",
        "SessionInitiationProtocol": "voip.sip.protocol",
        "VoIPError": "voip.errors",
        "VoiceActivityCall": "voip.audio",
        "blocking": "voip.hooks",
    },
)
