"""What the slack of the last packets says about the delay that is needed."""

import pytest

from voip.media.delay import JitterSettings, percentiles


@pytest.mark.parametrize(
    ("slacks", "expected"),
    [
        ({2: 100}, (2, 2)),
        ({-1: 3, 2: 97}, (2, 2)),
        ({-1: 4, 2: 96}, (-1, 2)),
        ({0: 4, 1: 40, 2: 40, 5: 16}, (0, 5)),
        ({0: 4, 1: 40, 2: 46, 5: 10}, (0, 2)),
        ({-3: 100}, (-3, -3)),
    ],
)
def test_three_percent_are_below_the_low_one_and_ninety_up_to_the_high_one(slacks, expected):
    assert percentiles(slacks, 100) == expected


def test_of_nothing_both_are_zero():
    assert percentiles({}, 0) == (0, 0)


def test_the_bounds_are_those_of_a_phone_line():
    settings = JitterSettings()
    assert settings.least_delay < settings.most_delay <= 2.0
    assert settings.most_packets <= 100
