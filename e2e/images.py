"""`make images`: builds the images with buildah on the bootstrapped base and prints their sizes."""

import argparse
import sys

from e2e.cluster import images
from e2e.cluster.preflight import check
from e2e.cluster.progress import step
from e2e.cluster.trouble import Trouble

RECIPES = {"operator": images.OPERATOR, "service": images.SERVICE, "gpu": images.GPU_SERVICE}
USUAL = ("operator", "service")


def main() -> None:
    """Build those that are named, or the two that every cluster runs."""
    parser = argparse.ArgumentParser(prog="python -m e2e.images", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {list(RECIPES)}")
    parser.add_argument("--as", dest="alias", help="another name for the last of them")
    arguments = parser.parse_args()
    try:
        check()
        for name in arguments.names or USUAL:
            _build(RECIPES[name], arguments.alias)
    except Trouble as failure:
        sys.exit(str(failure))


def _build(recipe: images.Recipe, alias: str | None) -> None:
    with step(f"{recipe.name} ({recipe.dockerfile}, target {recipe.target})"):
        reference = images.build(recipe)
        if alias:
            images.tag(reference, alias)
        images.publish(alias or reference)
    print(f"{alias or reference}  {images.size(reference) / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
