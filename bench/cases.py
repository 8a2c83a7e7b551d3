"""What every engine is asked: the texts of each column of the table."""

import random
from dataclasses import dataclass

from bench.full_shape import texts


@dataclass(frozen=True)
class Case:
    """Some texts to embed, or passages to rank for a query."""

    name: str
    about: str
    lengths: tuple[int, ...]
    query_tokens: int = 0
    """More than none makes it pairs: each of `lengths` is then a whole pair."""
    bulk: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that an engine without padding computes."""
        return sum(self.lengths)

    @property
    def texts(self) -> list[str]:
        """The texts, or the passages."""
        # A pair has four special tokens, and `texts` counts two of its own.
        spent = self.query_tokens + 2 if self.query_tokens else 0
        return texts([length - spent for length in self.lengths])

    @property
    def query(self) -> str:
        """The query of the pairs."""
        return texts([self.query_tokens + 2])[0]


def _mixed(count: int) -> tuple[int, ...]:
    dice = random.Random(0)
    return tuple(dice.randint(12, 256) for _ in range(count))


CASES = (
    Case("mixed", "8 texts of 12-256 tokens", _mixed(8)),
    Case("same", "4 texts of 128 tokens", (128,) * 4),
    Case("short", "one query of 12 tokens", (12,)),
    Case("pairs", "2 rerank pairs of 512 tokens", (512, 512), query_tokens=32),
    Case("bulk", "32 texts of 12-256 tokens, one long job", _mixed(32), bulk=True),
)
