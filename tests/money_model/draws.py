"""What Hypothesis draws: small numbers and short times, so that edges are met often, and what is wrong now and then."""

from datetime import timedelta

from hypothesis import strategies as st

from broker_service.domain.records import PaymentNoticeKind
from tests.money_model.market import GOODS
from tests.money_model.requests import SECOND

rarely = st.integers(0, 7).map(lambda drawn: drawn == 7)
often = st.integers(0, 3).map(lambda drawn: drawn > 0)
# The accounts' numbers; most happens on the first.
whose = st.sampled_from([0, 0, 0, 1, 2])
goods = st.integers(0, len(GOODS) - 1)
first_goods = st.lists(st.integers(0, len(GOODS) - 2), min_size=2, max_size=4)
rates = st.sampled_from([3_333, 2_500, None, 0, 1, 5_000, 10_000])
# How far back among what was made, and among all that was asked.
which = st.integers(0, 3)
recent = st.integers(0, 12)
amounts = st.integers(1, 5)
some = st.sampled_from([None, 0, 1, 1, 2, 3])
kinds = st.sampled_from(
    [*[PaymentNoticeKind.CHARGED_BACK] * 2, *[PaymentNoticeKind.SUCCEEDED] * 2, PaymentNoticeKind.FAILED]
)
refund_kinds = st.sampled_from([PaymentNoticeKind.REFUND_SUCCEEDED, PaymentNoticeKind.REFUND_FAILED])
# What a notice says: "right", or what is wrong about it.
faults = st.sampled_from(
    [*["right"] * 8, "no amount", "one more", "one less", "what is left", "other currency", "other gateway", "unknown"]
)
modes = st.sampled_from(["up", "up", "silent", "silent", "down", "declines"])
thresholds = st.sampled_from([3, 10, 2_000])
steps = st.sampled_from(
    [*[SECOND] * 3, 2 * SECOND, 4 * SECOND, timedelta(minutes=1), timedelta(hours=1), timedelta(hours=7)]
)
