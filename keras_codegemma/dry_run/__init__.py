"""The real steps of a model on a mesh that need not exist, compiled ahead of time: what they need, before renting.

| to | read |
| --- | --- |
| see a model without values | `abstract.py` |
| see which steps there are | `steps.py` |
| see what is read off a compiled step | `compiled.py` |
| see for which slices, and the steps of a plan | `slices.py`, `planned.py` |
"""
