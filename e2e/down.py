"""`make down`: takes away what `make up` brought."""

import sys

from e2e.cluster.trouble import Trouble
from e2e.release import Release
from e2e.target import Given, choose
from e2e.up import NAMESPACE, QUICKSTART, RELEASE


def main() -> None:
    """End our own cluster; from a given one, take the Embedder and the chart."""
    try:
        target = choose()
        if isinstance(target, Given):
            kubectl = target.kubectl
            kubectl("delete", "-n", "default", "--ignore-not-found", "-f", QUICKSTART)
            Release(kubectl, RELEASE, NAMESPACE).uninstall()
        target.down()
    except Trouble as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
