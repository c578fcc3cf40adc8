"""What docs/services.md shows works as it stands there."""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from provider_service.sdk import InvalidInput, service
from provider_service.sdk.testing import FakeCharge, FakeStreamCharge
from provider_service.services.service import is_streamed

PAGE = Path(__file__).parents[2] / "docs" / "services.md"


@pytest.fixture(scope="module")
def page() -> Iterator[ModuleType]:
    """All the page's Python, one block after the other, as a module."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    module = ModuleType("services_page")
    sys.modules[module.__name__] = module
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    yield module
    del sys.modules[module.__name__]


async def test_its_tests_pass(page: ModuleType) -> None:
    tests = [function for name, function in vars(page).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        assert inspect.iscoroutinefunction(test)
        await test()


def test_its_violations_are_those_it_names(page: ModuleType) -> None:
    @service(name="stay", title="Stays", unit="night")
    async def stay(request: page.Night, charge: object) -> dict[str, str]:  # type: ignore[name-defined]
        return {}

    found = set()
    for guests, room in ((5, "suite"), (2, "single")):
        with pytest.raises(InvalidInput) as caught:
            stay.quote({"day": "2026-01-31", "guests": guests, "room": room})
        found |= {f"input.{it.field} {it.description}".replace(". ", " ") for it in caught.value.violations}
    named = re.findall(r"`(input\S* must .*?)`", " ".join(PAGE.read_text().split()))
    assert found == set(named)
    assert len(found) == 3


async def test_its_services_do_what_it_says(page: ModuleType) -> None:
    assert page.shout_by_letter.quote({"text": "hey", "times": 2}).credits == 6
    assert is_streamed(page.shout)
    assert await page.shout.perform({"text": "a", "times": 2}, FakeCharge()) == {"text": "AA"}
    chunks = page.shout.stream({"text": "a", "times": 2}, FakeStreamCharge())
    assert [chunk async for chunk in chunks] == [{"text": "A"}, {"text": "A"}]
    made = page.translate.create_service({"url": "http://127.0.0.1:1", "timeout": "2"})
    await made.open()
    await made.close()
