"""Operations that the compiler alone does not do well: for each a plain reference, faster versions, and one function.

| to | read |
| --- | --- |
| see how an implementation is chosen | `dispatch.py` |
| see an operation | its folder: `__init__.py`, then `reference.py`, then the versions |
| see the CPU's C++ and its optional build | `native/` |
"""

import importlib
import pkgutil


def declare_all() -> None:
    """Imports every operation, so that `dispatch.OPERATIONS` has them all."""
    for module in pkgutil.iter_modules(__path__):
        if module.ispkg:
            importlib.import_module(f"{__name__}.{module.name}")
