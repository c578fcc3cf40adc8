"""The code of docs/streams.md does what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.contract.broker_world.world import World
from tests.contract.provider_streams.metered_service import MeteredService
from tests.contract.provider_streams.streaming import streaming_of

PAGE = Path(__file__).parents[3] / "docs" / "streams.md"


def run_page(service: str) -> dict[str, Any]:
    """Runs the page's code and returns what it defines; the service that it uses is named otherwise."""
    defined: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(code.replace('"completion"', repr(service)), defined)
    return defined


async def test_the_page_s_code_streams_and_shows_it(paying_world: World, capsys: pytest.CaptureFixture[str]) -> None:
    name = await paying_world.new_service()
    page = run_page(name)
    countdown = type("Countdown", (page["Countdown"], MeteredService), {})(name)
    countdown.slice_credits, countdown.streams_only = 20, True
    async with streaming_of(paying_world, countdown) as streaming:
        account = await streaming.account(150)
        capsys.readouterr()
        await page["show"](streaming.client, account.token)
        await page["show"](streaming.client, account.token)
        assert await streaming.books(account) == (150, 0)
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("{", "paid", "buy"))]
    assert shown[0] == "{'number': 100} 1"
    assert shown[100] == "paid 100 left 50"
    assert shown[150] == "{'number': 51} 50"
    assert shown[151].startswith("buy one of ")
