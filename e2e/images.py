"""`make images`: builds both images and prints their sizes."""

import sys

from e2e.cluster import images
from e2e.cluster.preflight import check
from e2e.cluster.progress import step
from e2e.cluster.trouble import Trouble


def main() -> None:
    """Build with buildah on the bootstrapped base."""
    try:
        check()
        for recipe in (images.OPERATOR, images.SERVICE):
            with step(f"{recipe.name} ({recipe.dockerfile}, target {recipe.target})"):
                reference = images.build(recipe)
                images.publish(reference)
            print(f"{reference}  {images.size(reference) / 1e6:,.0f} MB")
    except Trouble as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
