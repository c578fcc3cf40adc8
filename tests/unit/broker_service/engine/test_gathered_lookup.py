import asyncio
from collections.abc import Collection, Mapping

import pytest

from broker_service.engine.gathered_lookup import GatheredLookup


class Reads:
    """What was asked for in which read; each waits for the gate."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[set[str]] = []
        self.error: Exception | None = None

    async def __call__(self, keys: Collection[str]) -> Mapping[str, int]:
        self.asked.append(set(keys))
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return {key: len(key) for key in keys if key}


async def test_keys_gather_while_a_read_runs() -> None:
    reads = Reads()
    lookup = GatheredLookup(reads)
    first = asyncio.create_task(lookup.get("a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(lookup.get(key)) for key in ("a", "bb", "bb", "")]
    await asyncio.sleep(0)
    reads.gate.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [1, 2, 2, None]
    assert reads.asked == [{"a"}, {"a", "bb", ""}]


async def test_a_caller_that_leaves_takes_no_other_s_answer_along() -> None:
    reads = Reads()
    lookup = GatheredLookup(reads)
    leaving, staying = asyncio.create_task(lookup.get("a")), asyncio.create_task(lookup.get("a"))
    await asyncio.sleep(0)
    leaving.cancel()
    reads.gate.set()
    assert await staying == 1
    assert leaving.cancelled()


async def test_what_a_read_raises_reaches_each_caller_and_the_next_read_is_another() -> None:
    reads = Reads()
    reads.gate.set()
    reads.error = LookupError("no")
    lookup = GatheredLookup(reads)
    for answer in await asyncio.gather(*(lookup.get(key) for key in "ab"), return_exceptions=True):
        assert isinstance(answer, LookupError)
    with pytest.raises(LookupError):
        await lookup.get("a")
    reads.error = None
    assert await lookup.get("a") == 1
