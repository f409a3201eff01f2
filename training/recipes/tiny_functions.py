"""What the tiny preset was trained on fifth: more of short functions, in shorter pieces, so with more to fill in.

After `tiny_mixed` two of three lines that it filled in wrongly did not even parse, most because they overlooked what
comes after them. A middle teaches that, and a row held three; here it holds four or five, half of the sources are
libraries of functions that no corpus before had, and the larger frameworks, seen twice by then, are left out.
"""

from dataclasses import replace

from training.corpus.fitting import FittingSettings
from training.corpus.recipe import CorpusRecipe
from training.corpus.spans import SpanWeights
from training.recipes import tiny_mixed
from training.recipes._packages import pypi

_FUNCTIONS = """
1319283074a7df95d13431b4fbc80bd98c69ae20442e3266cc4bb5e39dea766a ac-library-python 0.1.0 CC0-1.0
7f29841c39d84b1de7fde762b8d792085371515324f3a01413b20f810398225b agate 1.14.2 MIT
4f8f44914bfa49a78cce5d2d58c95299abbf5cfd695b64b460b71f0ab1d5d41c algorithms3 0.1.9 MIT
c9d3aa6825fdd06af7ebb05b4ef291d2db63e62bb1f9b7d9b71354be9d362714 anytree 2.13.0 Apache-2.0
ed0cc050e98001b8779e84d461b0098c4ac597e88704a655582b21d116e526d7 arrow 1.4.0 Apache-2.0
46a4ed13cc2e4a29a21418f89dedd57db70d98eb96db0fb4c441d4edb2f5afed asteval 1.0.10 MIT
dd5974bab01fa0a2b3967132266e7e1174d0005e1a7403364b260560322ae788 axelrod 4.14.0 MIT
01d876b6e7bbd912bfa3ae1d028ed419ed2193245fe2337f21d30afaa391c053 bitstring 5.0.0 MIT
e0570e170f7e64b8d6fb1cc2e4ce36a9f7036c5100167e50a0770addc50558c2 datasketch 2.0.0 MIT
2200dc7f1f0ef0d69ee64f9fd347a67f304aac21ea81c4c9c69f25c4c05784e2 dsplus 0.9.7.2 MIT
62635b0ac1ca2e027f82122b5b81cb706edc38cd91c63dda28e4f3455a2bf930 ecdsa 0.19.2 MIT
1ae7da88be3693df40ad27bdf57a765a55c075c86c971bcddd67927403eb0069 glom 25.12.0 BSD-3-Clause
650da58a45227ae3a6b8226187116f044b0dfdb504637940741e5ccfa9c45f9b graphtheory 1.1.0 BSD-3-Clause
b2e5b40261e20f354d198eae92afc10d750afb487ed5e50f9c4eaf07c184146f html5lib 1.1 MIT
1d6a36c453dbfbb3f0b34601d2e0b4ce5d48d780305cd45714843f0068fde6ac humanize 4.17.0 MIT
fa9d54d976ac3b1b69b4c60353cb47051cafeb45d34a0624dea5907f573d7719 hungarian-algorithm 0.1.11 MIT
1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417 inflection 0.5.1 MIT
4be84b9846b5dcd607be769fd014daa107824d7f64c09694a22bf3cd5ab881dc iteration-utilities 0.13.0 Apache-2.0
b426a7a6d6d53189d318f2b6236ab5d6429eaf09259f1ca33eb716eed10d2905 lark 1.3.1 MIT
b54bb16661e876f4331313fd09157fd456381db453fef268bd28bcca3a25a911 leetcode-py-sdk 1.0.15 Apache-2.0
9a7c7e477e146b3d1d4651171346e4eda6f359b10a36ab1e176fa5aa9967305f linalg 1.0.4 MIT
81eb91631dc97ad1efbc76019ef0f80fe90ca49ddf81546752d79989c3bfff3e markdown 3.11.3 BSD-3-Clause
119622da49997731af1559668b2a71cf7088076c33205549a90f1348427b2bae mathlib 0.6.0 BSD-3-Clause
2eaf7952af928ca8d33b779762effc1da517b62c6ad85ec8ca957e3b07b9782a mistune 3.4.0 BSD-3-Clause
efd6d1b75f09d69524a67609949812668b28e81ecbfe0ab449ced8c13e92642e mpmath 1.4.1 BSD-3-Clause
3a5a8492daa2d8d8dd7a41ca9745887502970b5bc2c2018763950cbbb8c12845 nashpy 0.0.43 MIT
44679f4e9220abfd496d2c8cdb22f8425ccbe557604f9aa5cacb1c44003dabc1 nltk 3.10.4 Apache-2.0
987b14df93db93473a122496772eec5fcef98c397f7d7a971a1470a500cf24d9 nzmath 3.0.3 BSD-3-Clause
eaaac4c9fdd5e9e8852dc778d2d7405897ec510f2a298071453e5e3a07914bb1 parso 0.8.7 MIT
4cc36eb0a58bf0ae42b7806d846c99e44cdb3ad696906d0585edab2da3f33470 pathfinding 1.0.23 MIT
9aceb5b24e9f55381df08187397e88546b5ba82f698b741cbf1a05c5e2369116 pendulum 3.3.0 MIT
9621fe7f9d81dafec3bf440496118ec1b288215400810a90f683a02c6d120792 petl 1.7.30 MIT
a62a89352f139a5d459839e54e6bfa202a7d8749e6dc6d7ceec088a71529af45 pgmpy 1.1.2 MIT
4e639f4a90086ca2bab5655fbd91acf977e20d520ba857f8884ff6d6bb296360 pithy 0.0.14 CC0-1.0
e29f4dfead9866041908a819dc1536f2beaedea461b61ca1bcc95bfc9115b952 pocketutils 0.9.1 Apache-2.0
320958d5762c5b46cfd3e59ea5f063aa2a05e72d1d8b56ea71c66112f4706aeb pqdict 1.5.1 MIT
439217116152244369caf3d9f1caf2f9fe29b03bd79e88d2928c8e718c95d680 prettytable 3.18.0 BSD-3-Clause
318f5db083869b4c4dad922d0b11124fb27ab181b6730b93371da671e31bd50e pycodestyle 2.15.0 MIT
30914c3e9d377ea2cd0d3c0a4f252889b08392f730a5eb4d117e5b598cdf1d52 pydash 8.1.0 MIT
e5d8f6fe5674af97e31594e79a7f1572fa572a5185c667460226849c76a069c6 pygraph 0.3.0 MIT
879264597743ef52bf80f2dff085364088c0848ae22544db95dad2bf52e06471 pygtrie 2.6.2 Apache-2.0
b44c41052226106315b139013186e5aed855b2f6554d97a24314566dca09701a pyinterview 0.1.5 MIT
928ae7e20211f3b6f3915a72f06a0cfd29ab9d24279dd6346b6b1a7146397d36 pyparsing 3.3.3 MIT
553b350f082160b0942add97fcab676cdf762afa66f7bfea5f4a03d08a5de4a9 pyprimes 0.1 MIT
4c48f78f62ab596c679086084d0dd13254ae4f3d6c72a83ffdf5ebdef8f265a4 pyrsistent 0.20.0 MIT
f36651490e544e689b4f51185b6abd48444556a75c2a307c1b32a1750496aea7 pysort 1.0.0 MIT
81672ca535f3cfc0136e1a9828b860d510f7ebdb3906158a2f05f076401e22d9 python-graph 2.0.0 MIT
096ccef76f8188563419aaf384a02f0ea459503fdf77901378d4fd9d87e5e51d rank-bm25 0.2.2 Apache-2.0
126513ad16b6eb7d804ad289340b3b44f79bfb33496e641cd1b8b1766eb02254 returns 0.30.0 BSD-3-Clause
e7bdbfdb5497da4c07dfd35530e1a902659db6ff241e39d9953cad06ebd0ae75 rsa 4.9.1 Apache-2.0
833f6a9e631483288385d628286f3d452f48383476bf125766d3f197dd9fa4ce scikit-bio 0.7.4 BSD-3-Clause
b417f869c11f2de034eb919820a825f35d12ce99f63a43971947ce73679eb9ba simpleeval 1.0.8 MIT
251d42015e8507158aec2164f06035df4a82b0314ce6450f457d7125e7649024 sly 0.5 MIT
60065bf6b5f70f1cebcfa2fa9ac631bc3554ddb5e07e3794a5f5263dcea9c7bc sorting-algorithms 0.1 MIT
0842eb57f7af86c882a59a1bc8721ec2580a267e563fd0503ced2972040372c9 strsimpy 0.2.1 MIT
e2cfde8f79420f6deeffdeda9aaec3b6bc5abce947655d17ac662b126e48a60d tabulate 0.10.0 MIT
dc16ea6b35fbf5291ba6ef79d79e37d9b3ca6acd7bae3ca3450488d7c2e19c99 texttable 1.7.2 MIT
b3bda1d108d5dd99f4a20d24d9c348e91c4db7ab1b749200bded2f839ccbe68f toml 0.10.2 MIT
83e32755ba1d20d9340bd069ee97e9f6232ba2346b63ffcba425de01f7e327a6 tomlkit 0.15.2 MIT
e1be2c6b66ffbfae85079fc4c76fb4909946d01d915ee29ff6795de53aed5d55 treelib 1.8.0 Apache-2.0
e59bb12cf3252c57436e9b65cb4eeb516fd6e07427ffad073d2d304a6da73c87 unification 0.3.1 BSD-3-Clause
f9f9209d350ec89dc11e2548e0e6397c1b9489c8468eb50ce33788ee4322a7b8 vectormath 0.2.2 MIT
a7ddf714508ddc1b8563bd19ace2feb28080bbaca39326cbc964359f6754f615 w3lib 2.5.0 BSD-3-Clause
"""
_LEFT_OUT = (
    *("dask", "distributed", "ipython", "jax", "keras", "mypy", "pip", "poetry", "sphinx", "sympy", "tornado"),
    "xarray",
)


def recipe() -> CorpusRecipe:
    """The sources of `tiny_python` without its largest, and as many again of functions."""
    base = tiny_mixed.recipe()
    kept = (source for source in base.sources if source.name not in _LEFT_OUT)
    return replace(
        base,
        name="tiny_functions",
        sources=tuple(sorted([*pypi(_FUNCTIONS), *kept], key=lambda source: source.name)),
        epoch=4,
        infill=replace(
            base.infill,
            span_weights=SpanWeights(nodes=0.05, rest_of_line=0.1, lines=0.6, block=0.05, characters=0.2),
        ),
        fitting=FittingSettings(
            sequence_length=1024, example_lengths=(96, 128, 160, 192, 256, 256, 320, 384, 512, 1024)
        ),
    )
