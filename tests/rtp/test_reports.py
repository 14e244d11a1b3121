from __future__ import annotations

import random

import pytest

from voip.rtp.packet import RTPPacket
from voip.rtp.reports import RTCPSession, ntp_timestamp, random_cname
from voip.rtp.rtcp import (
    ApplicationPacket,
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
    parse_compound,
)
from voip.rtp.stream import ReceiveStreams

NTP = ntp_timestamp(1_800_000_000.0)


def session(ssrc=1, seed=0, **more):
    return RTCPSession(ssrc, "name", 8000, random.Random(seed).randbytes, **more)


def packet(number, ssrc=2):
    return RTPPacket(0, number, number * 160, ssrc, b"x" * 160)


def test_ntp_counts_from_1900_and_wraps_in_2036():
    assert ntp_timestamp(0) == 2_208_988_800 << 32
    assert ntp_timestamp(0.5) & 0xFFFFFFFF == 1 << 31
    assert ntp_timestamp(2_085_978_496) == 0
    assert ntp_timestamp(2_085_978_497) == 1 << 32


def test_a_cname_is_random_and_tells_nothing():
    entropy = random.Random(1).randbytes
    first, second = random_cname(entropy), random_cname(entropy)
    assert len(first) == 16
    assert first != second


def test_reports_come_every_five_seconds_or_so_and_never_in_step():
    firsts, gaps = set(), []
    for seed in range(200):
        one = session(seed=seed)
        assert one.deadline() is None
        one.start(100.0)
        due = one.deadline()
        assert due.reason == "rtcp report"
        firsts.add(due.at)
        one.report(due.at, NTP)
        gaps.append(one.deadline().at - due.at)
    assert 101.25 <= min(firsts) < max(firsts) <= 103.75
    assert len(firsts) > 190
    assert 2.5 <= min(gaps) < 3 < 7 < max(gaps) <= 7.5


def test_one_who_sends_nothing_reports_as_a_receiver():
    one = session()
    assert parse_compound(one.report(1, NTP)) == [
        ReceiverReport(1),
        SourceDescription.of(1, "name"),
    ]


def test_one_who_sends_reports_as_a_sender_until_it_stops():
    one = session()
    for number in range(3):
        one.sent.sent(packet(number, 1), number * 0.02)
    report, _ = parse_compound(one.report(1.04, NTP))
    assert report == SenderReport(1, NTP, 320 + 8000, 3, 480)
    one.sent.sent(packet(3, 1), 2)
    assert isinstance(parse_compound(one.report(6, NTP))[0], SenderReport)
    assert isinstance(parse_compound(one.report(11, NTP))[0], ReceiverReport)


def test_what_was_received_is_reported():
    streams = ReceiveStreams(8000)
    one = session(streams=streams)
    assert one.counters is streams.counters
    for number in (1, 2, 3, 5):
        streams.receive(packet(number), number * 0.02)
    one.receive([SenderReport(2, 0xAAAA11112222BBBB, 0, 0, 0)], 1.0)
    report, _ = parse_compound(one.report(2.0, NTP))
    [block] = report.reports
    assert (block.ssrc, block.cumulative_lost, block.highest_sequence) == (2, 1, 5)
    assert (block.last_sender_report, block.delay_since_last) == (0x11112222, 65536)


def sender_report(one, now, ntp=NTP):
    one.sent.sent(packet(1, 1), now)
    return parse_compound(one.report(now, ntp))[0].ntp >> 16 & 0xFFFFFFFF


def test_the_round_trip_is_measured_on_our_own_clock():
    one = session()
    label = sender_report(one, 10.0)
    block = ReportBlock(1, last_sender_report=label, delay_since_last=65536 // 2)
    one.receive([ReceiverReport(2, (ReportBlock(9), block))], 10.75)
    assert one.round_trip_s == pytest.approx(0.25)
    assert one.remote is block


def test_a_clock_that_is_set_does_not_move_the_round_trip():
    one = session()
    label = sender_report(one, 10.0)
    sender_report(one, 15.0, ntp_timestamp(0))
    one.receive([ReceiverReport(2, (ReportBlock(1, last_sender_report=label),))], 15.1)
    assert one.round_trip_s == pytest.approx(5.1)


@pytest.mark.parametrize("block", [ReportBlock(1), ReportBlock(1, last_sender_report=12345), None])
def test_lies_about_the_round_trip_are_not_believed(block):
    one = session()
    label = sender_report(one, 10.0)
    block = block or ReportBlock(1, last_sender_report=label, delay_since_last=65536 * 60)
    one.receive([ReceiverReport(2, (block,))], 10.5)
    assert one.round_trip_s is None
    assert one.remote is block


def test_goodbye_marks_its_source_and_ends_nothing():
    one = session()
    for number in range(3):
        one.streams.receive(packet(number), 0)
    one.receive([Goodbye((2, 99)), ApplicationPacket(0, 2, b"test")], 1)
    assert one.streams.get(2).ended
    assert one.counters["rtcp_goodbye_unknown"] == 1
    assert one.streams.receive(packet(3), 1) != ()


def test_our_own_reports_that_come_back_are_counted():
    one = session()
    one.receive(parse_compound(one.report(1, NTP)), 1.1)
    assert one.counters["rtcp_ssrc_collision"] == 1


def test_we_leave_with_a_goodbye_and_report_no_more():
    one = session()
    one.start(0)
    packets = parse_compound(one.goodbye(1, NTP))
    assert packets[-1] == Goodbye((1,))
    assert isinstance(packets[0], ReceiverReport)
    assert one.deadline() is None


def test_two_sessions_measure_each_other():
    ours, theirs = session(1), session(2, seed=1)
    for number in range(50):
        ours.sent.sent(packet(number, 1), number * 0.02)
        theirs.streams.receive(packet(number, 1), number * 0.02 + 0.03)
    theirs.receive(parse_compound(ours.report(1.0, NTP)), 1.03)
    ours.receive(parse_compound(theirs.report(1.5, NTP + 12345)), 1.54)
    assert ours.round_trip_s == pytest.approx(0.07, abs=1e-3)
    assert ours.remote.cumulative_lost == 0
