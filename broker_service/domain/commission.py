"""The broker's cut of a sale."""

BASIS_POINTS = 10_000
DEFAULT_COMMISSION_BASIS_POINTS = 2_500


def commission_minor_units(price_minor_units: int, basis_points: int) -> int:
    """Returns the commission on a price, both in minor units of its currency.

    Half a minor unit and more is rounded up, in the broker's favour; the provider's share is price − commission, so
    the two always sum to the price. `basis_points` is 0 … 10 000.
    """
    return (price_minor_units * basis_points + BASIS_POINTS // 2) // BASIS_POINTS
