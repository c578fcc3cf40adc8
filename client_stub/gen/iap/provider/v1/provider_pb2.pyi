from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from iap.broker.v1 import broker_pb2 as _broker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ServeRequestRequest(_message.Message):
    __slots__ = ("request_id", "service", "account_token", "input")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    service: str
    account_token: str
    input: _struct_pb2.Struct
    def __init__(self, request_id: _Optional[str] = ..., service: _Optional[str] = ..., account_token: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ServeRequestResponse(_message.Message):
    __slots__ = ("output", "reservation_id", "charged_credits", "balance", "replayed")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    CHARGED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    output: _struct_pb2.Struct
    reservation_id: str
    charged_credits: int
    balance: _broker_pb2.Balance
    replayed: bool
    def __init__(self, output: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., reservation_id: _Optional[str] = ..., charged_credits: _Optional[int] = ..., balance: _Optional[_Union[_broker_pb2.Balance, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class ServeStreamRequest(_message.Message):
    __slots__ = ("request_id", "service", "account_token", "input")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    service: str
    account_token: str
    input: _struct_pb2.Struct
    def __init__(self, request_id: _Optional[str] = ..., service: _Optional[str] = ..., account_token: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ServeStreamResponse(_message.Message):
    __slots__ = ("chunk", "charged_credits", "reservation_id", "balance", "replayed")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    CHARGED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    chunk: _struct_pb2.Struct
    charged_credits: int
    reservation_id: str
    balance: _broker_pb2.Balance
    replayed: bool
    def __init__(self, chunk: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., charged_credits: _Optional[int] = ..., reservation_id: _Optional[str] = ..., balance: _Optional[_Union[_broker_pb2.Balance, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class QuoteRequest(_message.Message):
    __slots__ = ("service", "input")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    service: str
    input: _struct_pb2.Struct
    def __init__(self, service: _Optional[str] = ..., input: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class QuoteResponse(_message.Message):
    __slots__ = ("credits", "unit_name", "breakdown")
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    UNIT_NAME_FIELD_NUMBER: _ClassVar[int]
    BREAKDOWN_FIELD_NUMBER: _ClassVar[int]
    credits: int
    unit_name: str
    breakdown: _struct_pb2.Struct
    def __init__(self, credits: _Optional[int] = ..., unit_name: _Optional[str] = ..., breakdown: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ListServicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListServicesResponse(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServedService]
    def __init__(self, services: _Optional[_Iterable[_Union[ServedService, _Mapping]]] = ...) -> None: ...

class ServedService(_message.Message):
    __slots__ = ("service", "title", "unit_name", "input_schema")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    UNIT_NAME_FIELD_NUMBER: _ClassVar[int]
    INPUT_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    service: str
    title: str
    unit_name: str
    input_schema: _struct_pb2.Struct
    def __init__(self, service: _Optional[str] = ..., title: _Optional[str] = ..., unit_name: _Optional[str] = ..., input_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...
