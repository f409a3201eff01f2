"""Before renting: what a job needs of each chip, how fast it can be at most, which mesh and batch to take.

    job = Job.of("pretrain", CODE_GEMMA_7B, batch_rows=256)
    found = recommend(job, Topology.of("v5e:16x16"))
    found.best.mesh, found.best.memory.total, found.best.phases[0].utilisation

| to | read |
| --- | --- |
| see what chips can do | `chips.py` |
| see what a job is | `job.py` |
| see which bytes lie where | `parts.py`, `memory.py` |
| see products, exchanges, and the time they bound | `work.py`, `exchange.py`, `model.py` |
| see how a mesh is chosen | `search.py` |
"""

from keras_codegemma.planning.chips import CHIPS, GIB, Chip, Topology
from keras_codegemma.planning.job import Job
from keras_codegemma.planning.memory import Memory
from keras_codegemma.planning.model import ASSUMPTIONS, Phase, Plan, plan
from keras_codegemma.planning.picture import picture
from keras_codegemma.planning.search import Recommendation, meshes, recommend

__all__ = [
    "ASSUMPTIONS",
    "CHIPS",
    "GIB",
    "Chip",
    "Job",
    "Memory",
    "Phase",
    "Plan",
    "Recommendation",
    "Topology",
    "meshes",
    "picture",
    "plan",
    "recommend",
]
