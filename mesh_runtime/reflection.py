"""Server reflection that also knows methods by their names."""

from collections.abc import Sequence
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from mesh_runtime import health


def enable_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Let clients ask for the services, health and reflection included, and for every symbol of theirs."""
    names = (*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME)
    servicer = reflection.aio.ReflectionServicer(names, pool=_PoolWithMethods())
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)


class _PoolWithMethods:
    """The default pool, where `package.Service.Method` is a symbol too.

    The protocol allows it (reflection.proto of https://github.com/grpc/grpc-proto) and ghz asks for it; protobuf's pool
    knows only services.
    """

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's name for it
        """Return the file that defines the symbol; KeyError when there is none."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            service_name, _, method_name = symbol.rpartition(".")
            service = self._pool.FindServiceByName(service_name)
            if method_name not in service.methods_by_name:
                raise
            return service.file
