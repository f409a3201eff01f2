"""The steps of a build, and the build as a plain loop over them.

Each step is a function of the job and a few numbers; it writes its results whole or not at all (`store.committed`) and
does nothing where they are there already. So a build that was killed goes on where it was, and a step may be called
twice, by a loop or by Beam (`pipeline.py`), on one machine or many.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from training.corpus import deciding, finishing, preparing, sharding
from training.corpus.job import Job


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What the graph calls; each step is a function of the job and numbers, and may be called again.

    Attributes:
        prepare: a source; gives its number of documents.
        parts: numbers of documents; gives how many ranges of keys to look at.
        link: a range and how many there are.
        decide: how many ranges there are; gives the number of shards.
        make_shard: a shard; gives its number of rows.
        finish: how many ranges there were; gives the number of rows.
    """

    prepare: Callable[[Job, int], int] = preparing.prepare
    parts: Callable[[Job, Iterable[int]], int] = deciding.parts_for
    link: Callable[[Job, int, int], None] = deciding.link
    decide: Callable[[Job, int], int] = deciding.decide
    make_shard: Callable[[Job, int], int] = sharding.make_shard
    finish: Callable[[Job, int], int] = finishing.finish


def run_in_loop(job: Job, *, steps: Steps | None = None) -> None:
    """Builds the same corpus without Beam: what its overhead is measured against."""
    steps = steps or Steps()
    job.begin()
    counts = [steps.prepare(job, index) for index in range(len(job.recipe.sources))]
    parts = steps.parts(job, counts)
    for part in range(parts):
        steps.link(job, part, parts)
    for shard in range(steps.decide(job, parts)):
        steps.make_shard(job, shard)
    steps.finish(job, parts)
