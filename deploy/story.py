"""What the demo prints, and what it finds to be otherwise than told."""

import textwrap
from typing import Final

_WIDTH: Final = 100
_INDENT: Final = "   "


class Story:
    """Short sections of text and tables on standard output. A check that fails is told at once and remembered."""

    def __init__(self) -> None:
        self.differences: list[str] = []
        self._sections = 0

    def begin_section(self, title: str) -> None:
        """Print the heading of the next section."""
        self._sections += 1
        print(f"\n{self._sections}. {title}", flush=True)

    def tell(self, text: str) -> None:
        """Print a paragraph, wrapped."""
        paragraph = textwrap.fill(text, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
        print(f"\n{paragraph}", flush=True)

    def show(self, block: str) -> None:
        """Print lines as they are."""
        print(f"\n{textwrap.indent(block.rstrip(), _INDENT)}", flush=True)

    def check(self, what: str, *, found: object, expected: object) -> None:
        """Remember a difference between what there is and what there has to be."""
        if found != expected:
            self.differences.append(f"{what}: expected {expected}, found {found}")
            self.tell(f"NOT AS TOLD: {self.differences[-1]}")
