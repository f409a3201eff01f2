"""Operations that the compiler alone does not do well: for each a plain reference, faster versions, and one function.

| to | read |
| --- | --- |
| see how an implementation is chosen | `dispatch.py` |
| see an operation | its folder: `__init__.py`, then `reference.py`, then the versions |
| see the CPU's C++ and its optional build | `native/` |
"""
