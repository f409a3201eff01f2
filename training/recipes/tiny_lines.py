"""What the tiny preset was trained on last: pieces of a few functions, each with a line to fill in.

A row of `tiny_python` holds one example, so one middle of some thirty tokens in 512. Where a middle begins and ends is
then learned slowly: after 32 million tokens the first token of a line of HumanEval was right in 41% (PSM) and 52%
(SPM) of the cases, and the end in 54% and 46%, where from left to right the first token was right in 90%. On these
rows, half as long, with one line in most, it took some million tokens.
"""

from dataclasses import replace

from training.corpus.fitting import FittingSettings
from training.corpus.recipe import CorpusRecipe
from training.corpus.spans import SpanWeights
from training.corpus.tokenising import LossSettings
from training.recipes import tiny_python


def recipe() -> CorpusRecipe:
    """The sources of `tiny_python`; a token of a middle counts eight times."""
    base = tiny_python.recipe()
    spans = SpanWeights(nodes=0.05, rest_of_line=0.15, lines=0.55, block=0.05, characters=0.2)
    return replace(
        base,
        name="tiny_lines",
        epoch=1,
        infill=replace(base.infill, fim_rate=0.95, span_weights=spans, max_lines=1, path_rate=0.2),
        loss=LossSettings(middle=8.0),
        fitting=FittingSettings(sequence_length=256),
    )
