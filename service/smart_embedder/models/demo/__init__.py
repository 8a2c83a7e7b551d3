"""Tiny untrained models in the file layout of the real ones, made here and never downloaded."""
