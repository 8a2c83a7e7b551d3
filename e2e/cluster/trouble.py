"""Failures that a person can do something about."""


class Trouble(Exception):
    """An expected failure: its message says what is wrong, and no traceback is needed."""
