"""The races that other stacks lost: RELIABILITY §3.2, without UPDATE and REFER."""

from __future__ import annotations

import pytest

from voip.sip.settings import Timing


def test_cancel_crosses_200_and_nobody_is_left_in_a_call(kit):
    pair = kit.Pair()
    call = pair.call()
    pair.world.run(0.0008)  # the 200 is under way
    pair.alice.command(lambda _, now: call.cancel(now))
    pair.world.run(60)
    assert pair.finished["alice"] == [("cancelled", 487)]
    assert pair.finished["bob"] == [("remote_hangup", None)]
    pair.world.run(60)
    assert pair.left() == {}


def test_the_487_to_our_cancel_is_acked(bench):
    call = bench.dial()
    invite = bench.sent[0]
    bench.reply(180)
    bench.do(lambda _, now: call.cancel(now))
    bench.reply(200, bench.sent[-1])
    refusal = bench.reply(487, invite)
    assert bench.names() == ["INVITE", "CANCEL", "ACK"]
    bench.hear(refusal)
    assert bench.names()[-1] == "ACK"
    assert bench.finished() == [("cancelled", 487)]
    bench.settle()


def test_a_repeated_cancel_gets_the_same_200(bench):
    request, _ = bench.invite()
    cancel = bench.request("CANCEL", branch=request.branch)
    bench.hear(cancel)
    bench.hear(cancel)
    assert bench.names() == ["200 CANCEL", "487 INVITE", "200 CANCEL"]
    assert bench.raw[0] == bench.raw[2]
    assert bench.finished() == [("cancelled", 487)]
    bench.hear(bench.ack(request, bench.sent[1]))
    bench.settle()


def test_an_ack_at_once_stops_the_200(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.accept(now, b"v=0\r\n"))
    bench.hear(bench.ack(request, bench.sent[-1]))
    bench.run(100)
    assert bench.names() == ["200 INVITE"]
    assert call.state == "confirmed"


def test_the_application_is_told_at_once_that_the_caller_gave_up(bench):
    request, call = bench.invite()
    bench.do(lambda _, now: call.ring(now))
    bench.hear(bench.request("CANCEL", branch=request.branch))
    assert bench.told() == ["CallOffered", "CallFinished"]
    assert bench.machine.sizes()["calls"] == 0
    assert bench.machine.sizes()["dialogs"] == 0
    assert bench.machine.sizes()["transactions"] == 2  # these linger alone
    bench.settle()


def test_an_ack_makes_no_transaction(bench):
    bench.answered()
    assert {key.rpartition("\n")[2] for key in bench.served} == {"INVITE"}


def test_a_bare_ack_is_never_answered(bench):
    bench.hear(bench.request("ACK", to_tag="nobody"))
    assert bench.raw == []
    assert bench.machine.counters["ack.stray"] == 1


def test_a_reinvite_without_sdp_after_our_bye(bench):
    call = bench.answered()
    bench.do(lambda _, now: call.bye(now))
    bye = bench.sent[-1]
    bench.hear(bench.inside(call, "INVITE"))
    assert bench.names()[-1] == "481 INVITE"
    bench.reply(200, bye)
    bench.hear(bench.inside(call, "INVITE", cseq=3))
    assert bench.names()[-1] == "481 INVITE"
    bench.settle()


def test_two_183_of_one_fork(bench):
    bench.dial()
    invite = bench.sent[0]
    bench.reply(183, invite, body=b"not a description")
    bench.reply(183, invite, body=b"v=0\r\n")
    bench.reply(200, invite, body=b"v=0\r\n")
    assert bench.told() == ["CallRinging", "CallRinging", "CallAnswered"]


def test_a_late_forked_2xx_is_acked_and_ended(bench):
    call = bench.connected()
    invite = bench.sent[0]
    bench.run(5)
    bench.forget()
    bench.reply(200, invite, tag="other", body=b"v=0\r\n")
    assert bench.names() == ["ACK", "BYE"]
    assert [m.to.tag for m in bench.sent] == ["other", "other"]
    assert bench.sent[0].cseq.number == invite.cseq.number
    assert bench.told() == []
    bench.reply(200, invite, tag="other", body=b"v=0\r\n")
    assert bench.names() == ["ACK", "BYE", "ACK"]
    assert call.state == "confirmed"


def test_a_2xx_after_the_invite_timed_out(bench):
    bench.dial()
    invite = bench.sent[0]
    bench.run(33)
    assert bench.finished() == [("no_answer", 408)]
    bench.forget()
    bench.reply(200, invite, body=b"v=0\r\n")
    assert bench.names() == ["ACK", "BYE"]
    bench.settle()


def test_a_2xx_after_a_refusal(bench):
    bench.dial()
    invite = bench.sent[0]
    bench.reply(486)
    bench.forget()
    bench.reply(200, invite, tag="fork", body=b"v=0\r\n")
    assert bench.names() == ["ACK", "BYE"]
    bench.settle()


def test_a_2xx_for_nobody_is_dropped(bench):
    bench.dial()
    invite = bench.sent[0]
    bench.reply(486)
    bench.run(40)
    bench.forget()
    bench.reply(200, invite, body=b"v=0\r\n")
    assert bench.names() == []
    assert bench.machine.counters["response.stray"] == 1


def test_fifty_forks_make_one_call_and_49_byes(bench):
    bench.dial()
    invite = bench.sent[0]
    for number in range(50):
        bench.reply(200, invite, tag=f"fork{number}", body=b"v=0\r\n")
    assert bench.told() == ["CallAnswered"]
    assert bench.names().count("BYE") == 49
    assert bench.names().count("ACK") == 50


def test_early_dialogs_are_eight_at_most(bench):
    bench.dial()
    invite = bench.sent[0]
    for number in range(20):
        bench.reply(180, invite, tag=f"fork{number}")
    assert bench.machine.sizes()["dialogs"] == 8
    assert bench.machine.counters["call.too_many_early_dialogs"] == 12
    bench.reply(200, invite, tag="fork19", body=b"v=0\r\n")
    assert bench.machine.sizes()["dialogs"] == 1


def test_reinvite_both_ways_meets_491_and_one_wins_after_the_other(kit):
    pair = kit.Pair(hold=30.0)
    calls = {}
    inner = pair._handle

    def handle(name, node, event):
        kind = type(event).__name__
        if kind in ("CallAnswered", "CallConfirmed"):
            calls[name] = event.call
        if kind == "CallReoffered":
            offers.append((name, pair.world.now))
            node.command(lambda _, now: event.call.answer_offer(now, b"v=0\r\n"))
        elif kind == "CallReanswered":
            answers.append((name, event.response.status_code))
        else:
            inner(name, node, event)

    offers, answers = [], []
    pair._handle = handle
    pair.call()
    pair.world.run(1)
    start = pair.world.now
    for name, node in (("alice", pair.alice), ("bob", pair.bob)):
        node.command(lambda _, now, name=name: calls[name].reinvite(now, b"v=0\r\n"))
    pair.world.run(10)
    assert [name for name, _ in offers] == ["alice", "bob"]  # bob does not own the Call-ID: first
    first, second = (round(at - start, 2) for _, at in offers)
    assert 0.0 <= first <= 2.02
    assert 2.1 <= second <= 4.02
    assert answers == [("bob", 200), ("alice", 200)]
    assert pair.bob.machine.counters["call.reinvite_491"] == 1
    assert pair.alice.machine.counters["call.reinvite_491"] == 1
    pair.world.run(100)
    assert pair.left() == {}


@pytest.mark.parametrize(("outgoing", "least", "most"), [(True, 2.1, 4.0), (False, 0.0, 2.0)])
def test_the_wait_after_491_is_in_steps_of_10_ms(kit, outgoing, least, most):
    waits = set()
    for seed in range(30):
        bench = kit.Bench(seed=seed)
        call = bench.connected() if outgoing else bench.answered()
        bench.do(lambda _, now, call=call: call.reinvite(now, b"v=0\r\n"))
        bench.reply(491)
        bench.forget()
        bench.run(4.1)
        waits.add(bench.times[0])
    assert all(least <= wait <= most for wait in waits)
    assert all(abs(wait * 100 - round(wait * 100)) < 1e-4 for wait in waits)
    assert len(waits) > 15


def test_glare_is_tried_five_times(bench):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.forget()
    for _ in range(5):
        request = next(
            m for m in reversed([*bench.sent, call.local_offer.client.sent]) if m.method == "INVITE"
        )
        bench.reply(491, request)
        bench.run(4.1)
    numbers = {m.cseq.number for m in bench.sent if m.cseq.method == "INVITE"}
    assert len(numbers) == 4  # and the first one
    assert bench.told() == ["CallReanswered"]
    assert bench.events[-1].response.status_code == 491
    assert call.state == "confirmed"


def test_a_second_invite_before_the_first_is_answered(bench):
    _, call = bench.invite()
    bench.do(lambda _, now: call.ring(now))
    again = bench.inside(call, "INVITE")
    bench.hear(again)
    assert bench.names()[-1] == "500 INVITE"
    assert 0 <= int(bench.sent[-1].headers["Retry-After"]) <= 10
    assert call.state == "ringing"


def test_a_second_reinvite_before_the_first_is_answered(bench):
    call = bench.answered()
    bench.hear(bench.inside(call, "INVITE", body=b"v=0\r\n"))
    bench.hear(bench.inside(call, "INVITE", cseq=3, body=b"v=0\r\n"))
    assert bench.names()[-1] == "500 INVITE"
    assert "Retry-After" in bench.sent[-1].headers
    assert bench.told().count("CallReoffered") == 1


def test_a_dead_peer_leaves_nothing_after_a_bye(bench):
    call = bench.answered()
    bench.do(lambda _, now: call.bye(now))
    assert bench.finished() == [("local_hangup", None)]  # told at the first send
    bench.run(31.9)
    assert bench.names().count("BYE") == 11
    bench.settle()
    assert bench.machine.counters["call.bye_unanswered"] == 1


@pytest.mark.parametrize("status", [408, 481])
def test_408_or_481_inside_the_dialog_end_it(bench, status):
    call = bench.connected()
    bench.do(lambda _, now: call.reinvite(now, b"v=0\r\n"))
    bench.reply(status)
    assert bench.finished() == [("failed", status)]
    assert bench.names()[-1] == "BYE"


def test_a_shorter_t1_shortens_everything(kit):
    bench = kit.Bench(timing=Timing(t1=0.1))
    bench.dial()
    bench.run(6.5)
    assert bench.times == pytest.approx([0, 0.1, 0.3, 0.7, 1.5, 3.1, 6.3])
    assert bench.finished() == [("no_answer", 408)]
