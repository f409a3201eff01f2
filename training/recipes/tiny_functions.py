"""What the tiny preset was trained on last: short functions, and mostly whole lines to fill in."""

from dataclasses import replace

from training.corpus.recipe import CorpusRecipe
from training.corpus.spans import SpanWeights
from training.recipes import tiny_python


def recipe() -> CorpusRecipe:
    """17 libraries of those of `tiny_python`, a tenth of its size; the spans are others than there."""
    base = tiny_python.recipe()
    spans = SpanWeights(nodes=0.1, rest_of_line=0.15, lines=0.6, block=0.05, characters=0.1)
    infill = replace(base.infill, fim_rate=0.95, span_weights=spans, max_lines=1, path_rate=0.25)
    return replace(base, name="tiny_functions", sources=tiny_python.functions(), epoch=1, infill=infill)
