"""Admission, lanes, the batch cut and the worker."""
