"""The checks of `smart-embedder check`: what a healthy server does, one function each.

A check talks to the server over one connection, raises `CheckFailed` saying what it saw, or
returns the fact worth showing. Its name is its function's name.
"""
