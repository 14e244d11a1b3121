"""The `sip` room; names load when they are first used."""

from voip._lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "CSeq": "voip.sip.types",
        "CallerID": "voip.sip.types",
        "DigestAlgorithm": "voip.sip.types",
        "DigestQoP": "voip.sip.types",
        "Headers": "voip.sip.headers",
        "Message": "voip.sip.messages",
        "NameAddress": "voip.sip.types",
        "OtherURI": "voip.sip.types",
        "Request": "voip.sip.messages",
        "Response": "voip.sip.messages",
        "SipURI": "voip.sip.types",
        "Status": "voip.sip.types",
        "TelURI": "voip.sip.types",
        "Via": "voip.sip.types",
    },
)
