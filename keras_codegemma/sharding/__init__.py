"""How a model lies on a mesh, as plain values: the mesh's shape and the rule of each weight. Knows no device.

| to | read |
| --- | --- |
| see which meshes there are, and what refuses one | `meshes.py` |
| see how each weight is split | `rules.py` |
"""

from keras_codegemma.sharding.meshes import MeshShape
from keras_codegemma.sharding.rules import Axis, belongs_to_model, weight_axes, weight_spec

__all__ = ["Axis", "MeshShape", "belongs_to_model", "weight_axes", "weight_spec"]
