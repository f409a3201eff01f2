"""What the processes of a job do together: whole values of arrays that are spread over them, and decisions they share.

All must come to each of these alike; where there is one process, they cost nothing.
"""

from typing import Any

import jax
import numpy as np
from jax._src import distributed  # jax.process_index() would start the devices, which a copy of files does not need
from jax.experimental import multihost_utils


def is_first() -> bool:
    """Whether this is the process that writes files and logs; the only one is. Starts no device."""
    return distributed.global_state.process_id == 0


def fetch(value: Any) -> np.ndarray:
    """An array's values, all of them, on each process: one array at a time is gathered from where its parts lie."""
    if isinstance(value, jax.Array) and not (value.is_fully_addressable or value.is_fully_replicated):
        return np.asarray(multihost_utils.process_allgather(value, tiled=True))
    return np.asarray(value)


def any_process(flag: bool) -> bool:
    """Whether the flag is set on any process, known to all."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def wait_for_all(name: str) -> None:
    """Returns when every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
