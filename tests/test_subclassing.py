"""Every way in which users subclass a leg, on every Python that is supported."""

import copy
import dataclasses
import typing
from collections import deque
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import ClassVar
from typing import ClassVar as CV

import numpy as np
import pytest

from voip.audio import AudioCall, EchoCall, VoiceActivityCall
from voip.codecs import PCMA, PCMU
from voip.legs import Extensible
from voip.rtp import RTPCall
from voip.testing import leg


class Unhashable:
    __hash__ = None

    def __eq__(self, other):
        return True


def test_a_bare_subclass_works():
    class Greeter(AudioCall):
        def audio_received(self, *, audio, rms): ...

    made = leg(Greeter)
    assert made.codec is PCMU
    assert dataclasses.is_dataclass(Greeter)


def test_a_decorated_subclass_works():
    @dataclass
    class Greeter(AudioCall):
        def audio_received(self, *, audio, rms): ...

    assert leg(Greeter).codec is PCMU


def test_a_decorated_subclass_may_have_new_fields_with_and_without_defaults():
    @dataclass
    class Greeter(AudioCall):
        name: str
        tries: int = 3

    made = leg(Greeter, name="Ada")
    assert (made.name, made.tries) == ("Ada", 3)


def test_a_keyword_only_subclass_may_have_new_fields_in_any_order():
    @dataclass(kw_only=True)
    class Greeter(VoiceActivityCall):
        tries: int = 3
        name: str

    made = leg(Greeter, name="Ada", silence_gap=0.9)
    assert (made.name, made.tries, made.silence_gap) == ("Ada", 3, 0.9)


def test_a_bare_subclass_may_have_new_fields_in_any_order():
    class Greeter(AudioCall):
        tries: int = 3
        name: str

    made = leg(Greeter, name="Ada", tries=4)
    assert (made.name, made.tries) == ("Ada", 4)
    with pytest.raises(TypeError, match="name"):
        leg(Greeter)


@pytest.mark.parametrize("decorate", [lambda cls: cls, dataclass, dataclass(kw_only=True)])
@pytest.mark.parametrize("decorate_parent", [lambda cls: cls, dataclass, dataclass(kw_only=True)])
def test_parents_may_be_decorated_or_not(decorate, decorate_parent):
    @decorate_parent
    class Parent(VoiceActivityCall):
        name: str = "parent"
        silence_gap = 0.7

    @decorate
    class Child(Parent):
        tries: int = 3
        min_speech = 0.2

    made = leg(Child, tries=5)
    assert (made.name, made.tries, made.silence_gap, made.min_speech) == ("parent", 5, 0.7, 0.2)
    assert leg(Child, name="other", silence_gap=1.0).silence_gap == 1.0
    assert leg(Parent).silence_gap == 0.7
    assert leg(VoiceActivityCall).silence_gap == 0.5


def test_a_parent_used_before_its_child_is_made_stays_as_it_was():
    class Parent(EchoCall):
        words = ["a"]
        silence_gap = 0.8

    assert leg(Parent).silence_gap == 0.8

    class Child(Parent):
        silence_gap = 0.3

    assert leg(Child).silence_gap == 0.3
    assert leg(Parent).silence_gap == 0.8


def test_legs_compare_and_hash_by_identity_whatever_the_decorator_says():
    @dataclass
    class Greeter(AudioCall):
        name: str = ""

    one, other = leg(Greeter), leg(Greeter)
    assert one == one
    assert one != other
    assert len({one, other}) == 2
    assert one != copy.copy(one)


def test_an_own_comparison_stays_and_leaves_the_leg_hashable():
    class Greeter(AudioCall):
        def __eq__(self, other):
            return isinstance(other, Greeter)

    one, other = leg(Greeter), leg(Greeter)
    assert one == other
    assert hash(one) == object.__hash__(one)


def test_a_plain_attribute_is_the_new_default_of_an_inherited_field():
    class Patient(VoiceActivityCall):
        silence_gap = 0.9

    assert leg(Patient).silence_gap == 0.9
    assert leg(Patient, silence_gap=0.1).silence_gap == 0.1
    assert Patient.silence_gap == 0.9
    assert [one.default for one in dataclasses.fields(Patient) if one.name == "silence_gap"] == [
        0.9
    ]


def test_an_inherited_field_may_be_annotated_anew():
    @dataclass(kw_only=True)
    class Patient(VoiceActivityCall):
        silence_gap: float = 0.9
        speech_threshold: float = field(default=0.01)

    class Bare(VoiceActivityCall):
        silence_gap: float = 0.8

    assert (leg(Patient).silence_gap, leg(Patient).speech_threshold) == (0.9, 0.01)
    assert leg(Bare).silence_gap == 0.8


def test_lists_dicts_and_sets_are_never_shared_between_calls():
    class Base(AudioCall):
        tools: list = []
        notes: dict = field(default_factory=dict)
        seen: set = set()
        last: deque = deque()

    class Agent(Base):
        tools = ["transfer"]
        notes = {"a": 1}

    one, other = leg(Agent), leg(Agent)
    one.tools.append("hang up")
    one.notes["b"] = 2
    one.seen.add(1)
    one.last.append(1)
    assert (other.tools, other.notes, other.seen, list(other.last)) == (
        ["transfer"],
        {"a": 1},
        set(),
        [],
    )


def test_a_mutable_default_inside_a_field_is_copied_too():
    class Agent(AudioCall):
        tools: list = field(default=["a"])
        plain: int = field(default=3)

    one, other = leg(Agent), leg(Agent)
    one.tools.append("b")
    assert other.tools == ["a"]
    assert other.plain == 3


def test_other_unhashable_defaults_are_one_object_for_all_calls():
    array, shared = np.zeros(3), Unhashable()

    class Base(AudioCall):
        model: object = None
        tone: np.ndarray = array

    class Agent(Base):
        model = shared

    assert leg(Agent).model is shared
    assert leg(Agent).tone is array


def test_a_hashable_model_as_a_class_attribute_is_shared():
    shared = object()

    class Base(AudioCall):
        model: object = "base"

    class Agent(Base):
        model = shared

    assert leg(Agent).model is shared
    assert leg(Agent, model="other").model == "other"


def test_a_default_from_a_mixin_counts():
    class Patience:
        silence_gap = 0.9

    class Patient(Patience, VoiceActivityCall):
        pass

    class MorePatient(Patient):
        pass

    assert leg(Patient).silence_gap == 0.9
    assert leg(MorePatient).silence_gap == 0.9


def test_a_mixin_that_is_a_dataclass_brings_its_fields():
    @dataclass(kw_only=True)
    class Named:
        name: str = "nobody"

    class Greeter(Named, AudioCall):
        pass

    assert leg(Greeter).name == "nobody"
    assert leg(Greeter, name="Ada").name == "Ada"


def test_class_variables_stay_class_variables_however_they_are_written():
    class Plain(AudioCall):
        PREFERRED_CODECS = [PCMA]

    class Annotated(AudioCall):
        PREFERRED_CODECS: list = [PCMA]
        RTP_PACKET_DURATION_SECS: float = 0.02

    class Proper(AudioCall):
        PREFERRED_CODECS: ClassVar[list] = [PCMA]
        TOOLS: ClassVar[list] = []
        ALIASED: "CV[list]" = []
        QUOTED: "typing.ClassVar[list]" = []

    for made in (Plain, Annotated, Proper):
        assert made.PREFERRED_CODECS == [PCMA]
        assert leg(made).PREFERRED_CODECS is made.PREFERRED_CODECS
        names = {one.name for one in dataclasses.fields(leg(made))}
        assert "PREFERRED_CODECS" not in names
    assert not {"TOOLS", "ALIASED", "QUOTED"} & {one.name for one in dataclasses.fields(Proper)}


def test_init_variables_reach_post_init():
    class Greeter(AudioCall):
        greeting: InitVar[str] = "hello"

        def __post_init__(self, greeting):
            super().__post_init__()
            self.said = greeting

    class Louder(Greeter):
        greeting: InitVar[str] = "HELLO"

    assert leg(Greeter).said == "hello"
    assert leg(Louder).said == "HELLO"
    assert leg(Greeter, greeting="hi").said == "hi"


def test_keyword_only_markers_and_repr_work():
    @dataclass
    class Greeter(AudioCall):
        name: str
        _: KW_ONLY
        tries: int = 1

    made = leg(Greeter, name="Ada", tries=2)
    assert "name='Ada'" in repr(made)
    assert "5551234567" not in repr(made)
    assert "5551234567" not in repr(leg(AudioCall))


def test_slots_do_not_break_a_subclass():
    @dataclass(slots=True)
    class Greeter(AudioCall):
        name: str = "Ada"
        tools: list = field(default_factory=list)

    assert leg(Greeter).name == "Ada"


def test_state_fields_take_a_new_default_and_stay_out_of_the_constructor():
    class Primed(VoiceActivityCall):
        speech_buffer = [np.ones(320, np.float32)]
        silence_handle = None

    one, other = leg(Primed), leg(Primed)
    one.speech_buffer.clear()
    assert len(other.speech_buffer) == 1
    with pytest.raises(TypeError):
        leg(Primed, speech_buffer=[])


def test_a_property_may_stand_where_a_state_field_was():
    class Titled(AudioCall):
        title: str = field(init=False)

    class Fixed(Titled):
        @property
        def title(self):
            return "fixed"

    assert leg(Fixed).title == "fixed"


def test_class_variables_are_found_by_the_name_of_their_module():
    class Mine(AudioCall):
        TOOLS: "typing.CV[list]" = None  # names nothing: a field like any other
        WORDS: "nowhere.at_all.ClassVar[list]" = []  # noqa: F821

    names = {one.name for one in dataclasses.fields(leg(Mine))}
    assert "TOOLS" in names


def test_an_own_constructor_is_kept():
    class Greeter(AudioCall):
        def __init__(self, **fields):
            super().__init__(**fields)
            self.greeted = False

    assert leg(Greeter).greeted is False


def test_anything_that_is_extensible_follows_the_rules():
    class Service(Extensible):
        names: list = []

    class Other(Service):
        names = ["a"]

    one, other = Other(), Other()
    one.names.append("b")
    assert other.names == ["a"]
    assert Service().names == []
    assert one != other


def test_fields_are_those_of_the_contract():
    names = {one.name for one in dataclasses.fields(RTPCall) if one.init}
    assert names == {"rtp", "sip", "media", "caller", "srtp", "call_id"}
    settings = {one.name: one.default for one in dataclasses.fields(VoiceActivityCall) if one.init}
    assert settings["speech_threshold"] == 0.001
    assert settings["silence_gap"] == 0.5
    assert settings["min_speech"] == 0.1
    assert settings["send_silence"] is True
    state = {one.name for one in dataclasses.fields(AudioCall) if not one.init}
    assert {"wire", "codec", "rtp_sequence_number", "rtp_timestamp", "rtp_ssrc"} <= state


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q", "-p", "no:cacheprovider"]))
