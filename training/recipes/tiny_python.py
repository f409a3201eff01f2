"""What the tiny preset was trained on: Python alone, with more short functions and more single lines to fill in.

A model of a few million parameters learns little but what it sees most. So there is no prose, fewer frameworks and more
libraries of small functions than in `pypi_python`; two middles of five are lines, and a middle's token counts three
times.
"""

from training.corpus.filters import FilterSettings
from training.corpus.fitting import FittingSettings
from training.corpus.infill import InfillSettings
from training.corpus.recipe import CorpusRecipe
from training.corpus.spans import SpanWeights
from training.corpus.tokenising import LossSettings
from training.recipes import pypi_python
from training.recipes._packages import pypi

_FUNCTIONS = """
e2d140bc315eb1e106f2ab8c1f2ec595e01cb1ef0aa1506d20f93f75cf9fd8b1 algorithms 1.0.1 MIT
6b8c5f6b298993015a3181f7e6d88e4b0be6632a649cc690a273a653d8dd6b1b binarytree 5.1.0 MIT
d39cfd15c1a1c3bd4d705c82252fa9edb8e4f5e8cc039f8e39afac7b1b47e92c boltons 26.2.0 BSD-3-Clause
30ac523adfc118b51d2b2e7bad8a0ddb31370dfe2700c7f10ca224f36ccf81e0 cachetools 8.0.2 MIT
8979feb3de7120afd1d00e5a8eae810c1942e4bfbc91697151e9ee1e49f79284 funcy 2.1 BSD-3-Clause
b46875b50534a7cd5fcfb5a7c971bb93fe68948c43ca53e9833bd1e1a69221bd inflect 7.6.0 MIT
773278b333f19dc9340a0739204a79141987bc8c800b4aea29156b92ddb49ed4 labmath 2.2.0 MIT
cbf08fd0af284dc69718b9b76a8e6203df624d70209ea511e4219d350c856f63 more-itertools 11.2.1 MIT
45312c4a0e5507593da193dedd04abb1469253b601ecaf63445ad80f0a1ea581 natsort 8.4.0 MIT
706d458feed5a81b02768d3156e8070baf6cee7d150a3a3c0cd43101a875c3b5 parse 1.22.4 MIT
07616769a106a860bdff49d5d2d84a5267b26205a38529029f9f8bf916e5dc5f primefac 2.0.12 MIT
214021a5abdb6bc7c5ed5a60ce4dd56d60ed9cdeb30a91cf7cf35332bb79d3a0 pygorithm 1.0.4 MIT
2c9b6326901ab30c62641f567208559d8afd79b42ba0d4136e679caee31c6de1 python-algorithms 0.2.2 BSD-3-Clause
25caa5a06cc30b6b83d11423433f65d1f9d76c4c6a0c90e3379eaa43b9bfdb88 sortedcontainers 2.4.0 Apache-2.0
d6dabc50b4ea832cdcf0e1e6021bd0c7fcd9ade155888d79bb6a3c31fce2dc6f textdistance 4.6.3 MIT
9667a038e9d6ecba37995e26cb2f59ec6420b6ad8dd9677de59db9b956b08490 toolz 1.2.0 BSD-3-Clause
"""
_ALGEBRA = """
d3d3fe8df1e5a0b42f0e7bdf50541697dbe7d23746e894990c030e2b05e72517 sympy 1.14.0 BSD-3-Clause
"""
_LEFT_OUT = ("apache-libcloud", "django", "keystone", "octavia", "twisted", "wagtail")
"""Frameworks and clouds of `pypi_python`."""


def recipe() -> CorpusRecipe:
    """Rows of 512 tokens for the preset's vocabulary of 8192 pieces."""
    others = (source for source in pypi_python.recipe().sources if source.name not in _LEFT_OUT)
    spans = SpanWeights(nodes=0.2, rest_of_line=0.15, lines=0.4, block=0.1, characters=0.15)
    return CorpusRecipe(
        name="tiny_python",
        sources=tuple(sorted([*pypi(_FUNCTIONS), *pypi(_ALGEBRA), *others], key=lambda source: source.name)),
        filter=FilterSettings(languages=frozenset({"python"})),
        infill=InfillSettings(fim_rate=0.9, span_weights=spans, max_lines=3, path_rate=0.5),
        loss=LossSettings(middle=3.0),
        fitting=FittingSettings(sequence_length=512),
    )
