"""What can go wrong with a database.

StorageError                 the work was not done; unless COMMIT itself was lost, nothing of it has been
├── StorageConflictError     other writers were in the way: the same work may succeed when run again
│   └── DuplicateRowError    a row that was to be new is there already
├── StorageUnavailableError  the database is gone, full or broken
│   └── ConnectionLostError  the connection broke; whether the work was done is not known
└── DatabaseUnusableError    it cannot be opened, or is not one of ours
"""


class StorageError(Exception):
    """The database could not do the work. Unless COMMIT itself was lost, nothing of it has been done."""


class StorageConflictError(StorageError):
    """Other writers were in the way; the same work may succeed when it is run again."""


class DuplicateRowError(StorageConflictError):
    """A row that was to be new is there already: another writer was quicker, or the books contradict themselves."""


class StorageUnavailableError(StorageError):
    """The database is gone, full or broken; the text is for the operator's log, not for callers."""


class ConnectionLostError(StorageUnavailableError):
    """The connection broke.

    If that was while COMMIT was on its way, only running the work again tells what became of it.
    """


class DatabaseUnusableError(StorageError):
    """The database cannot be opened, or is not one of ours; the text is one line for the operator."""
