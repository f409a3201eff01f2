"""Infilling problems from a user's own repository: does a model, or a fine-tune of it, complete this code?

`spans` says what is taken out of a file, `building` which files and how many, `checking` runs the repository's own
tests. Everything after that is the runner's and the report's.
"""

from keras_codegemma.evaluation.repository.building import KINDS, Built, Sources, build, read
from keras_codegemma.evaluation.repository.checking import OwnTests

__all__ = ["KINDS", "Built", "OwnTests", "Sources", "build", "read"]
"""`KINDS` are "line", "block" and "function"."""
