"""RPCs of the contract that this broker does not offer yet say so."""

from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, event_pb2, purchase_pb2, settlement_pb2

from tests.contract.broker_world.refusals import parse_error, refusal_of
from tests.contract.broker_world.scene import BUILT_RPCS
from tests.contract.broker_world.world import World

MODULES: list[Any] = [account_pb2, admin_pb2, broker_pb2, catalog_pb2, event_pb2, purchase_pb2, settlement_pb2]
METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
NOT_BUILT = sorted(METHODS.keys() - set(BUILT_RPCS))


def request_of(rpc: str) -> Any:
    return GetMessageClass(METHODS[rpc].input_type)()


async def test_every_rpc_that_this_suite_calls_is_in_the_contract() -> None:
    assert METHODS.keys() >= set(BUILT_RPCS)


@pytest.mark.parametrize("rpc", NOT_BUILT)
async def test_a_stream_that_is_not_built_is_unimplemented(world: World, rpc: str) -> None:
    request = request_of(rpc)
    answers = world.stubs.method(rpc)(iter([request]) if METHODS[rpc].client_streaming else request, timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in answers:
            pass
    refusal = parse_error(raised.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
    assert refusal.metadata == {"rpc": rpc}


async def test_a_method_that_is_not_in_the_contract_is_unimplemented(world: World) -> None:
    method: Any = world.running.channel.unary_unary("/iap.broker.v1.BrokerService/Confiscate")
    refusal = await refusal_of(method(b""))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
