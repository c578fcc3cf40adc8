"""Remembering what seldom or never changes."""

import asyncio

from broker_service.engine.cache import LastingCache, ShortCache


class Source:
    """Something that is looked up; counts how often."""

    def __init__(self, value: str | None) -> None:
        self.value = value
        self.loads = 0

    async def load(self) -> str | None:
        self.loads += 1
        return self.value


def new_cache(*, max_age_seconds: float = 60.0, max_values: int = 10) -> ShortCache[str, str | None]:
    return ShortCache(max_age_seconds=max_age_seconds, max_values=max_values)


async def test_a_value_is_loaded_once_while_it_is_fresh() -> None:
    cache, source = new_cache(), Source("one")
    assert [await cache.get("key", source.load) for _ in range(3)] == ["one"] * 3
    assert source.loads == 1


async def test_a_value_too_old_is_loaded_again() -> None:
    cache, source = new_cache(max_age_seconds=0.02), Source("one")
    await cache.get("key", source.load)
    source.value = "two"
    await asyncio.sleep(0.03)
    assert await cache.get("key", source.load) == "two"


async def test_what_does_not_exist_is_asked_for_every_time() -> None:
    cache, source = new_cache(), Source(None)
    assert await cache.get("key", source.load) is None
    source.value = "made since"
    assert await cache.get("key", source.load) == "made since"


async def test_an_error_is_not_kept() -> None:
    async def fail() -> str | None:
        raise LookupError

    cache, source = new_cache(), Source("one")
    for _ in range(2):
        (error,) = await asyncio.gather(cache.get("key", fail), return_exceptions=True)
        assert isinstance(error, LookupError)
    assert await cache.get("key", source.load) == "one"


async def test_a_value_forgotten_is_loaded_again() -> None:
    cache, source = new_cache(), Source("one")
    await cache.get("key", source.load)
    source.value = "two"
    cache.forget("key")
    cache.forget("unknown")
    assert await cache.get("key", source.load) == "two"


async def test_the_least_recently_used_goes_first() -> None:
    cache, source = new_cache(max_values=2), Source("one")
    for key in ("a", "b", "a", "c"):
        await cache.get(key, source.load)
    assert source.loads == 3
    await cache.get("a", source.load)
    assert source.loads == 3
    await cache.get("b", source.load)
    assert source.loads == 4


async def test_a_value_forgotten_while_it_is_loaded_is_not_kept() -> None:
    """Else a change made meanwhile would stay unseen for as long as the old value is fresh."""
    cache, source = new_cache(), Source("before the change")
    read, go_on = asyncio.Event(), asyncio.Event()

    async def load_slowly() -> str | None:
        value = await source.load()
        read.set()
        await go_on.wait()
        return value

    loading = asyncio.create_task(cache.get("key", load_slowly))
    await read.wait()
    source.value = "after the change"
    cache.forget("key")
    go_on.set()
    await loading
    assert await cache.get("key", source.load) == "after the change"


def lasting(*numbers: int, max_values: int = 10) -> LastingCache[int, str]:
    cache: LastingCache[int, str] = LastingCache(max_values=max_values)
    for number in numbers:
        cache.keep(number, str(number))
    return cache


def test_what_lasts_is_kept_until_it_is_forgotten() -> None:
    # Half of what there is room for, at least.
    cache = lasting(*range(5))
    assert [cache.get(number) for number in range(5)] == [str(number) for number in range(5)]
    for number in (0, 4, 99):
        cache.forget(number)
    assert [number for number in range(5) if cache.get(number) is None] == [0, 4]


def test_what_lasts_never_takes_more_room_than_it_may() -> None:
    cache = lasting(*range(1_000))
    assert [number for number in range(990) if cache.get(number) is not None] == []
    assert [cache.get(number) for number in range(999, 994, -1)] == ["999", "998", "997", "996", "995"]


def test_what_is_used_all_the_time_outlasts_what_is_not() -> None:
    cache = lasting(-1)
    for number in range(100):
        assert cache.get(-1) == "-1"
        cache.keep(number, str(number))
