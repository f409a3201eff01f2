"""A build: its recipe and folders, and what the workers of one process share.

WORKDIR/build.json    what is built; another recipe into the same folder is refused
WORKDIR/sources/      packages, as `fetch` brings them, unless another folder is named
WORKDIR/work/         what the steps have finished (`steps.py`)
WORKDIR/corpus/       shards and their manifest: the corpus
WORKDIR/report.json, report.html
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from keras_codegemma.tokenizer import CodeGemmaTokenizer
from training.corpus import store
from training.corpus.decontamination import Benchmarks
from training.corpus.recipe import CorpusRecipe
from training.corpus.text_encoder import TextEncoder
from training.settings import as_json, differences

LAYOUT = 1
"""Of the work folder; a build of another layout is not continued."""


class OtherBuildError(RuntimeError):
    """The work folder belongs to another build."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A build, as every worker gets it.

    Attributes:
        recipe: what to build.
        workdir: the folder described above; all workers see it under this name.
        sources: folder of the fetched packages.
    """

    recipe: CorpusRecipe
    workdir: Path
    sources: Path

    @property
    def work(self) -> Path:
        """Folder of finished steps."""
        return self.workdir / "work"

    @property
    def corpus(self) -> Path:
        """Folder of the corpus."""
        return self.workdir / "corpus"

    @property
    def benchmarks(self) -> Path:
        """File of the benchmarks as they are looked up."""
        return self.work / "benchmarks.npz"

    def begin(self) -> None:
        """Makes the folders, or checks that they are this build's, and clears away what was left half done.

        Raises:
            ValueError: the recipe has no sources.
            OtherBuildError: another recipe, tokenizer or benchmark was used here before.
            FileNotFoundError: the tokenizer or a benchmark is not there.
        """
        if not self.recipe.sources:
            raise ValueError(
                f"A build needs sources; the recipe {self.recipe.name!r} names none. Give `--set sources=path,path`."
            )
        description = _description(self.recipe)
        self.work.mkdir(parents=True, exist_ok=True)
        self.corpus.mkdir(exist_ok=True)
        store.sweep(self.work)
        if self._path.exists():
            self._check(description)
        else:
            store.write_json(self._path, description)
        if self.recipe.decontamination.benchmarks and not self.benchmarks.exists():
            _read_benchmarks(self.recipe, self.benchmarks)

    def look(self) -> None:
        """Checks that the folder has this build, and changes nothing.

        Raises:
            OtherBuildError: another recipe, tokenizer or benchmark was used here.
            FileNotFoundError: no build was begun here.
        """
        if not self._path.exists():
            raise FileNotFoundError(
                f"A build must have been begun in {self.workdir}; there is none. Build first, or check the folder."
            )
        self._check(_description(self.recipe))

    @property
    def _path(self) -> Path:
        return self.workdir / "build.json"

    def _check(self, description: dict[str, Any]) -> None:
        found = differences(store.read_json(self._path), description)
        if found:
            raise OtherBuildError(
                f"{self.workdir} must be a new folder or one of the same build; it was begun with other values of "
                f"{', '.join(found)}. Name another folder, or give the same settings."
            )


def _description(recipe: CorpusRecipe) -> dict[str, Any]:
    files = {str(path): _sha256(path) for path in map(Path, recipe.decontamination.benchmarks) if path.is_file()}
    tokenizer = hashlib.sha256(tokenizer_of(recipe.tokenizer).model_bytes).hexdigest()
    return {"layout": LAYOUT, "recipe": as_json(recipe), "tokenizer_sha256": tokenizer, "benchmark_sha256": files}


def _read_benchmarks(recipe: CorpusRecipe, path: Path) -> None:
    settings = recipe.decontamination
    found = Benchmarks.from_files(map(Path, settings.benchmarks), settings)
    scratch = path.with_name(f"{store.UNFINISHED}{path.name}")
    found.save(scratch)
    scratch.replace(path)


def benchmarks_of(job: Job) -> Benchmarks:
    """The benchmarks that `begin` read; none if the recipe names none. One copy a process."""
    if not job.recipe.decontamination.benchmarks:
        return Benchmarks([], job.recipe.decontamination)
    return _loaded_benchmarks(job.benchmarks)


@lru_cache(maxsize=1)
def _loaded_benchmarks(path: Path) -> Benchmarks:
    return Benchmarks.load(path)


@lru_cache(maxsize=2)
def tokenizer_of(name: str) -> CodeGemmaTokenizer:
    """The tokenizer of a model file or preset; one copy a process."""
    if Path(name).is_file():
        return CodeGemmaTokenizer(name)
    from keras_codegemma import presets  # brings Keras, which nothing else here needs

    return presets.load_tokenizer(name)


@lru_cache(maxsize=2)
def encoder_of(name: str) -> TextEncoder:
    """The encoder of that tokenizer, with what it remembers; one a process."""
    return TextEncoder(tokenizer_of(name))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def benchmark_rows(job: Job) -> Mapping[str, Mapping[str, int]]:
    """What is known of every benchmark file: rows, rows too short to be found, runs left out as template."""
    found = benchmarks_of(job)
    return {
        name: {"rows": rows, "too_short": found.too_short[name], "template_runs": found.templates[name]}
        for name, rows in found.rows.items()
    }
