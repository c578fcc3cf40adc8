"""What becomes of a request."""

from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.struct_pb2 import Struct
from iap.broker.v1.broker_pb2 import Balance

from mesh_runtime.call_errors import CallError


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The work is done and paid. `output` is None when nobody has it any more."""

    output: Struct | None
    reservation_id: str
    charged_credits: int
    balance: Balance
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The request ends with an error."""

    error: CallError


Outcome: TypeAlias = Served | Refused
