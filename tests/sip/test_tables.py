"""The transaction tables are sound as data: every state is reached and left, every action exists."""

from __future__ import annotations

import pytest

from voip.sip.tables import TABLES, Input, Kind, State
from voip.sip.transactions import Transactions

STARTS = {
    Kind.INVITE_CLIENT: State.CALLING,
    Kind.CLIENT: State.TRYING,
    Kind.INVITE_SERVER: State.PROCEEDING,
    Kind.SERVER: State.TRYING,
}


@pytest.mark.parametrize("kind", Kind)
def test_every_action_is_a_method_with_words(kind):
    for _, action in TABLES[kind].values():
        assert getattr(Transactions, action).__doc__


@pytest.mark.parametrize("kind", Kind)
def test_every_state_is_reached_from_the_start_and_leads_to_the_end(kind):
    table = TABLES[kind]
    edges = {(state, then) for (state, _), (then, _) in table.items()}
    states = {state for edge in edges for state in edge}

    def reach(sources, forward=True):
        found = set(sources)
        while True:
            more = {
                (b if forward else a) for a, b in edges if (a if forward else b) in found
            } - found
            if not more:
                return found
            found |= more

    assert reach({STARTS[kind]}) == states
    assert reach({State.TERMINATED}, forward=False) == states


@pytest.mark.parametrize("kind", Kind)
def test_nothing_leaves_terminated(kind):
    assert not [cell for cell in TABLES[kind] if cell[0] is State.TERMINATED]


@pytest.mark.parametrize("kind", Kind)
def test_every_table_uses_only_what_can_happen_to_it(kind):
    inputs = {given for _, given in TABLES[kind]}
    client = kind in (Kind.CLIENT, Kind.INVITE_CLIENT)
    foreign = (
        {Input.REQUEST, Input.ACK, Input.SEND_SUCCESS, Input.SEND_FAILURE, Input.SEND_PROVISIONAL}
        if client
        else {Input.PROVISIONAL, Input.SUCCESS, Input.FAILURE}
    )
    assert not inputs & foreign


def test_every_input_is_used_somewhere():
    assert {given for table in TABLES.values() for _, given in table} == set(Input)
