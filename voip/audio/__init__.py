"""Call legs that deal in audio; names load when they are first used."""

from voip._lazy import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "AudioCall": "voip.audio.call",
        "EchoCall": "voip.audio.echo",
        "VoiceActivityCall": "voip.audio.activity",
    },
)
