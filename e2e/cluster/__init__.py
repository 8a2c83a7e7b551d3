"""Real Kubernetes on any Linux machine where one is root: no Docker, no registry, no way out."""
