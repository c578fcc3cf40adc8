"""What can go wrong with a journal.

JournalError
├── JournalUnavailableError  its database is gone, full or broken; what was to be written is not
└── JournalUnusableError     it cannot be opened, or is not one of ours
"""


class JournalError(Exception):
    """The journal could not do what was asked."""


class JournalUnavailableError(JournalError):
    """The database is gone, full or broken; the text is for the operator's log, not for callers.

    Unless it was the answer to a commit that was lost, nothing was written.
    """


class JournalUnusableError(JournalError):
    """The journal cannot be opened, or is not one of ours; the text is one line for the operator."""
