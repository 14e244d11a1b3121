"""An echo line: answers every call and says back what it hears."""

from voip import EchoCall, SessionInitiationProtocol


class Phone(SessionInitiationProtocol):
    def call_received(self, request):
        self.ringing(request)
        self.answer(request, call_class=EchoCall)


if __name__ == "__main__":
    Phone().run()
