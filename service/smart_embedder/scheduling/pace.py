"""How fast a model runs on a device, and how many tokens a pass of it may hold. Pure arithmetic."""

MEMORY = 0.9
"""Share of the past that each new pass leaves standing: some twenty passes count."""
SMALLEST_TARGET = 256
"""A row costs a CPU as much in a pass of 256 as in one of 1,024, in one of 64 a quarter more."""
FULL = 0.9
"""From this fill on, a pass that went well shows that its size fits."""
RECOVERY = 512
"""A lowered budget grows by a 512th with each full pass that fits: trying costs next to nothing."""


class Pace:
    """The measured token rate; long passes weigh more, as they do in a drain."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0

    def measured(self, tokens: int, seconds: float) -> None:
        """Take one pass in."""
        self._tokens = self._tokens * MEMORY + tokens
        self._seconds = self._seconds * MEMORY + seconds

    @property
    def rate(self) -> float:
        """Tokens a second; 0 before the first pass."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def seconds(self, tokens: float) -> float:
        """Predict the time for so many tokens; 0 before the first pass."""
        return tokens / self.rate if self.rate else 0.0


class Budget:
    """Tokens of one pass: what memory allows, lowered when it did not, within a target time."""

    def __init__(self, whole: int, target_seconds: float) -> None:
        self._whole = whole
        self._fits = whole
        self._target_seconds = target_seconds

    def tokens(self, pace: Pace) -> int:
        """Return the budget of the next pass."""
        if not pace.rate:
            return self._fits
        target = max(SMALLEST_TARGET, int(pace.rate * self._target_seconds))
        return min(self._fits, target)

    def overflowed(self, tokens: int) -> None:
        """Remember that a pass of so many tokens did not fit."""
        self._fits = max(1, min(self._fits, tokens // 2))

    def fitted(self, tokens: int) -> None:
        """Remember that a pass of so many tokens did fit."""
        if tokens >= self._fits * FULL:
            self._fits = min(self._whole, self._fits + max(1, self._fits // RECOVERY))
