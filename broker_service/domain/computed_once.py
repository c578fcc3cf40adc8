"""Properties that are computed at the first look."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class computed_once(Generic[Value]):  # noqa: N801 - named like the decorator that it is
    """A property of an object with a `__dict__`, computed when it is first looked at and kept there.

    What `functools.cached_property` does, without the lock that it takes in Python 3.11: that costs more than most of
    what is computed here.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Value:
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
