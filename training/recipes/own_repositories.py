"""Your own repositories: `--set sources=path,path` names folders, git work trees, archives or tables."""

from dataclasses import replace

from training.corpus.filters import FilterSettings
from training.corpus.recipe import CorpusRecipe


def recipe() -> CorpusRecipe:
    """As the other recipes, but without a list of licences: what you may train on is yours to say."""
    return CorpusRecipe(name="own_repositories", filter=replace(FilterSettings(), licences=None))
