"""What a service keeps open from its first request to its last."""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, TypeAlias

from provider_service.sdk.arities import count_positional
from provider_service.sdk.invalid_declaration import InvalidDeclaration

LifespanFunction: TypeAlias = Callable[..., AbstractAsyncContextManager[Any] | AsyncIterator[Any]]


class Lifespan:
    """An async context manager that is entered once for each service made."""

    def __init__(self, lifespan: LifespanFunction, *, has_options: bool) -> None:
        if not callable(lifespan) or inspect.iscoroutinefunction(lifespan):
            raise InvalidDeclaration(
                "@service: lifespan must be an async context manager, or an async generator function with one `yield`"
            )
        expected = int(has_options)
        if count_positional(lifespan) > expected:
            takes = "the options alone" if has_options else "no arguments, as there are no options="
            raise InvalidDeclaration(f"@service: lifespan must take {takes}")
        self._takes_options = bool(inspect.signature(lifespan).parameters) and has_options
        self._enter: Callable[..., Any] = lifespan
        if inspect.isasyncgenfunction(lifespan):
            self._enter = asynccontextmanager(lifespan)

    async def enter(self, stack: AsyncExitStack, options: object) -> object:
        """Enters it on the stack and returns what it yields."""
        context = self._enter(options) if self._takes_options else self._enter()
        return await stack.enter_async_context(context)
