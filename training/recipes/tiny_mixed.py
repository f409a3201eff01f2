"""What the tiny preset was trained on fourth: short pieces and long ones, most with one line or less to fill in.

`tiny_lines` taught where a middle begins and ends, and long prompts were lost; `tiny_long` gave these back, and cost
half of what the lines had brought. Here a row of 1024 tokens holds pieces of 128 up to 1024 tokens, each with its own
middle, so that neither has to be learned after the other.
"""

from dataclasses import replace

from training.corpus.fitting import FittingSettings
from training.corpus.recipe import CorpusRecipe
from training.corpus.spans import SpanWeights
from training.recipes import tiny_lines


def recipe() -> CorpusRecipe:
    """The sources of `tiny_python`."""
    base = tiny_lines.recipe()
    spans = SpanWeights(nodes=0.05, rest_of_line=0.15, lines=0.5, block=0.05, characters=0.25)
    return replace(
        base,
        name="tiny_mixed",
        epoch=3,
        infill=replace(base.infill, span_weights=spans, max_characters=128),
        fitting=FittingSettings(sequence_length=1024, example_lengths=(128, 192, 256, 256, 384, 1024)),
    )
