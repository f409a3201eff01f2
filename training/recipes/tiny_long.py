"""What the tiny preset was trained on third: rows as long as its context.

A model that has seen short rows alone writes nonsense where a prompt is longer than these; some hundred steps mend it.
"""

from dataclasses import replace

from training.corpus.fitting import FittingSettings
from training.corpus.recipe import CorpusRecipe
from training.recipes import tiny_lines

_NAMES = (
    *(
        "algorithms",
        "boltons",
        "celery",
        "funcy",
        "jinja2",
        "more-itertools",
        "networkx",
        "pygorithm",
        "pytest",
        "rich",
    ),
    *("scrapy", "toolz", "tornado", "urllib3", "werkzeug"),
)


def recipe() -> CorpusRecipe:
    """15 of the sources of `tiny_lines`, in rows of 1024 tokens."""
    base = tiny_lines.recipe()
    return replace(
        base,
        name="tiny_long",
        sources=tuple(source for source in base.sources if source.name in _NAMES),
        epoch=2,
        fitting=FittingSettings(sequence_length=1024),
    )
