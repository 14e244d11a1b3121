import numpy as np

from voip.codecs.pcmu import PCMU
from voip.sdp.types import RTPPayloadFormat


def test_constants():
    assert (PCMU.payload_type, PCMU.encoding_name, PCMU.channels) == (0, "pcmu", 1)
    assert (PCMU.sample_rate_hz, PCMU.rtp_clock_rate_hz) == (8000, 8000)
    assert (PCMU.frame_size, PCMU.timestamp_increment, PCMU.ptime_ms) == (160, 160, 20)
    assert PCMU.to_payload_format() == RTPPayloadFormat(0, "pcmu", 8000)


def test_silence_is_ff():
    assert PCMU.encode(np.zeros(160, np.float32)) == b"\xff" * 160
