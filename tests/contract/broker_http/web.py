"""A browser without a screen: it asks, and follows nothing by itself."""

import html
import re
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: CIMultiDictProxy[str]
    text: str

    @property
    def words(self) -> str:
        """What a person reads of it."""
        body = self.text.partition("<body>")[2] or self.text
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())

    def field(self, name: str) -> str:
        """The value of a hidden field of its form."""
        found = re.search(rf'name="{name}" value="([^"]*)"', self.text)
        assert found is not None, self.text
        return html.unescape(found[1])


class Web:
    """Asks one server; paths go out as they are written."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | dict[str, str] | None = None,
    ) -> Answer:
        url = URL(self.url + path, encoded=True)
        async with self._session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
            return Answer(response.status, response.headers, await response.text())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def press(self, path: str, page: Answer, outcome: str, **headers: str) -> Answer:
        """Presses a button of a checkout page."""
        form = {"request_id": page.field("request_id"), "outcome": outcome}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", path, body=form, headers=named)
