"""The `sip` room; names load when they are first used."""

from voip._lazy import exports

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
        "SipURI": "voip.sip.types",
        "Status": "voip.sip.types",
        "TelURI": "voip.sip.types",
        "Timing": "voip.sip.settings",
        "Via": "voip.sip.types",
    },
)
