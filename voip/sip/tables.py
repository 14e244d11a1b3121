"""The four transaction tables of RFC 3261 §17, with the corrections of RFC 6026, as data.

(state, input) -> (state, action); an action is a method of `voip.sip.transactions.Transactions` of
that name. The documentation draws its diagrams from `TABLES`, and the tests throw every input at
every state.
"""

from __future__ import annotations

import enum

__all__ = ["CLIENT", "INVITE_CLIENT", "INVITE_SERVER", "SERVER", "TABLES", "Input", "Kind", "State"]


class Kind(enum.StrEnum):
    """Which of the four tables."""

    INVITE_CLIENT = "INVITE client"
    CLIENT = "non-INVITE client"
    INVITE_SERVER = "INVITE server"
    SERVER = "non-INVITE server"


class State(enum.StrEnum):
    """States of RFC 3261 §17; Accepted is RFC 6026 §7."""

    CALLING = "calling"
    TRYING = "trying"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    CONFIRMED = "confirmed"
    TERMINATED = "terminated"


class Input(enum.StrEnum):
    """Everything that can happen to a transaction."""

    PROVISIONAL = "1xx"
    SUCCESS = "2xx"
    FAILURE = "300-699"
    REQUEST = "request again"
    ACK = "ACK"
    SEND_PROVISIONAL = "send 1xx"
    SEND_SUCCESS = "send 2xx"
    SEND_FAILURE = "send 300-699"
    TIMER_100 = "timer 100"
    TIMER_A = "timer A"
    TIMER_B = "timer B"
    TIMER_D = "timer D"
    TIMER_E = "timer E"
    TIMER_F = "timer F"
    TIMER_G = "timer G"
    TIMER_H = "timer H"
    TIMER_I = "timer I"
    TIMER_J = "timer J"
    TIMER_K = "timer K"
    TIMER_L = "timer L"
    TIMER_M = "timer M"
    TRANSPORT_ERROR = "transport error"


S, I = State, Input  # noqa: E741 - the tables are read as tables
Table = dict[tuple[State, Input], tuple[State, str]]

#: RFC 3261 §17.1.1.2 as replaced by RFC 6026 §8.4.
INVITE_CLIENT: Table = {
    (S.CALLING, I.TIMER_A): (S.CALLING, "resend"),
    (S.CALLING, I.TIMER_B): (S.TERMINATED, "time_out"),
    (S.CALLING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.CALLING, I.PROVISIONAL): (S.PROCEEDING, "proceed"),
    (S.CALLING, I.SUCCESS): (S.ACCEPTED, "accept"),
    (S.CALLING, I.FAILURE): (S.COMPLETED, "refuse"),
    (S.PROCEEDING, I.PROVISIONAL): (S.PROCEEDING, "pass_response"),
    (S.PROCEEDING, I.SUCCESS): (S.ACCEPTED, "accept"),
    (S.PROCEEDING, I.FAILURE): (S.COMPLETED, "refuse"),
    # Deviation: a lost connection ends a proceeding INVITE at once, not at the ringing deadline.
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.COMPLETED, I.FAILURE): (S.COMPLETED, "acknowledge_again"),
    # Deviation: a 2xx after a non-2xx final (a proxy that broke §16.7) is still owed ACK and BYE.
    (S.COMPLETED, I.SUCCESS): (S.COMPLETED, "pass_response"),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, "forget"),
    (S.COMPLETED, I.TIMER_D): (S.TERMINATED, "forget"),
    (S.ACCEPTED, I.SUCCESS): (S.ACCEPTED, "pass_response"),
    (S.ACCEPTED, I.TIMER_M): (S.TERMINATED, "forget"),
}

#: RFC 3261 §17.1.2.2.
CLIENT: Table = {
    (S.TRYING, I.TIMER_E): (S.TRYING, "resend_slower"),
    (S.TRYING, I.TIMER_F): (S.TERMINATED, "time_out"),
    (S.TRYING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.TRYING, I.PROVISIONAL): (S.PROCEEDING, "pass_response"),
    (S.TRYING, I.SUCCESS): (S.COMPLETED, "conclude"),
    (S.TRYING, I.FAILURE): (S.COMPLETED, "conclude"),
    (S.PROCEEDING, I.TIMER_E): (S.PROCEEDING, "resend_slowest"),
    (S.PROCEEDING, I.TIMER_F): (S.TERMINATED, "time_out"),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.PROCEEDING, I.PROVISIONAL): (S.PROCEEDING, "pass_response"),
    (S.PROCEEDING, I.SUCCESS): (S.COMPLETED, "conclude"),
    (S.PROCEEDING, I.FAILURE): (S.COMPLETED, "conclude"),
    (S.COMPLETED, I.PROVISIONAL): (S.COMPLETED, "absorb"),
    (S.COMPLETED, I.SUCCESS): (S.COMPLETED, "absorb"),
    (S.COMPLETED, I.FAILURE): (S.COMPLETED, "absorb"),
    (S.COMPLETED, I.TIMER_K): (S.TERMINATED, "forget"),
}

#: RFC 3261 §17.2.1 as replaced by RFC 6026 §8.5.
INVITE_SERVER: Table = {
    (S.PROCEEDING, I.REQUEST): (S.PROCEEDING, "repeat"),
    (S.PROCEEDING, I.TIMER_100): (S.PROCEEDING, "send_trying"),
    (S.PROCEEDING, I.SEND_PROVISIONAL): (S.PROCEEDING, "send_provisional"),
    (S.PROCEEDING, I.SEND_SUCCESS): (S.ACCEPTED, "send_success"),
    (S.PROCEEDING, I.SEND_FAILURE): (S.COMPLETED, "send_failure"),
    (S.PROCEEDING, I.TRANSPORT_ERROR): (S.TERMINATED, "fail"),
    (S.COMPLETED, I.REQUEST): (S.COMPLETED, "repeat"),
    (S.COMPLETED, I.ACK): (S.CONFIRMED, "confirm"),
    (S.COMPLETED, I.TIMER_G): (S.COMPLETED, "resend_slower"),
    (S.COMPLETED, I.TIMER_H): (S.TERMINATED, "forget"),
    (S.COMPLETED, I.TRANSPORT_ERROR): (S.TERMINATED, "forget"),
    (S.CONFIRMED, I.REQUEST): (S.CONFIRMED, "absorb"),
    (S.CONFIRMED, I.ACK): (S.CONFIRMED, "absorb"),
    (S.CONFIRMED, I.TIMER_I): (S.TERMINATED, "forget"),
    (S.ACCEPTED, I.REQUEST): (S.ACCEPTED, "absorb"),
    (S.ACCEPTED, I.ACK): (S.ACCEPTED, "pass_ack"),
    (S.ACCEPTED, I.TIMER_L): (S.TERMINATED, "forget"),
}

#: RFC 3261 §17.2.2. Timer J also bounds a transaction whose user never answers; no 408 is sent then
#: (RFC 4320 §4.2).
SERVER: Table = {
    (S.TRYING, I.REQUEST): (S.TRYING, "absorb"),
    (S.TRYING, I.SEND_PROVISIONAL): (S.PROCEEDING, "send_provisional"),
    (S.TRYING, I.SEND_SUCCESS): (S.COMPLETED, "send_final"),
    (S.TRYING, I.SEND_FAILURE): (S.COMPLETED, "send_final"),
    (S.TRYING, I.TIMER_J): (S.TERMINATED, "forget"),
    (S.PROCEEDING, I.REQUEST): (S.PROCEEDING, "repeat"),
    (S.PROCEEDING, I.SEND_PROVISIONAL): (S.PROCEEDING, "send_provisional"),
    (S.PROCEEDING, I.SEND_SUCCESS): (S.COMPLETED, "send_final"),
    (S.PROCEEDING, I.SEND_FAILURE): (S.COMPLETED, "send_final"),
    (S.PROCEEDING, I.TIMER_J): (S.TERMINATED, "forget"),
    (S.COMPLETED, I.REQUEST): (S.COMPLETED, "repeat"),
    (S.COMPLETED, I.TIMER_J): (S.TERMINATED, "forget"),
}

TABLES: dict[Kind, Table] = {
    Kind.INVITE_CLIENT: INVITE_CLIENT,
    Kind.CLIENT: CLIENT,
    Kind.INVITE_SERVER: INVITE_SERVER,
    Kind.SERVER: SERVER,
}
