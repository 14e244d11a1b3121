"""The seam to the av package."""

import sys

import numpy as np
import pytest

from voip.codecs.library import PacketDecoder, PacketEncoder
from voip.errors import ParseError, UnsupportedCodecError


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnsupportedCodecError, match=r"voip\[hd-audio\]"):
        PacketDecoder("g722", 16000, "s16")


def test_a_codec_that_the_library_lacks_is_unsupported():
    pytest.importorskip("av", reason="the hd-audio extra is not installed")
    with pytest.raises(UnsupportedCodecError, match="no_such_codec"):
        PacketEncoder("no_such_codec", 8000, "s16", 160)


def test_one_frame_gives_one_packet_and_back():
    pytest.importorskip("av", reason="the hd-audio extra is not installed")
    encoder = PacketEncoder("g722", 16000, "s16", 320)
    decoder = PacketDecoder("g722", 16000, "s16")
    for _ in range(3):
        payload = encoder.encode(np.zeros(320, np.int16))
        assert len(payload) == 160
        assert len(decoder.decode(payload)) == 640


def test_a_packet_that_gives_no_frame_is_an_error():
    pytest.importorskip("av", reason="the hd-audio extra is not installed")
    with pytest.raises(ParseError, match="not one frame"):
        PacketDecoder("libopus", 48000, "flt").decode(b"")
