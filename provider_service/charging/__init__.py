"""Serving a request for credits: reserve, work, capture; or release when the work fails.

`PaidRequests` is the way in. What it promises for one request_id of one account:

- The work is charged at most once, and only when it was done. Credits never stay reserved for work that failed: a
  release goes on in the background until the broker has confirmed it, and where even that fails they come back when
  the reservation expires.
- Callers with the same id share one attempt. The last of them to leave ends the work; once the work is done, it is
  captured whoever still waits.
- A request that failed after its credits were reserved is not done again under its id. One that was refused before
  that may be tried again.

What is not covered yet, because records of what was served are kept in the memory of one process:

- After a restart, or in another process, a replay is recognised by the broker's reservation. It is not charged
  again, whatever it would cost by now, but its output is gone.
- When a process dies between reserve and capture, a retry does the work again; that it takes effect only once is
  then up to the service, which gets the same request_id. Without a retry the credits come back at expiry.
- When no answer to a Reserve arrives, what it may have reserved is left for a retry with the id to go on with.
  Without one it stays reserved until it expires.
- Two processes that get the same request_id at the same moment both work, and one of them charges. When one fails,
  it releases the reservation under the other's hands, whose work then stays unpaid.
"""
