import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.type import money_pb2 as _money_pb2
from iap.broker.v1 import catalog_pb2 as _catalog_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PurchaseState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PURCHASE_STATE_UNSPECIFIED: _ClassVar[PurchaseState]
    PURCHASE_STATE_PENDING: _ClassVar[PurchaseState]
    PURCHASE_STATE_PAID: _ClassVar[PurchaseState]
    PURCHASE_STATE_FAILED: _ClassVar[PurchaseState]
    PURCHASE_STATE_REFUNDED: _ClassVar[PurchaseState]
    PURCHASE_STATE_PARTIALLY_REFUNDED: _ClassVar[PurchaseState]
    PURCHASE_STATE_CHARGED_BACK: _ClassVar[PurchaseState]

class PurchaseOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PURCHASE_ORIGIN_UNSPECIFIED: _ClassVar[PurchaseOrigin]
    PURCHASE_ORIGIN_CUSTOMER: _ClassVar[PurchaseOrigin]
    PURCHASE_ORIGIN_AUTO_TOP_UP: _ClassVar[PurchaseOrigin]

class SandboxOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SANDBOX_OUTCOME_UNSPECIFIED: _ClassVar[SandboxOutcome]
    SANDBOX_OUTCOME_SUCCEEDED: _ClassVar[SandboxOutcome]
    SANDBOX_OUTCOME_FAILED: _ClassVar[SandboxOutcome]
PURCHASE_STATE_UNSPECIFIED: PurchaseState
PURCHASE_STATE_PENDING: PurchaseState
PURCHASE_STATE_PAID: PurchaseState
PURCHASE_STATE_FAILED: PurchaseState
PURCHASE_STATE_REFUNDED: PurchaseState
PURCHASE_STATE_PARTIALLY_REFUNDED: PurchaseState
PURCHASE_STATE_CHARGED_BACK: PurchaseState
PURCHASE_ORIGIN_UNSPECIFIED: PurchaseOrigin
PURCHASE_ORIGIN_CUSTOMER: PurchaseOrigin
PURCHASE_ORIGIN_AUTO_TOP_UP: PurchaseOrigin
SANDBOX_OUTCOME_UNSPECIFIED: SandboxOutcome
SANDBOX_OUTCOME_SUCCEEDED: SandboxOutcome
SANDBOX_OUTCOME_FAILED: SandboxOutcome

class Purchase(_message.Message):
    __slots__ = ("purchase_id", "account_id", "pack", "credits", "price", "commission", "provider_share", "state", "create_time", "pay_time", "checkout_expire_time", "refunded_credits", "refunded", "origin", "gateway")
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_SHARE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PAY_TIME_FIELD_NUMBER: _ClassVar[int]
    CHECKOUT_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    account_id: str
    pack: _catalog_pb2.Pack
    credits: int
    price: _money_pb2.Money
    commission: _money_pb2.Money
    provider_share: _money_pb2.Money
    state: PurchaseState
    create_time: _timestamp_pb2.Timestamp
    pay_time: _timestamp_pb2.Timestamp
    checkout_expire_time: _timestamp_pb2.Timestamp
    refunded_credits: int
    refunded: _money_pb2.Money
    origin: PurchaseOrigin
    gateway: str
    def __init__(self, purchase_id: _Optional[str] = ..., account_id: _Optional[str] = ..., pack: _Optional[_Union[_catalog_pb2.Pack, _Mapping]] = ..., credits: _Optional[int] = ..., price: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., commission: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., provider_share: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., state: _Optional[_Union[PurchaseState, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pay_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., checkout_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refunded_credits: _Optional[int] = ..., refunded: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., origin: _Optional[_Union[PurchaseOrigin, str]] = ..., gateway: _Optional[str] = ...) -> None: ...

class CreatePurchaseRequest(_message.Message):
    __slots__ = ("request_id", "pack_id", "account_id", "account_token", "return_url", "save_payment_method")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PACK_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RETURN_URL_FIELD_NUMBER: _ClassVar[int]
    SAVE_PAYMENT_METHOD_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    pack_id: str
    account_id: str
    account_token: str
    return_url: str
    save_payment_method: bool
    def __init__(self, request_id: _Optional[str] = ..., pack_id: _Optional[str] = ..., account_id: _Optional[str] = ..., account_token: _Optional[str] = ..., return_url: _Optional[str] = ..., save_payment_method: bool = ...) -> None: ...

class CreatePurchaseResponse(_message.Message):
    __slots__ = ("purchase", "checkout_url", "replayed")
    PURCHASE_FIELD_NUMBER: _ClassVar[int]
    CHECKOUT_URL_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    purchase: Purchase
    checkout_url: str
    replayed: bool
    def __init__(self, purchase: _Optional[_Union[Purchase, _Mapping]] = ..., checkout_url: _Optional[str] = ..., replayed: bool = ...) -> None: ...

class GetPurchaseRequest(_message.Message):
    __slots__ = ("purchase_id", "account_token")
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    purchase_id: str
    account_token: str
    def __init__(self, purchase_id: _Optional[str] = ..., account_token: _Optional[str] = ...) -> None: ...

class GetPurchaseResponse(_message.Message):
    __slots__ = ("purchase",)
    PURCHASE_FIELD_NUMBER: _ClassVar[int]
    purchase: Purchase
    def __init__(self, purchase: _Optional[_Union[Purchase, _Mapping]] = ...) -> None: ...

class ListPurchasesRequest(_message.Message):
    __slots__ = ("account_id", "account_token", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    account_token: str
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., account_token: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPurchasesResponse(_message.Message):
    __slots__ = ("purchases", "next_page_token")
    PURCHASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    purchases: _containers.RepeatedCompositeFieldContainer[Purchase]
    next_page_token: str
    def __init__(self, purchases: _Optional[_Iterable[_Union[Purchase, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RefundPurchaseRequest(_message.Message):
    __slots__ = ("request_id", "purchase_id", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    purchase_id: str
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., purchase_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RefundPurchaseResponse(_message.Message):
    __slots__ = ("purchase", "refund", "replayed")
    PURCHASE_FIELD_NUMBER: _ClassVar[int]
    REFUND_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    purchase: Purchase
    refund: _money_pb2.Money
    replayed: bool
    def __init__(self, purchase: _Optional[_Union[Purchase, _Mapping]] = ..., refund: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class CompleteSandboxPaymentRequest(_message.Message):
    __slots__ = ("request_id", "purchase_id", "outcome")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    purchase_id: str
    outcome: SandboxOutcome
    def __init__(self, request_id: _Optional[str] = ..., purchase_id: _Optional[str] = ..., outcome: _Optional[_Union[SandboxOutcome, str]] = ...) -> None: ...

class CompleteSandboxPaymentResponse(_message.Message):
    __slots__ = ("purchase", "replayed")
    PURCHASE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    purchase: Purchase
    replayed: bool
    def __init__(self, purchase: _Optional[_Union[Purchase, _Mapping]] = ..., replayed: bool = ...) -> None: ...
