"""What the tiny preset was trained on last: whole lines of code, each as likely.

On `tiny_functions` a middle of one line began where an editor's cursor stands, after the indentation, as often as at
the line's start, ended before the line end as often as behind it, and was the likelier the longer the line: comments
and texts above all. Whole lines of code, as they are missing in HumanEval-infilling, were one middle in ten.
"""

from dataclasses import replace

from training.corpus.fitting import FittingSettings
from training.corpus.recipe import CorpusRecipe
from training.corpus.spans import SpanWeights
from training.recipes import tiny_functions


def recipe() -> CorpusRecipe:
    """The sources of `tiny_functions`; PSM in three of five, because its lines were the fewer right ones."""
    base = tiny_functions.recipe()
    spans = SpanWeights(nodes=0.05, rest_of_line=0.05, lines=0.15, block=0.05, characters=0.15, statement=0.55)
    lengths = (*(96, 128, 160, 192, 256) * 3, 224, 320, 384, 512, 1024)
    return replace(
        base,
        name="tiny_statements",
        epoch=5,
        infill=replace(base.infill, span_weights=spans, spm_rate=0.4),
        fitting=FittingSettings(sequence_length=1024, example_lengths=lengths),
    )
