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
from training.recipes._packages import pypi

FUNCTIONS = """
e2d140bc315eb1e106f2ab8c1f2ec595e01cb1ef0aa1506d20f93f75cf9fd8b1 algorithms 1.0.1 MIT
6b8c5f6b298993015a3181f7e6d88e4b0be6632a649cc690a273a653d8dd6b1b binarytree 5.1.0 MIT
d39cfd15c1a1c3bd4d705c82252fa9edb8e4f5e8cc039f8e39afac7b1b47e92c boltons 26.2.0 BSD-3-Clause
30ac523adfc118b51d2b2e7bad8a0ddb31370dfe2700c7f10ca224f36ccf81e0 cachetools 8.0.2 MIT
8979feb3de7120afd1d00e5a8eae810c1942e4bfbc91697151e9ee1e49f79284 funcy 2.1 BSD-3-Clause
b46875b50534a7cd5fcfb5a7c971bb93fe68948c43ca53e9833bd1e1a69221bd inflect 7.6.0 MIT
773278b333f19dc9340a0739204a79141987bc8c800b4aea29156b92ddb49ed4 labmath 2.2.0 MIT
cbf08fd0af284dc69718b9b76a8e6203df624d70209ea511e4219d350c856f63 more-itertools 11.2.1 MIT
45312c4a0e5507593da193dedd04abb1469253b601ecaf63445ad80f0a1ea581 natsort 8.4.0 MIT
26b7c357accc0c8cde558ad486283728b65b6a95d85ee1cd66bafab4c8168509 networkx 3.6.1 BSD-3-Clause
706d458feed5a81b02768d3156e8070baf6cee7d150a3a3c0cd43101a875c3b5 parse 1.22.4 MIT
07616769a106a860bdff49d5d2d84a5267b26205a38529029f9f8bf916e5dc5f primefac 2.0.12 MIT
214021a5abdb6bc7c5ed5a60ce4dd56d60ed9cdeb30a91cf7cf35332bb79d3a0 pygorithm 1.0.4 MIT
2c9b6326901ab30c62641f567208559d8afd79b42ba0d4136e679caee31c6de1 python-algorithms 0.2.2 BSD-3-Clause
25caa5a06cc30b6b83d11423433f65d1f9d76c4c6a0c90e3379eaa43b9bfdb88 sortedcontainers 2.4.0 Apache-2.0
d6dabc50b4ea832cdcf0e1e6021bd0c7fcd9ade155888d79bb6a3c31fce2dc6f textdistance 4.6.3 MIT
9667a038e9d6ecba37995e26cb2f59ec6420b6ad8dd9677de59db9b956b08490 toolz 1.2.0 BSD-3-Clause
"""
"""Libraries of short functions; `tiny_functions` has these alone."""

_OTHERS = """
5558a7f5a05af9ecf744af91e5baefc436f93c9333e656c27ec253f9a6bbe178 aiohttp 3.14.5 Apache-2.0 AND MIT
d03ceb89cb322a8fd706d4fb91940737b6642aa36998fe130a9bc96c985eff32 attrs 26.1.0 MIT
5f9f83beae62437e060dafd53d7f1fc327e3d3494f74d72ee5c2b73eb90fc4e7 black 26.10.1 MIT
6a5dfcf6662287204f009a02002b9e66c83d4105e47ebabdc7079108772fc6f0 celery 5.7.0 BSD-3-Clause
9bbfada76703fd1d784b83eea012e3e8c6a001a876543ef104fa56aaaeb072b4 click 8.5.1 BSD-3-Clause
8a94c37b5de6d869343340dc26c3c3acca7ec48a3abdabe00ea3abb1125884d5 dask 2026.8.0 BSD-3-Clause
6f55008ecacf96ba945309fc12e680544764995e27bd63cc5e109afb97d7044d distributed 2026.8.0 BSD-3-Clause
446a9b352e7eff630421ab3f2328bd2401b109a9470afa4a31189994911ed030 djangorestframework 3.18.3 BSD-3-Clause
dd94d4128319c1e1d50535ab023ab698f850a4d2822f0e181747b46f4ff3c0ab fastapi 0.165.0 MIT
0ef0e52b8a9cd932855379197dd8f94047b359ca0a78695144304cb45f87c9eb flask 3.1.3 BSD-3-Clause
75e98c5f16b0f35b567856f597f06ff2270a374470a5c2392242528e3e3e42fc httpx 0.28.1 BSD-3-Clause
6319c0f5372c196397899479e6db1783dd7937abae06815d1317e8d5d51aaaaf ipython 9.18.1 BSD-3-Clause
bf77428a8c2e6904c4f46d5ab12aa5cfc6cad2179f07f7e4c0fc75ac86ef0639 jax 0.10.2 Apache-2.0
2f71208c3f9c1bca057c0e90d3f272aba44ace88fc4067d7587e9e069331b7e5 jedi 0.20.1 MIT
0137fb05990d35f1275a587e9aee6d56da821fc83491a0fb838183be43f66d6d jinja2 3.1.6 BSD-3-Clause
92ae7c1dd7f61041953dc2d42253181ee099086f0b58ae36fcf98147a6f08a29 keras 3.15.1 Apache-2.0
63b590965691e540a335fa74dadf31a7069142f6b72e234689bbd244edf55623 mypy 2.4.1 MIT
5da57c009c3dfdd762c068d9079b17966ec967a9eb02cd8ebcf016a946eaf67f nox 2026.10.20 Apache-2.0
6c36ae7da8695be67e3cd9f7d87919667ced53f57ce2ede75d89b5912ed2bc4c pip 26.3 MIT
19fbd566efced512be58989a756aa1333cdc9b6aabb4fc84fd1ec9d29ee74874 poetry 2.5.1 MIT
1054f237f4d4733e5a30e1e2333bd33a2004ab9ab1510bd053a9a31bb48e232d pydantic 2.14.3 MIT
610ca751c9bc2492b38eb9a38a7fbc93edbbb2d7182edaf34e66ae493dee5c8c pygments 2.21.0 BSD-2-Clause
97c4f3b1f3c7414aa36465e09b8220f1d03627993bd51b1282e193753c80557b pytest 9.2.0 MIT
f288924cae4e29463698d6d60bc6a4da69c89185ad1e0bcc4104f584e960b9ed requests 2.34.2 Apache-2.0
edd07a4824c6b40189fb7ac9bc4c52536e9780fbbfbddf6f1e2502c31b068c36 rich 15.0.0 MIT
34130726582b64c91531162ab277c4053e558876d49ba219cb43679e71d80a87 scrapy 2.19.0 BSD-3-Clause
3ff8b3b5492a0aa66960f4419365a86b84e013070d4313e4d4a6894f5d64d6bc setuptools 84.2.1 MIT
594ef59d042972abbc581d8baa577404abe4e6c3b04ef61bd7fc2acbd51f3fa3 sphinx 9.0.4 BSD-2-Clause
d3d3fe8df1e5a0b42f0e7bdf50541697dbe7d23746e894990c030e2b05e72517 sympy 1.14.0 BSD-3-Clause
28e6311402af59c8b02e3fa0f5e7d8eb465b25081381803b127d97e6a4395d5a tornado 6.6.1 Apache-2.0
7efb295c78a0ecd1235c5759e620b5da564ca80d2efcb0055423588547248b96 trio 0.35.0 MIT OR Apache-2.0
63bf2ead4c879426ebf22ef2a781eeb4aa3b4ae798a0435506f8687fd5bb9b63 urllib3 2.8.0 MIT
55ca7c70a75689be937aa27f8ff4b018f06ff4838fc73045560bf0f5a1291060 werkzeug 3.1.9 BSD-3-Clause
6abc69694c22fa1f0fb2f357ff4e41d88beb4477ed71091f944b7dbf67ed54fe xarray 2026.9.0 Apache-2.0
"""


def recipe() -> CorpusRecipe:
    """Rows of 512 tokens for the preset's vocabulary of 8192 pieces."""
    spans = SpanWeights(nodes=0.2, rest_of_line=0.15, lines=0.4, block=0.1, characters=0.15)
    return CorpusRecipe(
        name="tiny_python",
        sources=tuple(sorted((*pypi(FUNCTIONS), *pypi(_OTHERS)), key=lambda source: source.name)),
        filter=FilterSettings(languages=frozenset({"python"})),
        infill=InfillSettings(fim_rate=0.9, span_weights=spans, max_lines=3, path_rate=0.5),
        loss=LossSettings(middle=3.0),
        fitting=FittingSettings(sequence_length=512),
    )
