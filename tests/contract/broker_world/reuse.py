"""The same request_id again, with the same parameters and with others."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.world import World, call

Change = Callable[[Any], object]


def put(**values: Any) -> Change:
    def change(request: Any) -> None:
        for name, value in values.items():
            if value is None:
                request.ClearField(name)
            elif isinstance(value, Message):
                getattr(request, name).CopyFrom(value)
            else:
                setattr(request, name, value)

    return change


async def assert_reused(world: World, rpc: str, request: Any, changes: list[Change], key: str = "") -> None:
    """Makes the request once, then once for each change of it; each is refused and the replay stays as it was."""
    method = world.stubs.method(rpc)
    await call(method, request, key)
    replay = await call(method, request, key)
    assert replay.replayed
    for change in changes:
        changed = type(request)()
        changed.CopyFrom(request)
        change(changed)
        assert changed != request
        refusal = await refusal_of(call(method, changed, key))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"), changed
        assert refusal.metadata == {"request_id": request.request_id, "rpc": rpc}
        assert await call(method, request, key) == replay
