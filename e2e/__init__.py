"""Cases on a real cluster, and the cluster itself where none is given."""
