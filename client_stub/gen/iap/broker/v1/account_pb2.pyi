import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.type import money_pb2 as _money_pb2
from iap.broker.v1 import broker_pb2 as _broker_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AccountState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACCOUNT_STATE_UNSPECIFIED: _ClassVar[AccountState]
    ACCOUNT_STATE_ACTIVE: _ClassVar[AccountState]
    ACCOUNT_STATE_SUSPENDED: _ClassVar[AccountState]

class GrantKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRANT_KIND_UNSPECIFIED: _ClassVar[GrantKind]
    GRANT_KIND_PAID: _ClassVar[GrantKind]
    GRANT_KIND_TRIAL: _ClassVar[GrantKind]
    GRANT_KIND_PROMOTIONAL: _ClassVar[GrantKind]

class EntryKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTRY_KIND_UNSPECIFIED: _ClassVar[EntryKind]
    ENTRY_KIND_PURCHASE: _ClassVar[EntryKind]
    ENTRY_KIND_TRIAL: _ClassVar[EntryKind]
    ENTRY_KIND_PROMOTIONAL: _ClassVar[EntryKind]
    ENTRY_KIND_CAPTURE: _ClassVar[EntryKind]
    ENTRY_KIND_REFUND: _ClassVar[EntryKind]
    ENTRY_KIND_EXPIRY: _ClassVar[EntryKind]
    ENTRY_KIND_PURCHASE_REFUND: _ClassVar[EntryKind]

class AutoTopUpState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUTO_TOP_UP_STATE_UNSPECIFIED: _ClassVar[AutoTopUpState]
    AUTO_TOP_UP_STATE_OFF: _ClassVar[AutoTopUpState]
    AUTO_TOP_UP_STATE_ACTIVE: _ClassVar[AutoTopUpState]
    AUTO_TOP_UP_STATE_PAUSED: _ClassVar[AutoTopUpState]
ACCOUNT_STATE_UNSPECIFIED: AccountState
ACCOUNT_STATE_ACTIVE: AccountState
ACCOUNT_STATE_SUSPENDED: AccountState
GRANT_KIND_UNSPECIFIED: GrantKind
GRANT_KIND_PAID: GrantKind
GRANT_KIND_TRIAL: GrantKind
GRANT_KIND_PROMOTIONAL: GrantKind
ENTRY_KIND_UNSPECIFIED: EntryKind
ENTRY_KIND_PURCHASE: EntryKind
ENTRY_KIND_TRIAL: EntryKind
ENTRY_KIND_PROMOTIONAL: EntryKind
ENTRY_KIND_CAPTURE: EntryKind
ENTRY_KIND_REFUND: EntryKind
ENTRY_KIND_EXPIRY: EntryKind
ENTRY_KIND_PURCHASE_REFUND: EntryKind
AUTO_TOP_UP_STATE_UNSPECIFIED: AutoTopUpState
AUTO_TOP_UP_STATE_OFF: AutoTopUpState
AUTO_TOP_UP_STATE_ACTIVE: AutoTopUpState
AUTO_TOP_UP_STATE_PAUSED: AutoTopUpState

class Account(_message.Message):
    __slots__ = ("account_id", "customer_id", "service", "state", "create_time")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    customer_id: str
    service: str
    state: AccountState
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, account_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., service: _Optional[str] = ..., state: _Optional[_Union[AccountState, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("grant_id", "kind", "credits", "remaining_credits", "reserved_credits", "priority", "expire_time", "purchase_id", "create_time")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    REMAINING_CREDITS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    kind: GrantKind
    credits: int
    remaining_credits: int
    reserved_credits: int
    priority: int
    expire_time: _timestamp_pb2.Timestamp
    purchase_id: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, grant_id: _Optional[str] = ..., kind: _Optional[_Union[GrantKind, str]] = ..., credits: _Optional[int] = ..., remaining_credits: _Optional[int] = ..., reserved_credits: _Optional[int] = ..., priority: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., purchase_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("entry_id", "time", "kind", "credits", "ledger_credits_after", "reservation_id", "purchase_id", "description")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_CREDITS_AFTER_FIELD_NUMBER: _ClassVar[int]
    RESERVATION_ID_FIELD_NUMBER: _ClassVar[int]
    PURCHASE_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    time: _timestamp_pb2.Timestamp
    kind: EntryKind
    credits: int
    ledger_credits_after: int
    reservation_id: str
    purchase_id: str
    description: str
    def __init__(self, entry_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., kind: _Optional[_Union[EntryKind, str]] = ..., credits: _Optional[int] = ..., ledger_credits_after: _Optional[int] = ..., reservation_id: _Optional[str] = ..., purchase_id: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class OpenAccountRequest(_message.Message):
    __slots__ = ("request_id", "service")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    service: str
    def __init__(self, request_id: _Optional[str] = ..., service: _Optional[str] = ...) -> None: ...

class OpenAccountResponse(_message.Message):
    __slots__ = ("account", "account_token", "balance", "replayed")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    account: Account
    account_token: str
    balance: _broker_pb2.Balance
    replayed: bool
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ..., account_token: _Optional[str] = ..., balance: _Optional[_Union[_broker_pb2.Balance, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class GetBalanceRequest(_message.Message):
    __slots__ = ("account_id", "account_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    account_token: str
    def __init__(self, account_id: _Optional[str] = ..., account_token: _Optional[str] = ...) -> None: ...

class GetBalanceResponse(_message.Message):
    __slots__ = ("account", "balance", "grants")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    account: Account
    balance: _broker_pb2.Balance
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ..., balance: _Optional[_Union[_broker_pb2.Balance, _Mapping]] = ..., grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("account_id", "account_token", "start_time", "end_time", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    account_token: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., account_token: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchBalanceRequest(_message.Message):
    __slots__ = ("account_id", "account_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    account_token: str
    def __init__(self, account_id: _Optional[str] = ..., account_token: _Optional[str] = ...) -> None: ...

class WatchBalanceResponse(_message.Message):
    __slots__ = ("balance", "time")
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    balance: _broker_pb2.Balance
    time: _timestamp_pb2.Timestamp
    def __init__(self, balance: _Optional[_Union[_broker_pb2.Balance, _Mapping]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RotateAccountTokenRequest(_message.Message):
    __slots__ = ("request_id", "account_id", "overlap")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    account_id: str
    overlap: _duration_pb2.Duration
    def __init__(self, request_id: _Optional[str] = ..., account_id: _Optional[str] = ..., overlap: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RotateAccountTokenResponse(_message.Message):
    __slots__ = ("account_token", "replayed")
    ACCOUNT_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    account_token: str
    replayed: bool
    def __init__(self, account_token: _Optional[str] = ..., replayed: bool = ...) -> None: ...

class SetLowBalanceAlertRequest(_message.Message):
    __slots__ = ("account_id", "threshold_credits", "webhook_url")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_CREDITS_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_URL_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    threshold_credits: int
    webhook_url: str
    def __init__(self, account_id: _Optional[str] = ..., threshold_credits: _Optional[int] = ..., webhook_url: _Optional[str] = ...) -> None: ...

class SetLowBalanceAlertResponse(_message.Message):
    __slots__ = ("alert",)
    ALERT_FIELD_NUMBER: _ClassVar[int]
    alert: LowBalanceAlert
    def __init__(self, alert: _Optional[_Union[LowBalanceAlert, _Mapping]] = ...) -> None: ...

class LowBalanceAlert(_message.Message):
    __slots__ = ("account_id", "threshold_credits", "webhook_url", "signing_secret")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_CREDITS_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_URL_FIELD_NUMBER: _ClassVar[int]
    SIGNING_SECRET_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    threshold_credits: int
    webhook_url: str
    signing_secret: str
    def __init__(self, account_id: _Optional[str] = ..., threshold_credits: _Optional[int] = ..., webhook_url: _Optional[str] = ..., signing_secret: _Optional[str] = ...) -> None: ...

class SetAutoTopUpRequest(_message.Message):
    __slots__ = ("account_id", "pack_id", "threshold_credits", "monthly_cap", "consent")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    PACK_ID_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_CREDITS_FIELD_NUMBER: _ClassVar[int]
    MONTHLY_CAP_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    pack_id: str
    threshold_credits: int
    monthly_cap: _money_pb2.Money
    consent: str
    def __init__(self, account_id: _Optional[str] = ..., pack_id: _Optional[str] = ..., threshold_credits: _Optional[int] = ..., monthly_cap: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., consent: _Optional[str] = ...) -> None: ...

class SetAutoTopUpResponse(_message.Message):
    __slots__ = ("auto_top_up",)
    AUTO_TOP_UP_FIELD_NUMBER: _ClassVar[int]
    auto_top_up: AutoTopUp
    def __init__(self, auto_top_up: _Optional[_Union[AutoTopUp, _Mapping]] = ...) -> None: ...

class GetAutoTopUpRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    def __init__(self, account_id: _Optional[str] = ...) -> None: ...

class GetAutoTopUpResponse(_message.Message):
    __slots__ = ("auto_top_up",)
    AUTO_TOP_UP_FIELD_NUMBER: _ClassVar[int]
    auto_top_up: AutoTopUp
    def __init__(self, auto_top_up: _Optional[_Union[AutoTopUp, _Mapping]] = ...) -> None: ...

class AutoTopUp(_message.Message):
    __slots__ = ("account_id", "state", "pack_id", "threshold_credits", "monthly_cap", "spent_this_month", "consent", "consent_time", "failed_payments", "next_attempt_time")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PACK_ID_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_CREDITS_FIELD_NUMBER: _ClassVar[int]
    MONTHLY_CAP_FIELD_NUMBER: _ClassVar[int]
    SPENT_THIS_MONTH_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    CONSENT_TIME_FIELD_NUMBER: _ClassVar[int]
    FAILED_PAYMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    state: AutoTopUpState
    pack_id: str
    threshold_credits: int
    monthly_cap: _money_pb2.Money
    spent_this_month: _money_pb2.Money
    consent: str
    consent_time: _timestamp_pb2.Timestamp
    failed_payments: int
    next_attempt_time: _timestamp_pb2.Timestamp
    def __init__(self, account_id: _Optional[str] = ..., state: _Optional[_Union[AutoTopUpState, str]] = ..., pack_id: _Optional[str] = ..., threshold_credits: _Optional[int] = ..., monthly_cap: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., spent_this_month: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., consent: _Optional[str] = ..., consent_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failed_payments: _Optional[int] = ..., next_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
