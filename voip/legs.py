"""What makes a class safe to subclass as users do: with a decorator, without one, or half and half.

Call legs and the SIP object are dataclasses. Their users write a bare subclass, a `@dataclass`, one
with new fields, or a plain attribute that is meant as a new default; each must work, and none may
share a list between two calls. `Extensible` sees to it:

* an undecorated class becomes a keyword-only dataclass by itself: a parent when it is subclassed,
  the class itself on first use (applying `dataclass` in `__init_subclass__` would corrupt a class
  that is decorated a moment later);
* objects compare and hash by identity, whatever the decorator says;
* a plain attribute that overrides an inherited field is that field's new default;
* a list, dict or set as a default is copied for each object, another unhashable default is shared;
* a ClassVar stays one, however a subclass writes it;
* hooks are checked when the class is made (`voip.hooks`).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, InitVar, dataclass, field
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_origin

from voip.hooks import check_hooks

if sys.version_info >= (3, 14):
    import annotationlib

__all__ = ["Extensible"]

T = TypeVar("T")

# Each object gets its own; anything else that cannot be hashed (an array, a model) is shared.
_COPIED = (list, dict, set, bytearray, deque)
_NOT_VALUES = (property, classmethod, staticmethod, functools.cached_property)


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(field,))
class Extensible:
    """A dataclass that may be subclassed in every way that the contract lists."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for parent in reversed(cls.__mro__[1:]):
            if issubclass(parent, Extensible) and parent is not Extensible:
                _finish(parent)
        if "__dataclass_fields__" in vars(cls):
            return  # made a second time, by @dataclass(slots=True)
        _compare_by_identity(cls)
        _adopt_defaults(cls)
        check_hooks(cls)

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Finish the class when its author did not decorate it."""
        _finish(cls)
        return super().__new__(cls)


def _finish(cls: type) -> None:
    if "__dataclass_fields__" not in vars(cls):
        dataclass(kw_only=True, eq=False, repr=False)(cls)


def _compare_by_identity(cls: type) -> None:
    # `@dataclass` keeps what the class itself has, so these survive its eq=True.
    own = vars(cls)
    if "__eq__" not in own:
        setattr(cls, "__eq__", object.__eq__)  # noqa: B010 - not an assignment that mypy follows
    if own.get("__hash__") is None:
        setattr(cls, "__hash__", object.__hash__)  # noqa: B010


def _adopt_defaults(cls: type) -> None:
    """Give plain overrides the annotation, mutable defaults the factory that `dataclass` wants."""
    inherited: dict[str, Field[Any]] = getattr(cls, "__dataclass_fields__", {})
    real = {one.name: one for one in _fields(cls)}
    annotations = _annotations(cls)
    for name, known in inherited.items():
        if name not in real:  # a ClassVar or an InitVar
            if name in annotations and not _names(known.type, "InitVar", InitVar):
                annotations[name] = ClassVar[Any]
            continue
        if name in annotations:
            continue
        value = _override(cls, name)
        if value is not MISSING and not isinstance(value, _NOT_VALUES):
            annotations[name] = Any if isinstance(known.type, str) else known.type
            setattr(cls, name, _default(value, known))
    for name, annotation in annotations.items():
        value = vars(cls).get(name, MISSING)
        if value is MISSING or isinstance(value, _NOT_VALUES):
            continue
        if _is_class_var(annotation, cls):
            annotations[name] = ClassVar[Any]  # in a spelling that `dataclass` sees through
        else:
            setattr(cls, name, _default(value, real.get(name)))
    cls.__annotations__ = annotations


def _fields(cls: type) -> tuple[Field[Any], ...]:
    return dataclasses.fields(cls) if hasattr(cls, "__dataclass_fields__") else ()


def _override(cls: type, name: str) -> Any:
    """Return the plain value that hides an inherited field, in the class or a mixin before it."""
    for base in cls.__mro__:
        if base is not cls and "__dataclass_fields__" in vars(base):
            if name in vars(base)["__dataclass_fields__"]:
                return MISSING
            continue
        if name in vars(base):
            return vars(base)[name]
    return MISSING


def _default(value: Any, known: Field[Any] | None) -> Any:
    """Return what stands for `value` as a default: itself, or a field with a factory."""
    init = known is None or known.init
    if isinstance(value, Field):
        if value.default is not MISSING and (factory := _factory(value.default)) is not None:
            value.default, value.default_factory = MISSING, factory
        return value
    factory = _factory(value)
    if factory is not None:
        return field(default_factory=factory, init=init, repr=known is None or known.repr)
    return value if init else field(default=value, init=False, repr=False)


def _factory(value: Any) -> Callable[[], Any] | None:
    if isinstance(value, _COPIED):
        return functools.partial(copy.copy, value)
    if type(value).__hash__ is None:
        return functools.partial(_same, value)
    return None


def _same(value: T) -> T:
    return value


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        return dict(annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF))
    return dict(vars(cls).get("__annotations__", {}))


def _is_class_var(annotation: Any, cls: type) -> bool:
    if not isinstance(annotation, str):
        return annotation is ClassVar or get_origin(annotation) is ClassVar
    return _names(annotation, "ClassVar", ClassVar) or any(
        found is ClassVar for found in _resolved(annotation, cls)
    )


def _names(annotation: Any, word: str, meaning: Any) -> bool:
    """Tell whether an annotation, evaluated or not, is `ClassVar[…]` or `InitVar[…]`."""
    if isinstance(annotation, str):
        return annotation.partition("[")[0].strip().rpartition(".")[2] == word
    return annotation is meaning or isinstance(annotation, InitVar)


def _resolved(annotation: str, cls: type) -> Iterator[Any]:
    # An alias, `from typing import ClassVar as CV`, is known to the module that made it.
    first, *rest = annotation.partition("[")[0].strip().split(".")
    found = vars(sys.modules.get(cls.__module__, sys)).get(first)
    for part in rest:
        found = getattr(found, part, None)
    yield found
