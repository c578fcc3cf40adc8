"""Every RPC of the contract is there, and any other is not."""

from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from iap.broker.v1 import account_pb2, admin_pb2, broker_pb2, catalog_pb2, event_pb2, purchase_pb2, settlement_pb2

from tests.contract.broker_world.refusals import refusal_of
from tests.contract.broker_world.scene import BUILT_RPCS
from tests.contract.broker_world.world import World

MODULES: list[Any] = [account_pb2, admin_pb2, broker_pb2, catalog_pb2, event_pb2, purchase_pb2, settlement_pb2]
METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
# Tests of its own: broker_pipeline.
STREAMS = ("Pipeline",)


async def test_this_suite_calls_every_rpc_of_the_contract() -> None:
    assert METHODS.keys() == {*BUILT_RPCS, *STREAMS}


async def test_a_method_that_is_not_in_the_contract_is_unimplemented(world: World) -> None:
    method: Any = world.running.channel.unary_unary("/iap.broker.v1.BrokerService/Confiscate")
    refusal = await refusal_of(method(b""))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
