"""What `make mutants` changes, and how it tells what is explained."""

from deploy.mutants import EXPLANATIONS, Change, explanations, undecorated

PROPERTIES = '''\
class Square:
    side: int

    @property
    def area(self) -> int:
        """Its area."""
        return self.side**2

    @staticmethod
    def unit() -> "Square":
        return Square()

    @computed_once
    def outline(self) -> int:
        return 4 * self.side
'''
FUNCTIONS = '''\
class Square:
    side: int


    def area(self) -> int:
        """Its area."""
        return self.side**2

    area = property(area)

    @staticmethod
    def unit() -> "Square":
        return Square()


    def outline(self) -> int:
        return 4 * self.side

    outline = computed_once(outline)
'''
TEXT = """\
# Title
## squares
It makes no difference.
```diff
@@ Square.area
-        return self.side**2
+        return self.side*self.side
@@ unit
-    pass
```
## circles
```diff
@@ area
+    return 3
```
"""


def test_properties_are_changed_like_functions() -> None:
    assert undecorated(PROPERTIES) == FUNCTIONS


def test_the_explained_changes_of_each_module_are_read() -> None:
    assert list(explanations(TEXT)) == [
        Change("squares", "Square.area", ("- return self.side**2", "+ return self.side*self.side")),
        Change("squares", "unit", ("- pass",)),
        Change("circles", "area", ("+ return 3",)),
    ]


def test_the_explanations_can_be_read() -> None:
    explained = list(explanations(EXPLANATIONS.read_text()))
    assert explained
    assert len(set(explained)) == len(explained)
    assert all(change.module and change.lines for change in explained)
