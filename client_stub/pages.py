"""Reading lists that come in pages (https://google.aip.dev/158)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, TypeVar

Item = TypeVar("Item")

LARGEST_PAGE_SIZE: Final = 1000


async def iterate_pages(
    fetch_page: Callable[[str], Awaitable[tuple[Iterable[Item], str]]],
) -> AsyncIterator[Item]:
    """Yield the items of all pages, fetching each page when it is needed.

    `fetch_page` takes a page token, empty for the first page, and returns the page's items and the next token.
    """
    page_token = ""
    while True:
        items, page_token = await fetch_page(page_token)
        for item in items:
            yield item
        if not page_token:
            return
