"""A kit for tests of voice software: virtual time, bad networks, scripted peers, hand-made legs."""

from typing import TYPE_CHECKING

from voip._lazy import exports

if TYPE_CHECKING:  # type checkers do not see what is lazy
    from voip.aio import Recorder as Recorder
    from voip.aio import Recording as Recording
    from voip.aio import replay as replay
    from voip.testing.leaks import LeakError as LeakError
    from voip.testing.leaks import Leaks as Leaks
    from voip.testing.leaks import no_leaks as no_leaks
    from voip.testing.legs import RecordingRTP as RecordingRTP
    from voip.testing.legs import leg as leg
    from voip.testing.legs import say_to as say_to
    from voip.testing.loop import StalledError as StalledError
    from voip.testing.loop import VirtualLoop as VirtualLoop
    from voip.testing.loop import run_virtual as run_virtual
    from voip.testing.network import NAT as NAT
    from voip.testing.network import Link as Link
    from voip.testing.network import Network as Network
    from voip.testing.peer import SipMessage as SipMessage
    from voip.testing.peer import SipPeer as SipPeer
    from voip.testing.world import Node as Node
    from voip.testing.world import World as World

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "LeakError": "voip.testing.leaks",
        "Leaks": "voip.testing.leaks",
        "Link": "voip.testing.network",
        "NAT": "voip.testing.network",
        "Network": "voip.testing.network",
        "Node": "voip.testing.world",
        "Recorder": "voip.aio",
        "Recording": "voip.aio",
        "RecordingRTP": "voip.testing.legs",
        "SipMessage": "voip.testing.peer",
        "SipPeer": "voip.testing.peer",
        "StalledError": "voip.testing.loop",
        "VirtualLoop": "voip.testing.loop",
        "World": "voip.testing.world",
        "leg": "voip.testing.legs",
        "no_leaks": "voip.testing.leaks",
        "replay": "voip.aio",
        "run_virtual": "voip.testing.loop",
        "say_to": "voip.testing.legs",
    },
)
