"""How many arguments a function has to be given."""

import inspect
from collections.abc import Callable
from typing import Any


def count_positional(function: Callable[..., Any]) -> int:
    """Returns how many arguments without defaults the function takes by position."""
    return sum(
        parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD}
        and parameter.default is parameter.empty
        for parameter in inspect.signature(function).parameters.values()
    )
