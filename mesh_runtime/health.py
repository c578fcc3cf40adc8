"""What a node says about itself to health checks."""

from collections.abc import Sequence

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE_NAME = health.SERVICE_NAME


class Health:
    """The standard health service (https://grpc.io/docs/guides/health-checking/) of one server.

    Answers for each service by its full name and, under the empty name, for the server as a whole.
    """

    def __init__(self, server: grpc.aio.Server, service_names: Sequence[str]) -> None:
        self._servicer = health.aio.HealthServicer()
        self._names = ("", *service_names)
        self._ended = False
        # Whether calls are welcome, as all are told who ask.
        self.serving = False
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def set_serving(self, serving: bool) -> None:
        """Tell those who check, and those who watch, whether calls are welcome."""
        self.serving = serving and not self._ended
        statuses = health_pb2.HealthCheckResponse
        for name in self._names:
            await self._servicer.set(name, statuses.SERVING if serving else statuses.NOT_SERVING)

    async def stop_serving(self) -> None:
        """Report NOT_SERVING from now on, whatever is set later."""
        self._ended = True
        self.serving = False
        await self._servicer.enter_graceful_shutdown()
