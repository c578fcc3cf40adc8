"""The ids that make a call safe to repeat."""

import uuid


def request_id_or_new(request_id: str | None) -> str:
    """Return the caller's own request_id, or a new one when there is none.

    Only an id of the caller's own lets it repeat the call later; those made here cover the retries of one call.
    """
    return str(uuid.uuid4()) if request_id is None else request_id
