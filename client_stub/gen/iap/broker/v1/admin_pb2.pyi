import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.type import money_pb2 as _money_pb2
from iap.broker.v1 import account_pb2 as _account_pb2
from iap.broker.v1 import broker_pb2 as _broker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProviderState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROVIDER_STATE_UNSPECIFIED: _ClassVar[ProviderState]
    PROVIDER_STATE_ACTIVE: _ClassVar[ProviderState]
    PROVIDER_STATE_SUSPENDED: _ClassVar[ProviderState]

class PaymentNoticeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYMENT_NOTICE_KIND_UNSPECIFIED: _ClassVar[PaymentNoticeKind]
    PAYMENT_NOTICE_KIND_SUCCEEDED: _ClassVar[PaymentNoticeKind]
    PAYMENT_NOTICE_KIND_FAILED: _ClassVar[PaymentNoticeKind]
    PAYMENT_NOTICE_KIND_REFUND_SUCCEEDED: _ClassVar[PaymentNoticeKind]
    PAYMENT_NOTICE_KIND_REFUND_FAILED: _ClassVar[PaymentNoticeKind]
    PAYMENT_NOTICE_KIND_CHARGED_BACK: _ClassVar[PaymentNoticeKind]

class PaymentNoticeOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYMENT_NOTICE_OUTCOME_UNSPECIFIED: _ClassVar[PaymentNoticeOutcome]
    PAYMENT_NOTICE_OUTCOME_APPLIED: _ClassVar[PaymentNoticeOutcome]
    PAYMENT_NOTICE_OUTCOME_IGNORED: _ClassVar[PaymentNoticeOutcome]
    PAYMENT_NOTICE_OUTCOME_UNKNOWN_PURCHASE: _ClassVar[PaymentNoticeOutcome]
    PAYMENT_NOTICE_OUTCOME_WRONG_AMOUNT: _ClassVar[PaymentNoticeOutcome]

class PurchaseRefundState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PURCHASE_REFUND_STATE_UNSPECIFIED: _ClassVar[PurchaseRefundState]
    PURCHASE_REFUND_STATE_REQUESTED: _ClassVar[PurchaseRefundState]
    PURCHASE_REFUND_STATE_PAID: _ClassVar[PurchaseRefundState]
    PURCHASE_REFUND_STATE_FAILED: _ClassVar[PurchaseRefundState]
PROVIDER_STATE_UNSPECIFIED: ProviderState
PROVIDER_STATE_ACTIVE: ProviderState
PROVIDER_STATE_SUSPENDED: ProviderState
PAYMENT_NOTICE_KIND_UNSPECIFIED: PaymentNoticeKind
PAYMENT_NOTICE_KIND_SUCCEEDED: PaymentNoticeKind
PAYMENT_NOTICE_KIND_FAILED: PaymentNoticeKind
PAYMENT_NOTICE_KIND_REFUND_SUCCEEDED: PaymentNoticeKind
PAYMENT_NOTICE_KIND_REFUND_FAILED: PaymentNoticeKind
PAYMENT_NOTICE_KIND_CHARGED_BACK: PaymentNoticeKind
PAYMENT_NOTICE_OUTCOME_UNSPECIFIED: PaymentNoticeOutcome
PAYMENT_NOTICE_OUTCOME_APPLIED: PaymentNoticeOutcome
PAYMENT_NOTICE_OUTCOME_IGNORED: PaymentNoticeOutcome
PAYMENT_NOTICE_OUTCOME_UNKNOWN_PURCHASE: PaymentNoticeOutcome
PAYMENT_NOTICE_OUTCOME_WRONG_AMOUNT: PaymentNoticeOutcome
PURCHASE_REFUND_STATE_UNSPECIFIED: PurchaseRefundState
PURCHASE_REFUND_STATE_REQUESTED: PurchaseRefundState
PURCHASE_REFUND_STATE_PAID: PurchaseRefundState
PURCHASE_REFUND_STATE_FAILED: PurchaseRefundState

class Provider(_message.Message):
    __slots__ = ("provider_id", "name", "state", "commission_basis_points", "create_time")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_BASIS_POINTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    name: str
    state: ProviderState
    commission_basis_points: int
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, provider_id: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[_Union[ProviderState, str]] = ..., commission_basis_points: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Customer(_message.Message):
    __slots__ = ("customer_id", "name", "email", "create_time")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    name: str
    email: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, customer_id: _Optional[str] = ..., name: _Optional[str] = ..., email: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("key_id", "provider_id", "customer_id", "operator", "title", "create_time", "revoke_time")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    provider_id: str
    customer_id: str
    operator: bool
    title: str
    create_time: _timestamp_pb2.Timestamp
    revoke_time: _timestamp_pb2.Timestamp
    def __init__(self, key_id: _Optional[str] = ..., provider_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., operator: bool = ..., title: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RegisterProviderRequest(_message.Message):
    __slots__ = ("request_id", "name", "commission_basis_points")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_BASIS_POINTS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    name: str
    commission_basis_points: int
    def __init__(self, request_id: _Optional[str] = ..., name: _Optional[str] = ..., commission_basis_points: _Optional[int] = ...) -> None: ...

class RegisterProviderResponse(_message.Message):
    __slots__ = ("provider", "provider_key", "replayed")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_KEY_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    provider_key: str
    replayed: bool
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ..., provider_key: _Optional[str] = ..., replayed: bool = ...) -> None: ...

class RegisterCustomerRequest(_message.Message):
    __slots__ = ("request_id", "name", "email")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    name: str
    email: str
    def __init__(self, request_id: _Optional[str] = ..., name: _Optional[str] = ..., email: _Optional[str] = ...) -> None: ...

class RegisterCustomerResponse(_message.Message):
    __slots__ = ("customer", "customer_key", "replayed")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_KEY_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    customer: Customer
    customer_key: str
    replayed: bool
    def __init__(self, customer: _Optional[_Union[Customer, _Mapping]] = ..., customer_key: _Optional[str] = ..., replayed: bool = ...) -> None: ...

class IssueKeyRequest(_message.Message):
    __slots__ = ("request_id", "provider_id", "customer_id", "operator", "title")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    provider_id: str
    customer_id: str
    operator: bool
    title: str
    def __init__(self, request_id: _Optional[str] = ..., provider_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., operator: bool = ..., title: _Optional[str] = ...) -> None: ...

class IssueKeyResponse(_message.Message):
    __slots__ = ("key", "secret", "replayed")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    key: Key
    secret: str
    replayed: bool
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., secret: _Optional[str] = ..., replayed: bool = ...) -> None: ...

class RevokeKeyRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class RevokeKeyResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ("provider_id", "customer_id", "operator", "page_size", "page_token")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    customer_id: str
    operator: bool
    page_size: int
    page_token: str
    def __init__(self, provider_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., operator: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "next_page_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    next_page_token: str
    def __init__(self, keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GrantCreditsRequest(_message.Message):
    __slots__ = ("request_id", "account_id", "credits", "kind", "priority", "expire_time", "reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account_id: str
    credits: int
    kind: _account_pb2.GrantKind
    priority: int
    expire_time: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, request_id: _Optional[str] = ..., account_id: _Optional[str] = ..., credits: _Optional[int] = ..., kind: _Optional[_Union[_account_pb2.GrantKind, str]] = ..., priority: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class GrantCreditsResponse(_message.Message):
    __slots__ = ("grant", "balance", "replayed")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    grant: _account_pb2.Grant
    balance: _broker_pb2.Balance
    replayed: bool
    def __init__(self, grant: _Optional[_Union[_account_pb2.Grant, _Mapping]] = ..., balance: _Optional[_Union[_broker_pb2.Balance, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class SuspendAccountRequest(_message.Message):
    __slots__ = ("account_id", "reason")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    reason: str
    def __init__(self, account_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SuspendAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: _account_pb2.Account
    def __init__(self, account: _Optional[_Union[_account_pb2.Account, _Mapping]] = ...) -> None: ...

class ResumeAccountRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    def __init__(self, account_id: _Optional[str] = ...) -> None: ...

class ResumeAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: _account_pb2.Account
    def __init__(self, account: _Optional[_Union[_account_pb2.Account, _Mapping]] = ...) -> None: ...

class SuspendProviderRequest(_message.Message):
    __slots__ = ("provider_id", "reason")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    reason: str
    def __init__(self, provider_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class SuspendProviderResponse(_message.Message):
    __slots__ = ("provider",)
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ...) -> None: ...

class ResumeProviderRequest(_message.Message):
    __slots__ = ("provider_id",)
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    def __init__(self, provider_id: _Optional[str] = ...) -> None: ...

class ResumeProviderResponse(_message.Message):
    __slots__ = ("provider",)
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ...) -> None: ...

class SetCommissionRequest(_message.Message):
    __slots__ = ("provider_id", "commission_basis_points")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    COMMISSION_BASIS_POINTS_FIELD_NUMBER: _ClassVar[int]
    provider_id: str
    commission_basis_points: int
    def __init__(self, provider_id: _Optional[str] = ..., commission_basis_points: _Optional[int] = ...) -> None: ...

class SetCommissionResponse(_message.Message):
    __slots__ = ("provider",)
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    provider: Provider
    def __init__(self, provider: _Optional[_Union[Provider, _Mapping]] = ...) -> None: ...

class AuditLedgerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AuditLedgerResponse(_message.Message):
    __slots__ = ("accounts_checked", "entries_checked", "violations")
    ACCOUNTS_CHECKED_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_CHECKED_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    accounts_checked: int
    entries_checked: int
    violations: _containers.RepeatedCompositeFieldContainer[AuditViolation]
    def __init__(self, accounts_checked: _Optional[int] = ..., entries_checked: _Optional[int] = ..., violations: _Optional[_Iterable[_Union[AuditViolation, _Mapping]]] = ...) -> None: ...

class AuditViolation(_message.Message):
    __slots__ = ("account_id", "rule", "description")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    rule: str
    description: str
    def __init__(self, account_id: _Optional[str] = ..., rule: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class PaymentNotice(_message.Message):
    __slots__ = ("notice_id", "gateway", "gateway_event_id", "kind", "purchase_id", "amount", "outcome", "detail", "times_received", "receive_time")
    NOTICE_ID_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    TIMES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    notice_id: str
    gateway: str
    gateway_event_id: str
    kind: PaymentNoticeKind
    purchase_id: str
    amount: _money_pb2.Money
    outcome: PaymentNoticeOutcome
    detail: str
    times_received: int
    receive_time: _timestamp_pb2.Timestamp
    def __init__(self, notice_id: _Optional[str] = ..., gateway: _Optional[str] = ..., gateway_event_id: _Optional[str] = ..., kind: _Optional[_Union[PaymentNoticeKind, str]] = ..., purchase_id: _Optional[str] = ..., amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., outcome: _Optional[_Union[PaymentNoticeOutcome, str]] = ..., detail: _Optional[str] = ..., times_received: _Optional[int] = ..., receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListPaymentNoticesRequest(_message.Message):
    __slots__ = ("outcome", "purchase_id", "page_size", "page_token")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    outcome: PaymentNoticeOutcome
    purchase_id: str
    page_size: int
    page_token: str
    def __init__(self, outcome: _Optional[_Union[PaymentNoticeOutcome, str]] = ..., purchase_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPaymentNoticesResponse(_message.Message):
    __slots__ = ("notices", "next_page_token")
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    notices: _containers.RepeatedCompositeFieldContainer[PaymentNotice]
    next_page_token: str
    def __init__(self, notices: _Optional[_Iterable[_Union[PaymentNotice, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class PurchaseRefund(_message.Message):
    __slots__ = ("refund_id", "purchase_id", "account_id", "state", "amount", "credits", "reason", "gateway_reference", "create_time", "resolve_time")
    REFUND_ID_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RESOLVE_TIME_FIELD_NUMBER: _ClassVar[int]
    refund_id: str
    purchase_id: str
    account_id: str
    state: PurchaseRefundState
    amount: _money_pb2.Money
    credits: int
    reason: str
    gateway_reference: str
    create_time: _timestamp_pb2.Timestamp
    resolve_time: _timestamp_pb2.Timestamp
    def __init__(self, refund_id: _Optional[str] = ..., purchase_id: _Optional[str] = ..., account_id: _Optional[str] = ..., state: _Optional[_Union[PurchaseRefundState, str]] = ..., amount: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., credits: _Optional[int] = ..., reason: _Optional[str] = ..., gateway_reference: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., resolve_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListOwedRefundsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListOwedRefundsResponse(_message.Message):
    __slots__ = ("refunds", "next_page_token")
    REFUNDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    refunds: _containers.RepeatedCompositeFieldContainer[PurchaseRefund]
    next_page_token: str
    def __init__(self, refunds: _Optional[_Iterable[_Union[PurchaseRefund, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class MarkRefundPaidRequest(_message.Message):
    __slots__ = ("request_id", "refund_id", "reference")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REFUND_ID_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    refund_id: str
    reference: str
    def __init__(self, request_id: _Optional[str] = ..., refund_id: _Optional[str] = ..., reference: _Optional[str] = ...) -> None: ...

class MarkRefundPaidResponse(_message.Message):
    __slots__ = ("refund", "replayed")
    REFUND_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    refund: PurchaseRefund
    replayed: bool
    def __init__(self, refund: _Optional[_Union[PurchaseRefund, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class ListProvidersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListProvidersResponse(_message.Message):
    __slots__ = ("providers", "next_page_token")
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    providers: _containers.RepeatedCompositeFieldContainer[Provider]
    next_page_token: str
    def __init__(self, providers: _Optional[_Iterable[_Union[Provider, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
