"""`Answer`: ignored, awaited, wrapped, cancelled."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine

import pytest

from voip.errors import NegotiationError
from voip.sip.answer import Answer


def test_is_a_coroutine():
    assert isinstance(Answer(), Coroutine)
    assert asyncio.iscoroutine(Answer())


async def test_awaiting_a_settled_answer_gives_the_leg():
    answer = Answer()
    answer.set_result("leg")
    assert await answer == "leg"
    assert answer.done


async def test_every_wrapper_yields_the_leg():
    answers = [Answer() for _ in range(4)]
    loop = asyncio.get_running_loop()
    for answer in answers:
        loop.call_soon(answer.set_result, "leg")
    task = asyncio.create_task(answers[0])
    async with asyncio.TaskGroup() as group:
        grouped = group.create_task(answers[1])
    assert await asyncio.gather(task, answers[2]) == ["leg", "leg"]
    assert await asyncio.wait_for(answers[3], 1) == "leg"
    assert grouped.result() == "leg"


async def test_two_awaiters_get_the_same_leg():
    answer = Answer()

    async def wait():
        return await answer

    waits = asyncio.gather(wait(), wait())
    asyncio.get_running_loop().call_soon(answer.set_result, "leg")
    assert await waits == ["leg", "leg"]


async def test_awaiting_raises_the_reason():
    answer = Answer()
    answer.set_exception(NegotiationError("nothing in common"))
    with pytest.raises(NegotiationError, match="nothing in common"):
        await answer


async def test_cancelling_the_awaiter_leaves_the_answer_alone():
    answer = Answer()
    task = asyncio.create_task(answer)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer.set_result("leg")
    assert await answer._wait() == "leg"


async def test_a_task_cancelled_before_its_first_step_ends_cancelled():
    answer = Answer()
    task = asyncio.create_task(answer)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not answer.done


async def test_an_unread_error_is_not_reported():
    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    answer = Answer()
    answer.set_exception(NegotiationError("nobody reads this"))
    del answer
    gc.collect()
    await asyncio.sleep(0)
    assert reports == []


async def test_the_first_settling_wins():
    answer = Answer()
    answer.set_result("leg")
    answer.set_exception(NegotiationError("late"))
    assert await answer == "leg"
    assert "leg" in repr(answer)


def test_closing_an_answer_that_nobody_awaited_is_harmless():
    answer = Answer()
    answer.close()
    assert "pending" in repr(answer)
