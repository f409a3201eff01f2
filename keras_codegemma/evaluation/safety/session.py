"""One run of the safety figures: settings that must not change, parts that can be interrupted, a summary."""

import importlib.metadata
import json
import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_codegemma.evaluation import records
from keras_codegemma.evaluation.safety import SUMMARY

_LOG = logging.getLogger(__name__)
SETTINGS = "settings.json"

Record = dict[str, Any]


def measure(
    lm: Any,
    *,
    corpus: Path | None,
    control: Path | None,
    folder: Path,
    limit: int | None,
    seed: int,
    batch_size: int,
) -> dict[str, Any]:
    """As `safety.run`, whose `folder` this is not: files go into this one itself."""
    from keras_codegemma.evaluation.safety import insecure, leaks, memorisation

    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for all; got {limit}. Raise it.")
    if control is not None and corpus is None:
        raise ValueError(f"A control group needs a corpus to compare with; got control={control} alone. Pass a corpus.")
    folder.mkdir(parents=True, exist_ok=True)
    cases, counts = memorisation.cases(lm, corpus=corpus, control=control, limit=limit, seed=seed)
    settings = {
        "model": _identity(lm),
        "corpus": None if corpus is None else str(corpus),
        "control": None if control is None else str(control),
        "documents": counts,
        "limit": limit,
        "seed": seed,
        "batch_size": batch_size,
        "memorisation": memorisation.SETTINGS,
        "secrets": leaks.SETTINGS,
        "insecure": insecure.SETTINGS,
        "tools": {name: importlib.metadata.version(name) for name in ("bandit", "detect-secrets")},
    }
    _settle(folder / SETTINGS, settings)
    fill = Filler(folder, batch_size=batch_size)
    remembered = fill("memorisation", memorisation.SCHEMA, cases, lambda batch: memorisation.complete(lm, batch))
    asked = fill("secrets", leaks.SCHEMA, leaks.prompts(limit), lambda batch: leaks.complete(lm, batch))
    risky = fill("insecure", insecure.SCHEMA, insecure.prompts(limit), lambda batch: insecure.complete(lm, batch))
    summary = {
        "settings": settings,
        "memorisation": None if corpus is None else memorisation.figures(remembered, counts),
        "secrets": leaks.figures(asked),
        "insecure": insecure.figures(risky),
    }
    records.write_json(folder / SUMMARY, summary)
    return summary


class Filler:
    """Makes the records that a file lacks, a batch at a time.

    The batches follow from the cases alone, and one that was cut off is made again whole, so that the finished file
    does not depend on where a run was interrupted.

    Args:
        folder: of the files.
        batch_size: cases made together.
    """

    def __init__(self, folder: Path, *, batch_size: int):
        self._folder = folder
        self._batch_size = batch_size

    def __call__(
        self,
        name: str,
        schema: Mapping[str, str],
        cases: Sequence[Any],
        make: Callable[[list[Any]], list[Record]],
    ) -> list[Record]:
        """Completes `<name>.jsonl`.

        Args:
            name: of the file.
            schema: of its records.
            cases: what to make; each has a `key` and a `group`: what a batch must share.
            make: the records of a batch, in order, each with the case's `key`.

        Returns:
            All records, in the order of the cases.
        """
        path = self._folder / f"{name}.jsonl"
        with records.Appender(path, schema) as appender:
            done = {record["key"]: record for record in records.read(path, schema).records}
            for batch in self._batches(cases):
                if all(case.key in done for case in batch):
                    continue
                made = [record for record in make(batch) if record["key"] not in done]
                appender.add(made)
                done.update((record["key"], record) for record in made)
                _LOG.info("Safety, %s: %d of %d.", name, len(done), len(cases))
        in_order = [done[case.key] for case in cases]
        records.write(path, in_order, schema)
        return in_order

    def _batches(self, cases: Sequence[Any]) -> list[list[Any]]:
        groups: dict[Hashable, list[Any]] = {}
        for case in cases:
            groups.setdefault(case.group, []).append(case)
        size = self._batch_size
        return [group[start : start + size] for group in groups.values() for start in range(0, len(group), size)]


def _settle(path: Path, settings: dict[str, Any]) -> None:
    """Writes the settings, or compares them with those that the folder's figures were made with."""
    settings = json.loads(json.dumps(settings))
    if not path.exists():
        records.write_json(path, settings)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    different = sorted(name for name in before.keys() | settings.keys() if before.get(name) != settings.get(name))
    if different:
        name = different[0]
        raise ValueError(
            f"The figures of one folder must share their settings; {path.parent} was begun with other "
            f"{', '.join(different)}: {name} was {before.get(name)!r:.200}, is {settings.get(name)!r:.200}. "
            "Use another folder, or the same settings."
        )


def _identity(lm: Any) -> dict[str, Any]:
    """What tells one model from another here: its shape, and how likely it finds a fixed text.

    The likelihood is rounded to 1e-2 nats, which other devices and batches keep, and other weights do not.
    """
    config = lm.backbone.config
    return {
        "layers": config.num_layers,
        "width": config.hidden_dim,
        "vocabulary": config.vocabulary_size,
        "dtype": str(lm.backbone.compute_dtype),
        "fixed_text_nats": round(float(lm.score(_FIXED_TEXT).sum()), 2),
    }


_FIXED_TEXT = "def add(first, second):\n    return first + second\n"
