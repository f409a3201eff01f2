"""Many processes as one job: their start, whether they agree, which one speaks, and an end when one of them is lost.

    hosts = kcg.distribution.initialize()           # on every process, before anything else touches a device

Everything here goes through JAX's coordination service, never through a collective: it works before the first step,
and while a step hangs because somebody is gone.

       process 0             process 1             process 2
    +-------------+       +-------------+       +-------------+
    | coordinator |<------| watch       |       | watch       |   beat/1 = 17, beat/2 = 16, ...
    | watch       |<----------------------------|             |   failed/2 = "ValueError: ..."
    +-------------+       +-------------+       +-------------+
"""

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import keras
from jax._src import distributed  # no public name gives the coordination service's client

from keras_codegemma.distribution.watch import Watch

LOST_SECONDS = 30.0
"""A process that is silent for so long is lost. Well below the 100 seconds after which JAX aborts without a name."""

_AGREE_SECONDS = 120

_ENVIRONMENT = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID")

_watch: Watch | None = None
"""Of this process, where it is one of several."""

_agreements = itertools.count()
"""Numbers the checks, which all processes come to in the same order."""


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Attributes: index of this process; count of all."""

    index: int
    count: int

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes logs."""
        return self.index == 0


def initialize(
    coordinator_address: str | None = None,
    *,
    num_processes: int | None = None,
    process_id: int | None = None,
    lost_seconds: float = LOST_SECONDS,
) -> Hosts:
    """Makes this process one of a job's; the same call on every process, before JAX is used.

    Settings come from the arguments, else from KERAS_DISTRIBUTION_JOB_ADDRESSES, KERAS_DISTRIBUTION_NUM_PROCESSES and
    KERAS_DISTRIBUTION_PROCESS_ID, else from what JAX finds out by itself: SLURM, Cloud TPU, GKE, Open MPI. One process
    alone needs no call.

    After it, `fit` shows its progress on process 0 alone, processes that run other versions than process 0 are refused,
    and a process that dies ends the others: with a message that names it, after at most `lost_seconds` and a few more.

    Args:
        coordinator_address: "host:port" of process 0, reachable from all.
        num_processes: of the job.
        process_id: from 0, another for each process.
        lost_seconds: a process that is silent for so long is lost.

    Raises:
        ValueError: settings that are missing or contradict each other, or processes with different versions.
    """
    _check_settings(coordinator_address, num_processes, process_id)
    try:
        keras.distribution.initialize(coordinator_address, num_processes, process_id)
    except ValueError as error:
        raise ValueError(
            "Several processes need a coordinator's address, their number and an index each; JAX found none of a "
            f"launcher's ({error}). Pass coordinator_address='host:port', num_processes and process_id, or set "
            f"{', '.join(_ENVIRONMENT)}, or start the program with srun or on a GKE TPU node pool."
        ) from error
    hosts = Hosts(index=jax.process_index(), count=jax.process_count())
    if not hosts.is_first:
        keras.utils.disable_interactive_logging()
    if hosts.count > 1:
        global _watch  # noqa: PLW0603 (one for the life of the process, as JAX's own client)
        _watch = Watch(client(), index=hosts.index, count=hosts.count, lost_seconds=lost_seconds)
        _watch.start()
        check_agreement(_versions(), what="versions")
    return hosts


def end_job(reason: str, *, code: int) -> None:
    """Tells the job's other processes why this one ends, and ends it at once; returns where there are no others.

    For a program that handles an error itself, as one that prints a line and leaves with a code of its own: the others
    would wait for it in the next collective. Errors that nobody handles are told without this.

    Args:
        reason: as the others will print it.
        code: that this process ends with; the others end with `watch.LOST_EXIT_CODE`.
    """
    if _watch is not None:
        _watch.end(f"failed: {reason}", code=code)


def client() -> Any:
    """The coordination service, or None where `initialize` was not called."""
    return distributed.global_state.client


def check_agreement(values: Mapping[str, Any], *, what: str) -> None:
    """Refuses to go on where processes were given different values; all must call it alike. One process always agrees.

    Args:
        values: of this process, by name: whatever json can write.
        what: they are, for the message.

    Raises:
        ValueError: on every process, the names that differ, with the value of each process.
        RuntimeError: a process did not ask within two minutes.
    """
    service = client()
    if service is None or jax.process_count() == 1:
        return
    name = f"keras_codegemma/agreement/{next(_agreements)}"
    service.key_value_set(f"{name}/{jax.process_index()}", json.dumps({"what": what, **values}, default=str))
    found = []
    for index in range(jax.process_count()):
        try:
            found.append(json.loads(service.blocking_key_value_get(f"{name}/{index}", _AGREE_SECONDS * 1000)))
        except jax.errors.JaxRuntimeError as error:
            raise RuntimeError(
                f"Every process must come to the same checks; process {index} did not come to that of the {what} "
                f"within {_AGREE_SECONDS} seconds. Start the same program on every process."
            ) from error
    if clashes := disagreements(found):
        raise ValueError(
            f"All processes of a job must have the same {what}; {'; '.join(clashes)}. "
            "Start every process with the same command and files."
        )


def disagreements(found: list[Mapping[str, Any]]) -> list[str]:
    """One phrase for each name whose values differ: "seed is 1 on process 0 and 2, 7 on process 1"."""
    phrases = []
    for name in sorted({name for values in found for name in values}):
        places: dict[str, list[str]] = {}
        for index, values in enumerate(found):
            places.setdefault(json.dumps(values.get(name)), []).append(str(index))
        if len(places) > 1:
            shown = [
                f"{value} on process{'es' if len(where) > 1 else ''} {_listed(where)}"
                for value, where in places.items()
            ]
            phrases.append(f"{name} is {', '.join(shown)}")
    return phrases


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _check_settings(coordinator_address: str | None, num_processes: int | None, process_id: int | None) -> None:
    if coordinator_address is not None and ":" not in coordinator_address:
        raise ValueError(
            f"The coordinator's address must be host:port; got {coordinator_address!r}. Add a free port of process 0."
        )
    if num_processes is not None and process_id is not None and not 0 <= process_id < num_processes:
        raise ValueError(
            f"process_id must be from 0 to {num_processes - 1}, for {num_processes} processes; got {process_id}. "
            "Number the processes from 0."
        )


def _versions() -> dict[str, Any]:
    from keras_codegemma import __version__

    return {
        "python": sys.version.split()[0],
        "jax": jax.__version__,
        "keras": keras.__version__,
        "keras_codegemma": __version__,
    }
