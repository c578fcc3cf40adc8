"""Serving a request for credits: reserve, work, capture; or release when the work fails.

`PaidRequests` is the way in. What it promises for one request_id of one account:

- The work is charged at most once, and only when it was done. Credits never stay reserved for work that failed: a
  release goes on in the background until the broker has confirmed it, and where even that fails they come back when
  the reservation expires.
- Callers with the same id share one attempt. The last of them to leave ends the work; once the work is done, it is
  captured whoever still waits.
- A request that failed after its credits were reserved is not done again under its id. One that was refused before
  that may be tried again.
- Work that is done is not done again. Who comes with its id gets the same output, once it is paid.

All that holds across crashes and, where they share a journal, across processes: each step is in the journal
(provider_service/journal) before the next is taken, and `Recovery` has the `Settler` bring to an end what a process has
left open. docs/journal.md tells how, and what is lost without a journal.

What is not covered, as processes that serve the same accounts are to share a journal: two with journals of their own
that get the same request_id at the same moment both work, and one of them charges. When one fails, it releases the
reservation under the other's hands, whose work is then paid by a retry or not at all.
"""
