"""What a client was told, on disk: each request before it is sent, each outcome once it is known.

Whatever the client acts on has been flushed before, as a client must that wants to settle everything after a crash of
its own. Lines are JSON; messages are their serialized bytes in base64.
"""

import asyncio
import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from iap.broker.v1 import admin_pb2, broker_pb2, purchase_pb2

MESSAGES: dict[str, tuple[Any, Any]] = {
    "Reserve": (broker_pb2.ReserveRequest, broker_pb2.ReserveResponse),
    "Capture": (broker_pb2.CaptureRequest, broker_pb2.CaptureResponse),
    "Release": (broker_pb2.ReleaseRequest, broker_pb2.ReleaseResponse),
    "Extend": (broker_pb2.ExtendRequest, broker_pb2.ExtendResponse),
    "Charge": (broker_pb2.ChargeRequest, broker_pb2.ChargeResponse),
    "Refund": (broker_pb2.RefundRequest, broker_pb2.RefundResponse),
    "CreatePurchase": (purchase_pb2.CreatePurchaseRequest, purchase_pb2.CreatePurchaseResponse),
    "RefundPurchase": (purchase_pb2.RefundPurchaseRequest, purchase_pb2.RefundPurchaseResponse),
    "GrantCredits": (admin_pb2.GrantCreditsRequest, admin_pb2.GrantCreditsResponse),
}


@dataclass(slots=True)
class Record:
    """A request, and what is known of its outcome: a response, a refusal's reason, or nothing."""

    rpc: str
    request: Any
    response: Any = None
    refusal: str = ""

    @property
    def unanswered(self) -> bool:
        return self.response is None and not self.refusal


class Journal:
    """One client's records, appended to a file of its own and flushed to the disk line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    async def write_request(self, rpc: str, request: Any) -> None:
        await self._append(request_id=request.request_id, rpc=rpc, request=_text_of(request))

    async def write_response(self, request_id: str, response: Any) -> None:
        await self._append(request_id=request_id, response=_text_of(response))

    async def write_refusal(self, request_id: str, reason: str) -> None:
        await self._append(request_id=request_id, refusal=reason)

    def read(self) -> list[Record]:
        """Returns what the file says, in the order in which the requests were made."""
        records: dict[str, Record] = {}
        for line in map(json.loads, self.path.read_bytes().splitlines()):
            if "request" in line:
                request_type, _ = MESSAGES[line["rpc"]]
                record = Record(line["rpc"], request_type.FromString(base64.b64decode(line["request"])))
                assert records.setdefault(line["request_id"], record) is record, "an id is used once"
                continue
            record = records[line["request_id"]]
            assert record.unanswered, "an outcome is final"
            if "refusal" in line:
                record.refusal = line["refusal"]
            else:
                _, response_type = MESSAGES[record.rpc]
                record.response = response_type.FromString(base64.b64decode(line["response"]))
        return list(records.values())

    async def _append(self, **fields: str) -> None:
        await asyncio.to_thread(self._write, json.dumps(fields).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        os.fsync(self._file.fileno())


def _text_of(message: Any) -> str:
    return base64.b64encode(message.SerializeToString()).decode()
