"""Recipes as values: fields changed by text, as JSON data, and what differs between two.

A recipe is a frozen dataclass whose fields may be such dataclasses; a dot goes into a part: "infill.fim_rate=0.9".
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Recipe = TypeVar("Recipe")


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """A recipe with fields changed, each by a text such as "infill.fim_rate=0.9".

    Lists are written with commas ("filter.languages=python,rust"), nothing as "none", choices by kind as
    "scrub.actions.email=drop", paths to read as "sources=folder,archive.zip" (of any type that has `from_text`).

    Raises:
        ValueError: no such field, or a value that is none of its type.
    """
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ValueError(f"A setting is written name=value; got {setting!r}. Add the value.")
        recipe = _with_field(recipe, name.strip().split("."), value.strip(), whole=name.strip())
    return recipe


def as_json(value: Any) -> Any:
    """A recipe as JSON data; sets are sorted, so that equal recipes are equal texts."""
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: as_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in sorted(value.items())}
    if isinstance(value, (set, frozenset)):
        return sorted(as_json(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def flat(value: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """JSON data with the names that `--set` takes: {"model.preset": ...}."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        path = f"{name}.{key}" if name else key
        found |= flat(item, path) if isinstance(item, Mapping) and item else {path: item}
    return found


def differences(left: Any, right: Any, name: str = "") -> list[str]:
    """Names of the fields in which two recipes as JSON data differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted({*left, *right})
        return [
            found
            for key in keys
            for found in differences(left.get(key), right.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if json.dumps(left) == json.dumps(right) else [name]


def _with_field(value: Any, path: list[str], text: str, *, whole: str) -> Any:
    first, *rest = path
    hints = get_type_hints(type(value))
    if first not in hints or first not in {item.name for item in fields(value)}:
        known = ", ".join(item.name for item in fields(value))
        raise ValueError(f"{type(value).__name__} has {known}; got {first!r} in {whole!r}. Correct the name.")
    kind, old = hints[first], getattr(value, first)
    if rest and is_dataclass(old):
        return replace(value, **{first: _with_field(old, rest, text, whole=whole)})
    if rest and isinstance(old, Mapping) and len(rest) == 1:
        item = get_args(kind)[1]
        return replace(value, **{first: {**old, rest[0]: _parsed(text, item, name=whole)}})
    if rest:
        raise ValueError(f"{first} has no parts; got {whole!r}. Set {first} itself.")
    return replace(value, **{first: _parsed(text, kind, name=whole)})


def _parsed(text: str, kind: Any, *, name: str) -> Any:
    """A text as a value of a type."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        if text.lower() == "none" and NoneType in get_args(kind):
            return None
        (kind,) = (item for item in get_args(kind) if item is not NoneType)
        return _parsed(text, kind, name=name)
    if origin in (tuple, frozenset):
        item = get_args(kind)[0]
        return origin(_parsed(part.strip(), item, name=name) for part in text.split(",") if part.strip())
    if hasattr(kind, "from_text"):
        return kind.from_text(text)
    if origin is Literal:
        if text in get_args(kind):
            return text
        raise ValueError(f"{name} is one of {', '.join(get_args(kind))}; got {text!r}. Correct it.")
    return _simple(text, kind, name=name)


_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false"}


def _simple(text: str, kind: Any, *, name: str) -> Any:
    if kind in (str, Path):
        return kind(text)
    try:
        if kind is bool:
            return _TRUTHS[text.lower()]
        if kind is int:
            return int(text.replace("_", ""))
        if kind is float:
            return float(text)
    except (KeyError, ValueError):
        raise ValueError(f"{name} is {_EXPECTED[kind]}; got {text!r}. Give one.") from None
    raise ValueError(f"{name} cannot be set from the command line; its type is {kind}. Write a recipe of your own.")
