"""What every builder may look at besides the Embedder itself."""

from msgspec import Struct

from smart_embedder_operator.observed import Observed
from smart_embedder_operator.platform import Platform
from smart_embedder_operator.profiles import Profile, dtype_of
from smart_embedder_operator.tracks import TrackPlan


class Context(Struct, frozen=True, kw_only=True):
    """The surroundings of one build."""

    platform: Platform
    profile: Profile
    """The Embedder's hardware, settled."""
    plan: TrackPlan
    observed: Observed

    @property
    def auto_dtype(self) -> str:
        """What `dtype: auto` means on this hardware."""
        return dtype_of(self.profile)
