"""A small part of the fuzz run, and the harness itself; the whole is `python -m benchmarks.fuzz_sip`."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "benchmarks" / "fuzz_sip.py"


@pytest.fixture(scope="module")
def fuzz():
    spec = importlib.util.spec_from_file_location("fuzz_sip", HARNESS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_sip"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz_sip"]


def test_mutated_messages_raise_nothing_strange_and_cost_little(fuzz):
    result = fuzz.run(5000, seed=7)
    assert result["strays"] == []
    assert result["slow"] == []
    assert result["messages"] == 5000
    # The run would be blind if all of it stopped at the first check.
    assert {"accepted", "dropped", "400", "405", "501", "505"} <= set(result["outcomes"])


def test_message_is_made_of_seed_and_number_alone(fuzz):
    seeds = fuzz.corpus()
    assert len(seeds) == 62
    assert fuzz.mutated(1, 99, seeds) == fuzz.mutated(1, 99, seeds)
    assert list(fuzz.numbered(1, 3))[2] == fuzz.mutated(1, 2, seeds)


def test_run_is_resumed(fuzz, tmp_path):
    state = tmp_path / "state.json"
    fuzz.run(50, seed=3, state=state)
    resumed = fuzz.run(120, seed=3, state=state)
    assert resumed["outcomes"] == fuzz.run(120, seed=3)["outcomes"]
    assert json.loads(state.read_text())["messages"] == 120
    assert fuzz.run(10, seed=4, state=state)["messages"] == 10


def test_harness_sees_what_it_looks_for(fuzz, monkeypatch):
    def broken(data):
        raise RuntimeError("seen")

    monkeypatch.setattr(fuzz, "timed", broken)
    assert fuzz.run(3)["strays"][0]["error"] == "RuntimeError: seen"
    monkeypatch.setattr(fuzz, "timed", lambda data: ("accepted", 0.021))
    result = fuzz.run(2)
    assert result["outliers"] == 2
    assert result["slow"] == [{"number": 0, "ms": 21.0}, {"number": 1, "ms": 21.0}]
