"""By which recipe an image rounds, for the dtypes where that is ours to choose. Pure.

A release may better a recipe, and vectors of two recipes must not be compared. The operator knows
the recipes of its own release; of any other image it knows only that it rounds as itself.
"""

from collections.abc import Mapping
from typing import Any

from smart_embedder_operator.profiles import Profile
from smart_embedder_operator.spec import Spec
from smart_embedder_operator.spec.pod import serving_container

Recipe = int | str
"""The release's number, or the image that a person names in its place."""

RECIPES: Mapping[str, int] = {"int8": 2}
"""Of this release's images, by dtype: the service's own, raised together with them."""

UNRECORDED: Mapping[str, int] = {"int8": 2}
"""Of the tracks that were made before their record named a recipe. Never raised."""


def recipe(dtype: str, own_image: str | None) -> Recipe | None:
    """How a dtype is rounded; None where there is nothing to choose."""
    return (own_image or RECIPES[dtype]) if dtype in RECIPES else None


def own_image(spec: Spec, profile: Profile) -> str | None:
    """The image that a person names in place of the release's."""
    return image_in(spec.pod_template.spec) or spec.image.reference or profile.image


def image_in(pod: Mapping[str, Any]) -> str | None:
    """The serving container's image, in a pod or in what is laid over one."""
    container = serving_container(pod)
    image: str | None = container.get("image") if container is not None else None
    return image
