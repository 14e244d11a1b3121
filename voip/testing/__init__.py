"""A kit for tests of voice software: virtual time, bad networks, scripted peers, hand-made legs."""

from voip._lazy import exports

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
