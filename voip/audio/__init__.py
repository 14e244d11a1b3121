"""Call legs that deal in audio; names load when they are first used."""

from typing import TYPE_CHECKING

from voip._lazy import exports

if TYPE_CHECKING:  # type checkers do not see what is lazy
    from voip.audio.activity import VoiceActivityCall as VoiceActivityCall
    from voip.audio.call import AudioCall as AudioCall
    from voip.audio.echo import EchoCall as EchoCall

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "AudioCall": "voip.audio.call",
        "EchoCall": "voip.audio.echo",
        "VoiceActivityCall": "voip.audio.activity",
    },
)
