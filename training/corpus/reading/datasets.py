"""Reads natural language and mathematics through `tensorflow-datasets`: one example is one file."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from training.corpus.document import Dropped, RawFile, ending_of
from training.corpus.reading.origin import Limits, Origin


@dataclass(frozen=True, kw_only=True)
class TextSet:
    """How one set's examples become text.

    Attributes:
        template: `str.format` text with the names of features, all of them text.
        language: of the resulting files, as `document.language_of` names it.
    """

    template: str
    language: str = "text"

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError(f"A template names a feature in braces; got {self.template!r}. Write e.g. '{{text}}'.")

    @property
    def features(self) -> tuple[str, ...]:
        """Names that the template uses."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.template) if name)


TEXT_SETS: Mapping[str, TextSet] = {
    "c4": TextSet(template="{text}"),
    "lm1b": TextSet(template="{text}"),
    "math_dataset": TextSet(template="{question}\n{answer}\n"),
    "pg19": TextSet(template="{book_text}"),
    "wiki40b": TextSet(template="{text}"),
    "wikipedia": TextSet(template="{title}\n\n{text}\n"),
}
"""Sets by their name in the catalogue, without configuration and version; features as the catalogue lists them."""


def read(
    name: str,
    *,
    split: str,
    licence: str | None,
    data_dir: Path | None = None,
    text_set: TextSet | None = None,
    limits: Limits | None = None,
) -> Iterator[RawFile | Dropped]:
    """Every example of a split as a file, in the order of the set's shards. Imports TensorFlow.

    Args:
        name: as `tfds.builder` takes it: "wiki40b/en:1.3.0". The version is part of the revision.
        split: e.g. "train[:1%]".
        licence: SPDX expression; the catalogue has none that could be read.
        data_dir: where the set lies prepared; nothing is downloaded.
        text_set: how examples become text; by default as `TEXT_SETS` says.
        limits: `file_bytes` alone is used.

    Raises:
        ValueError: the set is not in `TEXT_SETS` and no `text_set` is given.
    """
    text_set = text_set or _known(name)
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    examples = tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
    origin = Origin(
        repository=f"tfds:{builder.info.full_name.rsplit('/', 1)[0]}/{split}",
        revision=str(builder.info.version),
        licence=licence,
    )
    yield from files(examples, origin=origin, text_set=text_set, limits=limits)  # type: ignore[arg-type]


def files(
    examples: Iterable[Mapping[str, Any]], *, origin: Origin, text_set: TextSet, limits: Limits | None = None
) -> Iterator[RawFile | Dropped]:
    """Examples as files: each in a repository of its own, "#" and its number behind the origin's.

    Reasons for dropping: "no-text" (a feature is missing or no text), "not-utf-8", "too-large"; "empty-repository".

    Args:
        examples: mappings of features; text as `str` or as the bytes that `tfds.as_numpy` gives.
        origin: of all.
        text_set: how examples become text.
        limits: `file_bytes` alone is used.
    """
    limits = limits or Limits()
    number = -1
    for number, example in enumerate(examples):
        own = Origin(repository=f"{origin.repository}#{number}", revision=origin.revision, licence=origin.licence)
        yield _file(example, number=number, own=own, text_set=text_set, limits=limits)
    if number < 0:
        yield origin.dropped(".", reason="empty-repository")


def _file(
    example: Mapping[str, Any], *, number: int, own: Origin, text_set: TextSet, limits: Limits
) -> RawFile | Dropped:
    path = f"{number:09d}{ending_of(text_set.language)}"
    values = {}
    for feature in text_set.features:
        value = example.get(feature)
        if not isinstance(value, (str, bytes)):
            return own.dropped(path, reason="no-text", detail=f"{feature} is {type(value).__name__}")
        try:
            values[feature] = value if isinstance(value, str) else value.decode()
        except UnicodeDecodeError as error:
            return own.dropped(path, reason="not-utf-8", size_bytes=len(value), detail=str(error))
    data = text_set.template.format_map(values).encode()
    if len(data) > limits.file_bytes:
        return own.dropped(path, reason="too-large", size_bytes=len(data), detail=f"above {limits.file_bytes}")
    return own.file(path, data, language=text_set.language)


def _known(name: str) -> TextSet:
    base = name.partition("/")[0].partition(":")[0]
    if base not in TEXT_SETS:
        known = ", ".join(sorted(TEXT_SETS))
        raise ValueError(
            f"A set needs to be known ({known}) or described; got {name!r}. Pass text_set=TextSet(template=...)."
        )
    return TEXT_SETS[base]
