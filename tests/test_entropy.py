import os

import pytest

from voip.entropy import EntropyPool


@pytest.mark.parametrize("count", [0, 1, 8, 63, 64, 65, 1000])
def test_a_draw_is_as_long_as_asked(count):
    draw = EntropyPool(64)
    assert [len(draw(count)) for _ in range(20)] == [count] * 20


def test_no_byte_is_given_twice():
    draw = EntropyPool(64)
    drawn = [draw(8) for _ in range(2000)]
    assert len(set(drawn)) == len(drawn)


def test_what_was_drawn_is_not_in_the_pool_any_more_after_forgetting():
    draw = EntropyPool(64)
    first = draw(8)
    draw.forget()
    assert first not in draw(64)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_child_process_draws_other_bytes():
    draw = EntropyPool(1024)
    draw(8)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, draw(16))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 16)
    os.close(reader)
    os.close(writer)
    assert len(theirs) == 16
    assert draw(16) != theirs
