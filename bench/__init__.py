"""Measurements, each beside its rival or its limit; run by `make bench-…`, never by the tests."""
