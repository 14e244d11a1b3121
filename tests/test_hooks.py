"""Hooks: what may override them, in which order they run, and what happens when one fails."""

import asyncio
import threading

import pytest

import voip
from voip.audio import AudioCall, VoiceActivityCall
from voip.hooks import HookRunner, check_hooks
from voip.testing import leg, run_virtual


class Recorder(AudioCall):
    """A leg that keeps what failed."""

    def __post_init__(self):
        super().__post_init__()
        self.errors = []
        self.seen = []

    def hook_failed(self, exc):
        self.errors.append(exc)


def subclass(base=AudioCall, **members):
    return type("Mine", (base,), members)


# When the class is made


@pytest.mark.parametrize("name", ["packet_received", "audio_received", "collect_audio"])
def test_a_hook_per_frame_cannot_be_async(name):
    async def hook(self, *args, **kwargs): ...

    with pytest.raises(TypeError, match=f"{name} runs per frame and cannot be async"):
        subclass(VoiceActivityCall, **{name: hook})


def test_a_hook_per_frame_cannot_be_an_async_generator_either():
    async def hook(self, *, audio, rms):
        yield audio

    with pytest.raises(TypeError, match="cannot be async"):
        subclass(audio_received=hook)


def test_a_hook_per_frame_cannot_be_blocking():
    with pytest.raises(TypeError, match="cannot be @blocking"):
        subclass(audio_received=voip.blocking(lambda self, *, audio, rms: None))


def test_blocking_is_not_for_async_functions():
    async def hook(self): ...

    with pytest.raises(TypeError, match="is async"):
        voip.blocking(hook)


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("audio_received", lambda self, audio: None),
        ("audio_received", lambda self, *, audio: None),
        ("packet_received", lambda self, packet: None),
        ("call_ended", lambda self: None),
        ("dtmf_received", lambda self, digit, duration_ms, more: None),
        ("call_started", lambda: None),
        ("call_started", staticmethod(lambda self: None)),
    ],
)
def test_a_wrong_signature_is_a_type_error(name, hook):
    with pytest.raises(TypeError, match=f"{name}.* must take"):
        subclass(**{name: hook})


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("audio_received", lambda self, audio, rms: None),
        ("audio_received", lambda self, **frame: None),
        ("packet_received", lambda self, packet, address, more=1: None),
        ("packet_received", lambda *args: None),
        ("call_ended", lambda self, why: None),
        ("call_started", staticmethod(lambda: None)),
        ("call_started", classmethod(lambda cls: None)),
        ("call_started", print),
    ],
)
def test_a_signature_that_takes_what_it_is_called_with_is_right(name, hook):
    assert subclass(**{name: hook})


def test_a_hook_that_is_no_method_is_a_type_error():
    with pytest.raises(TypeError, match="must be a method"):
        subclass(call_started=3)


def test_a_mixin_is_checked_where_it_is_mixed_in():
    class Wrong:
        def call_ended(self):
            pass

    with pytest.raises(TypeError, match="call_ended"):
        type("Mine", (Wrong, AudioCall), {})


def test_a_hook_without_a_readable_signature_is_let_through():
    class Odd:
        __signature__ = "none"

        def __call__(self):
            pass

    assert subclass(call_started=Odd())


def test_a_class_is_checked_once_and_its_children_not_for_it():
    class Parent(AudioCall):
        def call_started(self):
            pass

    class Child(Parent):
        pass

    check_hooks(Child)


# In order


def test_a_plain_hook_runs_at_once():
    made = leg(Recorder)
    made.call_started = lambda: made.seen.append("started")
    made.hooks.fire("call_started")
    assert made.seen == ["started"]


def test_calls_of_one_async_hook_keep_their_order_and_never_overlap():
    class Slow(Recorder):
        async def dtmf_received(self, digit, duration_ms):
            self.seen.append(f"{digit} begins")
            await asyncio.sleep(3.0 - int(digit))
            self.seen.append(f"{digit} ends")

    async def main():
        made = leg(Slow)
        for digit in "012":
            made.hooks.fire("dtmf_received", digit, 80.0)
        await asyncio.sleep(10)
        return made.seen

    assert run_virtual(main()) == [f"{n} {what}" for n in range(3) for what in ("begins", "ends")]


def test_different_async_hooks_never_wait_for_each_other():
    class Slow(Recorder):
        async def dtmf_received(self, digit, duration_ms):
            await asyncio.sleep(5)
            self.seen.append("key")

        async def call_started(self):
            self.seen.append("started")

    async def main():
        made = leg(Slow)
        made.hooks.fire("dtmf_received", "1", 80.0)
        made.hooks.fire("call_started")
        await asyncio.sleep(1)
        return made.seen

    assert run_virtual(main()) == ["started"]


def test_an_async_hook_that_fails_does_not_stop_the_next_call_of_it():
    class Failing(Recorder):
        async def dtmf_received(self, digit, duration_ms):
            if digit == "1":
                raise ValueError(digit)
            self.seen.append(digit)

    async def main():
        made = leg(Failing)
        made.hooks.fire("dtmf_received", "1", 80.0)
        made.hooks.fire("dtmf_received", "2", 80.0)
        await asyncio.sleep(1)
        return made

    made = run_virtual(main())
    assert made.seen == ["2"]
    assert [str(error) for error in made.errors] == ["1"]
    assert made.hooks.counters["failed"] == 1


def test_an_async_hook_has_a_bounded_queue():
    class Slow(Recorder):
        async def dtmf_received(self, digit, duration_ms):
            await asyncio.sleep(0.001)
            self.seen.append(digit)

    async def main():
        made = leg(Slow)
        for _ in range(HookRunner.WAITING_LIMIT + 5):
            made.hooks.fire("dtmf_received", "1", 80.0)
        await asyncio.sleep(10)
        return made

    made = run_virtual(main())
    assert len(made.seen) == HookRunner.WAITING_LIMIT
    assert made.hooks.counters["dropped"] == 5


def test_an_async_hook_without_a_loop_says_so_and_leaves_nothing():
    class Mine(Recorder):
        async def call_started(self): ...

    with pytest.raises(RuntimeError, match="no running event loop"):
        leg(Mine).hooks.fire("call_started")


def test_what_still_runs_when_the_call_ends_has_two_seconds():
    class Slow(Recorder):
        async def call_started(self):
            try:
                await asyncio.sleep(1.5)
                self.seen.append("in time")
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.seen.append("cancelled")
                raise

        async def dtmf_received(self, digit, duration_ms):
            await asyncio.sleep(60)

    async def main():
        made = leg(Slow)
        made.hooks.fire("call_started")
        made.hooks.fire("dtmf_received", "1", 80.0)
        made.hooks.fire("dtmf_received", "2", 80.0)
        await asyncio.sleep(0)
        made._end(voip.CallEnded(voip.errors.EndCause.REMOTE_HANGUP))
        await asyncio.sleep(1.9)
        first = list(made.seen)
        await asyncio.sleep(0.2)
        return first, made

    first, made = run_virtual(main())
    assert first == ["in time"]
    assert made.seen == ["in time", "cancelled"]
    assert not made._tasks
    assert made.errors == []


# Failures


def test_a_failing_hook_is_counted_and_handed_over():
    class Failing(Recorder):
        def call_started(self):
            raise KeyError("x")

    made = leg(Failing)
    made.hooks.fire("call_started")
    assert [type(error) for error in made.errors] == [KeyError]
    assert made.hooks.counters["failed"] == 1


def test_by_default_a_failing_hook_is_logged_with_the_call_id(caplog):
    class Failing(AudioCall):
        def call_started(self):
            raise KeyError("x")

    leg(Failing, call_id="a84b4c76e66710").hooks.fire("call_started")
    assert "a84b4c76e66710" in caplog.text
    assert "KeyError" in caplog.text


def test_a_failing_hook_failed_is_logged_and_goes_no_further(caplog):
    class Failing(AudioCall):
        def call_started(self):
            raise KeyError("x")

        def hook_failed(self, exc):
            self.hooks.fire("call_started")
            raise ValueError("in the handler")

    made = leg(Failing)
    made.hooks.fire("call_started")
    assert "hook_failed failed" in caplog.text
    assert made.hooks.counters["failed"] == 2


def test_the_fiftieth_frame_in_a_row_is_one_too_many():
    made = leg(Recorder)
    outcomes = [made.hooks.frame_failed("audio_received", ValueError()) for _ in range(51)]
    assert outcomes.index(True) == 49
    assert outcomes.count(True) == 1
    made.hooks.in_a_row.clear()
    assert not made.hooks.frame_failed("audio_received", ValueError())


# Blocking


def test_blocking_hooks_run_in_the_calls_own_thread_in_order(virtual):
    class Mine(Recorder):
        @voip.blocking
        def dtmf_received(self, digit, duration_ms):
            self.seen.append((digit, threading.current_thread()))

        @voip.blocking
        def call_started(self):
            self.seen.append(("started", threading.current_thread()))

    async def main():
        made = leg(Mine)
        made.hooks.fire("call_started")
        for digit in "123":
            made.hooks.fire("dtmf_received", digit, 80.0)
        await asyncio.sleep(1)
        made._end(voip.CallEnded(voip.errors.EndCause.SHUTDOWN))
        made._worker.shutdown()
        return made

    made = run_virtual(main())
    assert [what for what, _ in made.seen] == ["started", "1", "2", "3"]
    threads = {thread for _, thread in made.seen}
    assert len(threads) == 1
    assert threading.main_thread() not in threads
    assert made.hooks.counters["blocking"] == 4


def test_a_blocking_hook_gives_its_result_and_none_when_it_failed():
    class Mine(Recorder):
        @voip.blocking
        def dtmf_received(self, digit, duration_ms):
            return int(digit)

    async def main():
        made = leg(Mine)
        results = [await made.dtmf_received("7", 80.0), await made.dtmf_received("#", 80.0)]
        made._worker.shutdown()
        return results, made

    results, made = run_virtual(main())
    assert results == [7, None]
    assert [type(error) for error in made.errors] == [ValueError]


def test_the_worker_has_a_bounded_queue(caplog):
    gate = threading.Event()

    class Mine(Recorder):
        @voip.blocking
        def dtmf_received(self, digit, duration_ms):
            gate.wait(10)
            self.seen.append(digit)

    async def main():
        made = leg(Mine)
        for _ in range(HookRunner.BLOCKING_LIMIT):
            made.hooks.fire("dtmf_received", "1", 80.0)
        assert await made.dtmf_received("2", 80.0) is None
        gate.set()
        while len(made.seen) < HookRunner.BLOCKING_LIMIT:
            await asyncio.sleep(0.01)
        made._worker.shutdown()
        return made

    made = asyncio.run(main())
    assert "2" not in made.seen
    assert made.hooks.counters["blocking_dropped"] == 1
    assert "one dropped" in caplog.text


def test_blocking_work_that_has_not_begun_two_seconds_after_the_end_never_does():
    gate = threading.Event()

    class Mine(Recorder):
        @voip.blocking
        def dtmf_received(self, digit, duration_ms):
            gate.wait(10)
            self.seen.append(digit)

        @voip.blocking
        def call_ended(self, reason):
            self.seen.append("ended")

    async def main():
        made = leg(Mine)
        made.hooks.fire("dtmf_received", "1", 80.0)
        made._end(voip.CallEnded(voip.errors.EndCause.REMOTE_HANGUP))
        made.hooks._close(made._let_go)  # two seconds later
        gate.set()
        made._worker.shutdown(wait=True)
        await asyncio.sleep(0.01)
        return made

    made = asyncio.run(main())
    assert made.seen == ["1"]
    assert made.hooks._working == 0
    assert made.errors == []


def test_an_utterance_may_be_taken_by_a_blocking_hook():
    class Mine(VoiceActivityCall):
        heard = None

        @voip.blocking
        def speech_buffer_ready(self, audio):
            self.heard = audio.size

    async def main():
        made = leg(Mine)
        made.speech_buffer.append(voip_ones(320))
        made.flush_speech_buffer()
        await asyncio.sleep(1)
        made._worker.shutdown()
        return made.heard

    assert run_virtual(main()) == 320


def voip_ones(size):
    import numpy as np

    return np.ones(size, np.float32)


def test_a_leg_has_one_runner_and_its_class_has_none():
    made = leg(AudioCall)
    assert made.hooks is made.hooks
    assert made.hooks is not leg(AudioCall).hooks
    assert not isinstance(AudioCall.hooks, HookRunner)
    assert made.hooks.counters == {}
