"""Keep every utterance of a caller as a wave file."""

import wave

import voip


class Voicemail(voip.VoiceActivityCall):
    silence_gap = 0.8
    count = 0

    @voip.blocking
    def speech_buffer_ready(self, audio):
        self.count += 1
        with wave.open(f"message-{self.count}.wav", "wb") as file:
            file.setparams((1, 2, self.RESAMPLING_RATE_HZ, 0, "NONE", ""))
            file.writeframes((audio * 32767).astype("<i2").tobytes())


class Phone(voip.SessionInitiationProtocol):
    def call_received(self, request):
        self.answer(request, call_class=Voicemail)


if __name__ == "__main__":
    Phone().run()
