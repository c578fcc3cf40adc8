"""The points between the steps of a request, in the order in which it passes them."""

POINTS = (
    "reserving_written",
    "reserved",
    "working_written",
    "worked",
    "done_written",
    "captured",
    "captured_written",
    "failed_written",
    "released",
    "released_written",
    "removed_written",
)
