"""C++, C#, Go, Java, JavaScript, Kotlin, Rust and TypeScript: packages of npm and upstream archives of Debian 12.

Crates come through Debian's source packages, whose upstream archive is the crate.
"""

from training.corpus.recipe import CorpusRecipe
from training.recipes._packages import debian, npm

_NPM = """
9d5ce09a9edb741dfb23a3b771501f00b1662a665647dacbe2130508ea0f7450 @angular/core 21.2.26 MIT
5659acb8c9414ad88aa539db8e529947c9bac8cdf55973e314a078fc0205751c axios 1.21.1 MIT
eb106d1e9276213d6144b221c103e4abb7d92186734f7505f5a3860427b41a06 date-fns 4.4.0 MIT
8cb5e45fb5b1174e4216d546b69d37c0ac5cb5d9ba8342946a04af1f59605edb eslint 10.15.0 MIT
62450d99e36dc393295f1ddd93cb9291e658c169f3b700b0110c1ae8fa799930 express 5.3.0 MIT
696942c2a488c9d7428e9ca5f12ccf03b52de01dcdbfe4d4751d392f0491ae16 lodash 4.18.1 MIT
3a93ba09b4b5f591a947ef5226ca9ae76220b124fe610dbcd5b76eb320512919 mocha 12.0.3 MIT
8625d008f4f0d7d513509ecc269b4b2a551a6f1ea3a57ac880e13e84a434213c prettier 3.10.1 MIT
1e5a0946e81e9c365141d18c7067221b48ba66c6858d0a6e23296a31b095f82b @reduxjs/toolkit 2.14.0 MIT
2312f8ffd9726ffd7bd53ea12c5f13663d09a3dc3326f448c70b88f5ef6fac82 rxjs 7.8.2 Apache-2.0
ff540832ded0cfe919764d24a3d88f3e2a05f23303f876423e4f893841e90728 three 0.187.0 MIT
dce1e8acfdfbedd2cb263db7cd6f7d595f97f8379615d75830bd0dcca6742665 typeorm 1.1.1 MIT
fb618a5eba0f16fa43ed720cc4634df4e88c65d594c0e0ad2c5c0c9be4057dfe webpack 5.112.2 MIT
84efd155bed93270286e793fc951be270b536cbd5b0eeb111f0fa3967201d698 zod 4.6.7 MIT
"""

_DEBIAN = """
abfe2897f3a30edaa74bc34365afe3c2a3cd012091a97dc7e008f7016adcd5fe abseil 20220623.1-1+deb12u2 gz Apache-2.0
5a55361cf2b97228f94b3c65e3a4af784581debe322be551c44b2776db1c6483 commons-io 2.11.0-2 gz Apache-2.0
0866c001f2d6e01a6f1b4d080db08d25ba1422e34c7d03020e0e70f3de3a9859 dbus-sharp 0.8.1-2.1 gz MIT
84ce1c2d0be3a9863935137969dcec6970125caac032f82474640bfc81463583 fmtlib 9.1.0+ds1-2 gz MIT
9f6a9a6c2b96c323902d8ee1728152bafdf1894130554a93af5d3f1807c0403b golang-github-gin-gonic-gin 1.8.1-1 gz MIT
ea2639259d2ce6f402636655e91eb93ba69c139e3cbf80b044ee393ada53757b golang-github-gorilla-mux 1.8.0-1 gz BSD-3-Clause
f38f8b26895903be06089ff20882fc771dbca12f41cf81d7bd823be65e6cec52 golang-github-spf13-cobra 1.6.1-1 gz Apache-2.0
6749fede6c26ae66b7e7500136dbe56913b4e0679099b6c1154d2210a9a1ec00 golang-testify 1.8.1-1 gz MIT
81964fe578e9bd7c94dfdb09c8e4d6e6759e19967e397dbea48d1c10e45d0df2 googletest 1.12.1-0.2 gz BSD-3-Clause
3dbb56b34e5ebd1b97184f72d31fbf9da24cc26c28f1ad3714aeeefdeedaed2a guava-libraries 31.1-1 xz Apache-2.0
f7c22574707611b63bae19ff17f59e24cdd32e2b0e61a50ec9b1b525fbc909d1 libcommons-lang3-java 3.12.0-2+deb12u1 xz Apache-2.0
3b7c77da971bbe1c6fdbb5cbb634d106a86aa30c82647abd9b23d2f31be0c630 newtonsoft-json 6.0.8+dfsg-1.1 gz MIT
a9ace1a92a2b0a7e3fcd7a7612553d6208a464561c15ad38f349fc3ab0d7cda0 node-express 4.18.2+~4.17.14-1 gz MIT
3e0c144acab080ced1ccd9c6604788bfeb1add147c19642651872b2ce3efa0c4 node-handlebars 3:4.7.7+~4.1.0-1 gz MIT
51532860dc444990387b682814c8f425779ae5a632f923eb2a5ae14da56d83d7 node-redux 4.2.1-1 gz MIT
3a109051a63b78a00830bf602036cc77b6870be68967a68e2ce1e0ad3eed8870 node-tar 6.1.13+~cs7.0.5-1 gz ISC
daebaa04b4a4ccd2ecf120e8d6f315ef51092d06a6aa42223a12fc2cee3dd361 nunit 2.6.4+dfsg-1.1 bz2 Zlib
f77b80e7a5f84ed22d4d556fca1917a040781a1231935cae65dbd129b6cebd17 okio 1.16.0-2 gz Apache-2.0
a7db700bc935f9e43e88d00b0850dae18a63773cfbec6d8e070fccf7fef89a39 rust-clap 4.0.32-1 gz MIT OR Apache-2.0
8a9ee70c43aaf417c914396645a0fa852624801b24ebb7ae78fe8272889ac888 rust-hashbrown 0.12.3-1 gz MIT OR Apache-2.0
34af8d1a0e25924bc5b7c43c079c942339d8f0a8b57c39049bef581b46327404 rust-rand 0.8.5-1 gz MIT OR Apache-2.0
f37c9d2c2bc7e00bd2653e13771397b94e452583da9b9494eabef627618d64bf rust-ripgrep 13.0.0-4 gz Unlicense OR MIT
bb7d1f0d3021d347a83e556fc4683dea2ea09d87bccdf88ff5c12545d89d5efb rust-serde 1.0.152-2 gz MIT OR Apache-2.0
620ca6842b5c21014470bd42eb4716024674214fb973b5ffa3aaea33310ad327 spdlog 1:1.10.0+ds-0.4 xz MIT
"""

# No licence text in their archives, only the notice of Apache-2.0; the headers of their files say the same.
_KOTLIN = """
0fd2d309b5f95d6efbbd8e1626c9189bbef5fb5c66759206a38de41c5791d8ec kotlinx-atomicfu 0.11.12-2 xz Apache-2.0
361a1e02f2d223c0d8ee16f5cd3987202264f037a4eff5de0e29334c38d16782 kotlinx-coroutines 1.0.1-2 xz Apache-2.0
"""


def recipe() -> CorpusRecipe:
    """A few repositories of each language; `README.md` in `training/corpus/` has the figures."""
    sources = (*npm(_NPM), *debian(_DEBIAN), *debian(_KOTLIN, trust_licence=True))
    return CorpusRecipe(name="many_languages", sources=sources)
