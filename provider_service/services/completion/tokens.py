"""How many tokens a text has, as far as that can be said without its model's tokenizer.

Three figures, of which none is ever below the one before, however the text is cut:

- `least`: what any tokenizer in common use makes of it. None puts two words that white space separates into one token,
  and none averages more than sixteen letters to a token, or four of a wide script.
- `estimate`: what tokenizers of today make of most texts, rather less. A token for four characters; one of a wide
  script (Chinese, Japanese, Korean, most emoji) counts as two, and white space between two words as one.
- `most`: a token for each byte of UTF-8. Tokenizers fall back to bytes and never below.
"""

from collections import Counter
from unicodedata import east_asian_width

_CHARACTERS_PER_TOKEN = 4
_LETTERS_PER_TOKEN_MAXIMUM = 16
# Of characters that count as one, how many a wide one counts as: in the estimate, and in the least.
_WIDE_ESTIMATE = 2
_WIDE_LEAST = 4


class TokenCount:
    """Counts the tokens of a text that comes in pieces; what has come counts as one text."""

    def __init__(self, text: str = "") -> None:
        self._words = 0
        self._letters = 0
        self._characters = 0
        self._bytes = 0
        self._is_in_word = False
        self.add(text)

    def add(self, text: str) -> None:
        """Counts a piece more, which has no halves of surrogate pairs."""
        if not text:
            return
        self._words += len(text.split()) - (self._is_in_word and not text[0].isspace())
        self._is_in_word = not text[-1].isspace()
        self._bytes += len(text.encode())
        for character, count in Counter(text).items():
            is_wide = east_asian_width(character) in "WF"
            self._characters += count * (_WIDE_ESTIMATE if is_wide else 1) * (not character.isspace())
            self._letters += count * (_WIDE_LEAST if is_wide else 1) * character.isalnum()

    @property
    def least(self) -> int:
        """Fewer tokens than this it does not have."""
        return max(self._words, self._letters // _LETTERS_PER_TOKEN_MAXIMUM)

    @property
    def estimate(self) -> int:
        """About as many tokens as this it has."""
        gaps = max(self._words - 1, 0)
        return max(self.least, -(-(self._characters + gaps) // _CHARACTERS_PER_TOKEN))

    @property
    def most(self) -> int:
        """More tokens than this it does not have."""
        return self._bytes
