"""Corpus and training code that runs from a checkout; nothing in the package imports it."""
