import numpy as np

from voip.codecs.pcma import PCMA
from voip.sdp.types import RTPPayloadFormat


def test_constants():
    assert (PCMA.payload_type, PCMA.encoding_name, PCMA.channels) == (8, "pcma", 1)
    assert (PCMA.sample_rate_hz, PCMA.rtp_clock_rate_hz) == (8000, 8000)
    assert (PCMA.frame_size, PCMA.timestamp_increment, PCMA.ptime_ms) == (160, 160, 20)
    assert PCMA.to_payload_format() == RTPPayloadFormat(8, "pcma", 8000)


def test_silence_is_d5():
    assert PCMA.encode(np.zeros(160, np.float32)) == b"\xd5" * 160


def test_wideband_runs_at_the_rate_of_the_format():
    wide = PCMA.for_format(RTPPayloadFormat(98, "PCMA", 16000))
    assert (wide.sample_rate_hz, wide.frame_size, wide.timestamp_increment) == (16000, 320, 320)
    payload = wide.encode(np.zeros(320, np.float32))
    assert PCMA.decode(payload, 16000, input_rate_hz=16000).size == 320
    assert wide.create_decoder(16000).decode(payload).size == 320
    assert PCMA.create_decoder(16000, input_rate_hz=16000).decode(payload).size == 320
