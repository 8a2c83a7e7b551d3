"""The diagnosis table's machinery: rows, how Kubernetes shows a fault, and how a row is played."""
