"""What servicers are added to in place of the server."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import grpc.aio


class ServicerRegistry:
    """Hands the methods of servicers on to a server, to be found by their names when a call comes.

    Generated code offers them a second time, to be registered beforehand, and that is left away: for each call
    `grpc.aio` goes through all methods that are registered (`asyncio.wait` on one accept of each), which for fifty of
    them is a sixth of what a call costs. The base class of its servers lets servers do without.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Add what finds handlers by the names of methods."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(
        self, service_name: str, handlers: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"
    ) -> None:
        """Do nothing: see above."""
