"""What a corpus is made of: the sources, and the settings of every stage, in one frozen value.

A recipe is a function in `training/recipes/` that returns a `CorpusRecipe`; the command line changes fields of it with
`--set name=value`, where a dot goes into a part: `--set infill.fim_rate=0.9`.
"""

from dataclasses import dataclass, field

from training.corpus.decontamination import DecontaminationSettings
from training.corpus.documents import OrderSettings
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

    @classmethod
    def from_text(cls, text: str) -> "Source":
        """A path on this machine, as the command line gives it."""
        return cls(kind="path", name=text)

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
        order: of the documents of a repository.
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
    order: OrderSettings = field(default_factory=OrderSettings)
    infill: InfillSettings = field(default_factory=InfillSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    fitting: FittingSettings = field(default_factory=FittingSettings)

    def __post_init__(self) -> None:
        for name, least in (("shard_bytes", 1), ("epoch", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is at least {least}; got {getattr(self, name)}. Give a larger number.")
