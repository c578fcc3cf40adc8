"""Properties that are computed at the first look."""

from msgspec import Struct

from broker_service.domain.computed_once import computed_once


def test_it_is_computed_at_the_first_look_and_kept() -> None:
    looks = []

    class Circle(Struct, frozen=True, dict=True):
        radius: int

        @computed_once
        def area(self) -> int:
            """About three times the radius squared."""
            looks.append(self.radius)
            return 3 * self.radius**2

    one, two = Circle(1), Circle(2)
    assert looks == []
    assert (one.area, one.area, two.area, two.area) == (3, 3, 12, 12)
    assert looks == [1, 2]
    assert vars(Circle)["area"].__doc__ == "About three times the radius squared."
