"""Instants and spans between Python and protobuf, in whole microseconds; finer parts of a request are cut off."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from broker_service.domain.errors import InvalidField

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS_PER_SECOND = 1_000_000_000


def to_timestamp(instant: datetime) -> Timestamp:
    """Renders an instant."""
    timestamp = Timestamp()
    put_instant(timestamp, instant)
    return timestamp


def put_instant(timestamp: Timestamp, instant: datetime) -> None:
    """Renders an instant into a message that is there, such as another one's field, which is present from then on."""
    since = instant - _EPOCH
    timestamp.seconds = since.days * 86_400 + since.seconds
    timestamp.nanos = since.microseconds * 1_000


def to_duration(span: timedelta) -> Duration:
    """Renders a span of time."""
    return Duration(seconds=span.days * 86_400 + span.seconds, nanos=span.microseconds * 1_000)


def optional_span(message: Message, field: str) -> timedelta | None:
    """Parses a Duration field whose range the field rules have checked; None if it is absent.

    Raises InvalidField if its nanos are none.
    """
    if not message.HasField(field):
        return None
    duration: Duration = getattr(message, field)
    _check_nanos(duration.nanos, field)
    return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1_000)


def optional_instant(message: Message, field: str) -> datetime | None:
    """Parses a Timestamp field; None if it is absent. Raises InvalidField if it is none, or beyond the year 9999."""
    if not message.HasField(field):
        return None
    timestamp: Timestamp = getattr(message, field)
    _check_nanos(timestamp.nanos, field)
    try:
        return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1_000)
    except OverflowError as error:
        raise InvalidField(field=field, description="must be before the year 10000") from error


def microseconds_of(instant: datetime) -> int:
    """Returns an instant as whole microseconds since 1970, for page tokens."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def instant_of(microseconds: int) -> datetime:
    """Returns the instant that `microseconds_of` was given."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _check_nanos(nanos: int, field: str) -> None:
    if not 0 <= nanos < _NANOS_PER_SECOND:
        raise InvalidField(field=f"{field}.nanos", description="must be from 0 to 999999999")
