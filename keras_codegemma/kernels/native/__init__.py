"""The CPU kernels in C++ behind JAX's foreign function interface: built on request, and absent without harm.

    codegemma doctor --build        or        keras_codegemma.kernels.native.build()

compiles `source/` with the machine's own C++ compiler into the user's cache folder, in some seconds. From then on every
process of this user finds it there. The file holds the code of several instruction set levels, of which the best that
the processor has is taken when the kernels are first called.
"""

from keras_codegemma.kernels.native.build import build, library_path
from keras_codegemma.kernels.native.library import (
    absence,
    absence_at,
    level,
    limit_level,
    reload,
    thread_count,
)

__all__ = ["absence", "absence_at", "build", "level", "library_path", "limit_level", "reload", "thread_count"]
