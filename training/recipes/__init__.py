"""Recipes as Python functions, each returning one frozen configuration: of a corpus or of a training run."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

Recipe = TypeVar("Recipe")


def find(name: str, kind: type[Recipe]) -> Recipe:
    """The recipe of a name, for example of kind `CorpusRecipe`.

    Raises:
        ValueError: there is none of that name and kind.
    """
    known = names(kind)
    if name not in known:
        raise ValueError(f"A recipe is one of {', '.join(known)}; got {name!r}. Correct the name.")
    return _function(name)()


def names(kind: type) -> list[str]:
    """The recipes of a kind, by the files beside this one whose function `recipe` says that it returns one."""
    found = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted(
        name for name in found if not name.startswith("_") and get_type_hints(_function(name))["return"] is kind
    )


def _function(name: str) -> Callable[[], Any]:
    return importlib.import_module(f"{__name__}.{name}").recipe
