"""Answer and make phone calls in Python.

Subclass a call leg, pass it to `answer()`, and have a phone service. Names load when they are first
used: `import voip` starts no event loop and needs no numpy.
"""

from voip._lazy import exports

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "AudioCall": "voip.audio",
        "CallEnded": "voip.errors",
        "CallFailed": "voip.errors",
        "EchoCall": "voip.audio",
        "NegotiationError": "voip.errors",
        "RTP": "voip.rtp.protocol:RealtimeTransportProtocol",
        "RTPCall": "voip.rtp.call",
        "RealtimeTransportProtocol": "voip.rtp.protocol",
        "RegistrationError": "voip.errors",
        "SIP": "voip.sip.protocol:SessionInitiationProtocol",
        "SessionInitiationProtocol": "voip.sip.protocol",
        "VoIPError": "voip.errors",
        "VoiceActivityCall": "voip.audio",
        "blocking": "voip.hooks",
    },
)
