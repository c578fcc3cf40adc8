import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.type import money_pb2 as _money_pb2
from iap.broker.v1 import purchase_pb2 as _purchase_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PayoutState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYOUT_STATE_UNSPECIFIED: _ClassVar[PayoutState]
    PAYOUT_STATE_IN_TRANSIT: _ClassVar[PayoutState]
    PAYOUT_STATE_PAID: _ClassVar[PayoutState]
    PAYOUT_STATE_FAILED: _ClassVar[PayoutState]

class StatementLineKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATEMENT_LINE_KIND_UNSPECIFIED: _ClassVar[StatementLineKind]
    STATEMENT_LINE_KIND_SALE: _ClassVar[StatementLineKind]
    STATEMENT_LINE_KIND_REFUND: _ClassVar[StatementLineKind]
    STATEMENT_LINE_KIND_PAYOUT: _ClassVar[StatementLineKind]
    STATEMENT_LINE_KIND_PAYOUT_FAILED: _ClassVar[StatementLineKind]
    STATEMENT_LINE_KIND_CHARGEBACK: _ClassVar[StatementLineKind]
PAYOUT_STATE_UNSPECIFIED: PayoutState
PAYOUT_STATE_IN_TRANSIT: PayoutState
PAYOUT_STATE_PAID: PayoutState
PAYOUT_STATE_FAILED: PayoutState
STATEMENT_LINE_KIND_UNSPECIFIED: StatementLineKind
STATEMENT_LINE_KIND_SALE: StatementLineKind
STATEMENT_LINE_KIND_REFUND: StatementLineKind
STATEMENT_LINE_KIND_PAYOUT: StatementLineKind
STATEMENT_LINE_KIND_PAYOUT_FAILED: StatementLineKind
STATEMENT_LINE_KIND_CHARGEBACK: StatementLineKind

class Payout(_message.Message):
    __slots__ = ("payout_id", "provider_id", "amount", "state", "create_time", "resolve_time", "reference")
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RESOLVE_TIME_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    payout_id: str
    provider_id: str
    amount: _money_pb2.Money
    state: PayoutState
    create_time: _timestamp_pb2.Timestamp
    resolve_time: _timestamp_pb2.Timestamp
    reference: str
    def __init__(self, payout_id: _Optional[str] = ..., provider_id: _Optional[str] = ..., amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., state: _Optional[_Union[PayoutState, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., resolve_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reference: _Optional[str] = ...) -> None: ...

class Sale(_message.Message):
    __slots__ = ("purchase_id", "service", "pack_id", "credits", "price", "commission", "provider_share", "state", "pay_time")
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    PACK_ID_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_SHARE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAY_TIME_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    service: str
    pack_id: str
    credits: int
    price: _money_pb2.Money
    commission: _money_pb2.Money
    provider_share: _money_pb2.Money
    state: _purchase_pb2.PurchaseState
    pay_time: _timestamp_pb2.Timestamp
    def __init__(self, purchase_id: _Optional[str] = ..., service: _Optional[str] = ..., pack_id: _Optional[str] = ..., credits: _Optional[int] = ..., price: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., commission: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., provider_share: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., state: _Optional[_Union[_purchase_pb2.PurchaseState, str]] = ..., pay_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StatementLine(_message.Message):
    __slots__ = ("time", "kind", "reference", "gross", "commission", "net")
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    GROSS_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_FIELD_NUMBER: _ClassVar[int]
    NET_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    kind: StatementLineKind
    reference: str
    gross: _money_pb2.Money
    commission: _money_pb2.Money
    net: _money_pb2.Money
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[StatementLineKind, str]] = ..., reference: _Optional[str] = ..., gross: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., commission: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., net: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class StatementTotal(_message.Message):
    __slots__ = ("gross", "commission", "net")
    GROSS_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_FIELD_NUMBER: _ClassVar[int]
    NET_FIELD_NUMBER: _ClassVar[int]
    gross: _money_pb2.Money
    commission: _money_pb2.Money
    net: _money_pb2.Money
    def __init__(self, gross: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., commission: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., net: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class GetProviderBalanceRequest(_message.Message):
    __slots__ = ("provider_id",)
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    def __init__(self, provider_id: _Optional[str] = ...) -> None: ...

class GetProviderBalanceResponse(_message.Message):
    __slots__ = ("payable", "sales", "commission")
    PAYABLE_FIELD_NUMBER: _ClassVar[int]
    SALES_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_FIELD_NUMBER: _ClassVar[int]
    payable: _containers.RepeatedCompositeFieldContainer[_money_pb2.Money]
    sales: _containers.RepeatedCompositeFieldContainer[_money_pb2.Money]
    commission: _containers.RepeatedCompositeFieldContainer[_money_pb2.Money]
    def __init__(self, payable: _Optional[_Iterable[_Union[_money_pb2.Money, _Mapping]]] = ..., sales: _Optional[_Iterable[_Union[_money_pb2.Money, _Mapping]]] = ..., commission: _Optional[_Iterable[_Union[_money_pb2.Money, _Mapping]]] = ...) -> None: ...

class ListSalesRequest(_message.Message):
    __slots__ = ("provider_id", "start_time", "end_time", "page_size", "page_token")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, provider_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSalesResponse(_message.Message):
    __slots__ = ("sales", "next_page_token")
    SALES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sales: _containers.RepeatedCompositeFieldContainer[Sale]
    next_page_token: str
    def __init__(self, sales: _Optional[_Iterable[_Union[Sale, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetStatementRequest(_message.Message):
    __slots__ = ("provider_id", "start_time", "end_time")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, provider_id: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetStatementResponse(_message.Message):
    __slots__ = ("lines", "totals")
    LINES_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[StatementLine]
    totals: _containers.RepeatedCompositeFieldContainer[StatementTotal]
    def __init__(self, lines: _Optional[_Iterable[_Union[StatementLine, _Mapping]]] = ..., totals: _Optional[_Iterable[_Union[StatementTotal, _Mapping]]] = ...) -> None: ...

class CreatePayoutRequest(_message.Message):
    __slots__ = ("request_id", "provider_id", "currency")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    provider_id: str
    currency: str
    def __init__(self, request_id: _Optional[str] = ..., provider_id: _Optional[str] = ..., currency: _Optional[str] = ...) -> None: ...

class CreatePayoutResponse(_message.Message):
    __slots__ = ("payout", "replayed")
    PAYOUT_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    payout: Payout
    replayed: bool
    def __init__(self, payout: _Optional[_Union[Payout, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class MarkPayoutPaidRequest(_message.Message):
    __slots__ = ("request_id", "payout_id", "reference")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    payout_id: str
    reference: str
    def __init__(self, request_id: _Optional[str] = ..., payout_id: _Optional[str] = ..., reference: _Optional[str] = ...) -> None: ...

class MarkPayoutPaidResponse(_message.Message):
    __slots__ = ("payout", "replayed")
    PAYOUT_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    payout: Payout
    replayed: bool
    def __init__(self, payout: _Optional[_Union[Payout, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class MarkPayoutFailedRequest(_message.Message):
    __slots__ = ("request_id", "payout_id", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PAYOUT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    payout_id: str
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., payout_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class MarkPayoutFailedResponse(_message.Message):
    __slots__ = ("payout", "replayed")
    PAYOUT_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    payout: Payout
    replayed: bool
    def __init__(self, payout: _Optional[_Union[Payout, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class ListPayoutsRequest(_message.Message):
    __slots__ = ("provider_id", "page_size", "page_token")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    page_size: int
    page_token: str
    def __init__(self, provider_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPayoutsResponse(_message.Message):
    __slots__ = ("payouts", "next_page_token")
    PAYOUTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    payouts: _containers.RepeatedCompositeFieldContainer[Payout]
    next_page_token: str
    def __init__(self, payouts: _Optional[_Iterable[_Union[Payout, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
