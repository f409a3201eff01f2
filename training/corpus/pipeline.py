"""The build as an Apache Beam graph, and as a plain loop over the same steps.

    sources ─ prepare ─┬─ count documents ── ranges of keys
                       └─ (range, source) ─ group by range ─ link ─ decide ─ shards ─ make_shard ─ finish

What flows are numbers of sources, ranges and shards: a few bytes for each archive, whatever it holds. The documents
lie in the work folder, which all workers must see under one name; each step writes there what it makes, whole or not
at all, and does nothing where that is there already. So a build that was killed goes on where it was, any runner may
do a step twice, and no runner's shuffle holds the corpus.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pvalue import AsSingleton
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

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


def run(job: Job, flags: Sequence[str] = (), *, steps: Steps | None = None) -> None:
    """Builds the corpus on a Beam runner.

    Args:
        job: is begun here.
        flags: Beam's own ("--runner=FlinkRunner", ...); without a runner the one in this process is used, with
            which "--direct_num_workers=4 --direct_running_mode=multi_processing" uses four.
        steps: others than the real ones.
    """
    job.begin()
    options = PipelineOptions(list(flags), save_main_session=False)
    named = options.view_as(StandardOptions).runner
    with beam.Pipeline(runner=named or FnApiRunner(), options=options) as pipeline:
        _build(pipeline, job, steps or Steps())


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


def _build(pipeline: beam.Pipeline, job: Job, steps: Steps) -> None:
    """The graph. A `Reshuffle` stands before each step that is to be shared out among workers."""
    prepared = (
        pipeline
        | "Sources" >> beam.Create(range(len(job.recipe.sources)))
        | "Share sources" >> beam.Reshuffle()
        | "Prepare" >> beam.Map(lambda index: (index, steps.prepare(job, index)))
    )
    counts = prepared | "Counts" >> beam.Values() | "All counts" >> beam.combiners.ToList()
    parts = counts | "Ranges" >> beam.Map(lambda counts: steps.parts(job, counts))
    linked = (
        prepared
        | "Source in ranges" >> beam.FlatMap(_in_ranges, AsSingleton(parts))
        | "By range" >> beam.GroupByKey()
        | "Link" >> beam.MapTuple(lambda part, members: steps.link(job, *part))
    )
    shards = (
        linked
        | "All ranges" >> beam.combiners.Count.Globally()
        | "Decide" >> beam.Map(lambda parts: steps.decide(job, parts))
        | "Shards" >> beam.FlatMap(lambda count: list(range(count)))
        | "Share shards" >> beam.Reshuffle()
        | "Make shard" >> beam.Map(lambda shard: steps.make_shard(job, shard))
        | "All shards" >> beam.combiners.ToList()
    )
    _ = shards | "Finish" >> beam.Map(_finished, AsSingleton(parts), job=job, steps=steps)


def _in_ranges(prepared: tuple[int, int], parts: int) -> list[tuple[tuple[int, int], int]]:
    """A source under every range of keys: each may have keys of it, and none is looked at before all sources are in."""
    return [((part, parts), prepared[0]) for part in range(parts)]


def _finished(_: Sequence[int], parts: int, *, job: Job, steps: Steps) -> int:
    return steps.finish(job, parts)
