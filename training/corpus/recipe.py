"""What a corpus is made of: the sources, and the settings of every stage, in one frozen value.

A recipe is a function in `training/recipes/` that returns a `CorpusRecipe`; the command line changes fields of it with
`--set name=value`, where a dot goes into a part: `--set infill.fim_rate=0.9`.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from training import recipes
from training.corpus.decontamination import DecontaminationSettings
from training.corpus.filters import FilterSettings
from training.corpus.fitting import FittingSettings
from training.corpus.infill import InfillSettings
from training.corpus.minhash import DuplicateSettings
from training.corpus.reading.origin import Limits
from training.corpus.secrets import ScrubSettings
from training.corpus.tokenising import LossSettings

KINDS = ("pypi", "npm", "debian", "path", "tfds")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A repository, or a table of them.

    Attributes:
        kind: "pypi" (source distribution), "npm", "debian" (upstream's archive of a source package), "path" (a
            folder, archive or table on this machine) or "tfds" (a set that `tensorflow-datasets` has prepared).
        name: of the package, the path, or the set ("wiki40b/en:1.3.0").
        version: of the package; of a set, its split.
        licence: SPDX expression. Packages: as checked when the recipe was written; the files' own licence is read
            from their metadata. Paths: none is needed. Sets: theirs, because no metadata name it.
        file: name of the archive.
        sha256: of the archive, in hexadecimal.
        trust_licence: take `licence` as the files' licence, because the archive names none.
    """

    kind: str
    name: str
    version: str = ""
    licence: str | None = None
    file: str = ""
    sha256: str = ""
    trust_licence: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"A source is one of {', '.join(KINDS)}; got {self.kind!r} ({self.name}). Correct it.")
        if not self.name:
            raise ValueError(f"A source has a name; got none for a {self.kind} source. Give one.")
        if self.is_package and not (self.version and self.file and len(self.sha256) == 64):
            raise ValueError(
                f"A package is pinned by version, file and sha256; got {self}. Add what is missing, "
                "so that others build the same corpus."
            )

    @property
    def is_package(self) -> bool:
        """Whether a registry has it, so that it must be fetched."""
        return self.kind in ("pypi", "npm", "debian")

    @property
    def repository(self) -> str | None:
        """The name its documents carry; None where the reader finds one."""
        return f"{self.kind}:{self.name}" if self.is_package else None


@dataclass(frozen=True, kw_only=True)
class CorpusRecipe:
    """A corpus.

    Attributes:
        name: of the recipe.
        sources: what is read, in this order.
        tokenizer: a SentencePiece model file, or the name or folder of a preset.
        seed: of spans, layouts and the order of examples.
        epoch: another epoch of the same corpus has other spans and layouts.
        shard_bytes: source text of a shard, about; the memory of a worker grows with it, not with the corpus.
        limits: of readers.
        filter: what passes.
        scrub: what happens to secrets and personal data.
        duplicates: what counts as one.
        decontamination: benchmarks, and what counts as a piece of them.
        infill: spans, rates, layouts.
        loss: weights of tokens.
        fitting: length of a row, and how documents are cut to fit.
    """

    name: str
    sources: tuple[Source, ...] = ()
    tokenizer: str = "code_gemma_tiny"
    seed: int = 0
    epoch: int = 0
    shard_bytes: int = 64_000_000
    limits: Limits = field(default_factory=Limits)
    filter: FilterSettings = field(default_factory=FilterSettings)
    scrub: ScrubSettings = field(default_factory=ScrubSettings)
    duplicates: DuplicateSettings = field(default_factory=DuplicateSettings)
    decontamination: DecontaminationSettings = field(default_factory=DecontaminationSettings)
    infill: InfillSettings = field(default_factory=InfillSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    fitting: FittingSettings = field(default_factory=FittingSettings)

    def __post_init__(self) -> None:
        for name, least in (("shard_bytes", 1), ("epoch", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is at least {least}; got {getattr(self, name)}. Give a larger number.")


def find(name: str) -> CorpusRecipe:
    """The recipe of a name.

    Raises:
        ValueError: there is none of that name.
    """
    known = names()
    if name not in known:
        raise ValueError(f"A recipe is one of {', '.join(known)}; got {name!r}. Correct the name.")
    build: Callable[[], CorpusRecipe] = importlib.import_module(f"{recipes.__name__}.{name}").recipe
    return build()


def names() -> list[str]:
    """The recipes there are, by the files in `training/recipes/` that have a function `recipe`."""
    found = [module.name for module in pkgutil.iter_modules(recipes.__path__)]
    return sorted(name for name in found if not name.startswith("_"))


def with_settings(recipe: CorpusRecipe, settings: Iterable[str]) -> CorpusRecipe:
    """A recipe with fields changed, each by a text such as "infill.fim_rate=0.9".

    Lists are written with commas ("filter.languages=python,rust"), nothing as "none", choices by kind as
    "scrub.actions.email=drop", paths to read as "sources=folder,archive.zip".

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
    if kind is Source:
        return Source(kind="path", name=text)
    if origin is Literal:
        if text in get_args(kind):
            return text
        raise ValueError(f"{name} is one of {', '.join(get_args(kind))}; got {text!r}. Correct it.")
    return _simple(text, kind, name=name)


_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_EXPECTED = {int: "a whole number", float: "a number", bool: "true or false"}


def _simple(text: str, kind: Any, *, name: str) -> Any:
    if kind is str:
        return text
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
