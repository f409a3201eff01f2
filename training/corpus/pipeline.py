"""The build as an Apache Beam graph over the steps of `steps.py`; nothing else imports Beam.

    sources ─ prepare ─┬─ count documents ── ranges of keys
                       └─ (range, source) ─ group by range ─ link ─ decide ─ shards ─ make_shard ─ finish

What flows are numbers of sources, ranges and shards: a few bytes for each archive, whatever it holds. The documents
lie in the work folder, which all workers must see under one name; each step writes there what it makes, whole or not
at all, and does nothing where that is there already. So a build that was killed goes on where it was, any runner may
do a step twice, and no runner's shuffle holds the corpus.
"""

from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.pvalue import AsSingleton
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from training.corpus.job import Job
from training.corpus.steps import Steps


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
