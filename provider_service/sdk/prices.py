"""What a request costs, by the service's own rule."""

import inspect
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from provider_service.sdk.arities import count_positional
from provider_service.sdk.invalid_declaration import InvalidDeclaration
from provider_service.services.service import Quote

PriceFunction: TypeAlias = Callable[..., int | Quote]
_REQUEST_AND_OPTIONS: Final = 2


class Price:
    """A fixed number of credits, or a function of the typed request and perhaps of the options."""

    def __init__(self, price: int | PriceFunction, *, service: str, has_options: bool) -> None:
        self._price = price
        self._service = service
        self._takes_options = False
        if callable(price):
            self._takes_options = _check_function(price, has_options=has_options)
        elif not isinstance(price, int) or isinstance(price, bool) or price < 1:
            raise InvalidDeclaration(
                "@service: price must be whole credits, at least 1, or a function of the request that returns them; "
                f"it is {price!r}. To give work away, call charge.capture(0)"
            )

    def quote(self, request: object, options: object) -> Quote:
        """Prices a request. TypeError or ValueError when the service's function returns what is no price."""
        if not callable(self._price):
            return Quote(credits=self._price)
        priced = self._price(request, options) if self._takes_options else self._price(request)
        quote = priced if isinstance(priced, Quote) else Quote(credits=priced)
        if not isinstance(quote.credits, int) or isinstance(quote.credits, bool):
            raise TypeError(
                f"the price of {self._service} must be whole credits (int) or a Quote of them, "
                f"not {type(quote.credits).__name__}"
            )
        if quote.credits < 1:
            raise ValueError(f"the price of {self._service} must be at least 1 credit, not {quote.credits}")
        return quote


def _check_function(price: Callable[..., Any], *, has_options: bool) -> bool:
    """Returns whether the function takes the options, too."""
    if inspect.iscoroutinefunction(price):
        raise InvalidDeclaration("@service: price must be a plain function without I/O: write `def price(request)`")
    parameters = count_positional(price)
    takes_options = parameters == _REQUEST_AND_OPTIONS
    if takes_options and not has_options:
        raise InvalidDeclaration("@service: price takes two arguments, the request and the options; give options=, too")
    if parameters not in {1, _REQUEST_AND_OPTIONS}:
        raise InvalidDeclaration("@service: price must take the request: write `def price(request)`")
    return takes_options
