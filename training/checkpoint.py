"""Checkpoints with Orbax: what is needed to go on to the last bit, written beside the training, whole or not at all.

    checkpoints/400/state    trained weights, optimiser, and the metrics of a logging interval that was cut short
    checkpoints/400/about    the step, the recipe, the data and the place in them, and the shape of every array

Frozen weights are not in it: they come from the preset, whose fingerprint is. Nor is a random state: nothing in a step
is drawn at random (Gemma has no dropout), and the order of the data follows from seed and step. Orbax writes into a
folder that no reader takes for a checkpoint and marks it as the last act, so a kill at any time leaves the one before.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

import keras_codegemma as kcg
from training.settings import differences

State = dict[str, Any]


class CheckpointError(RuntimeError):
    """A checkpoint could not be written; what was written before is untouched."""


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: of them; made if missing.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def newest(self) -> int | None:
        """The step of the newest complete one."""
        return self._manager.latest_step()

    def save(self, step: int, lm: kcg.CodeGemmaCausalLM, about: Mapping[str, Any], *, metrics: bool) -> None:
        """Begins to write; the arrays are copied first, so training may go on at once.

        Args:
            step: batches trained on.
            lm: compiled and trained.
            about: as JSON: what a run must have in common to go on from here.
            metrics: whether the metrics' sums belong to an interval that is not over.

        Raises:
            CheckpointError: this one cannot be begun, or the one before could not be finished.
        """
        state = _state(lm) | ({"metrics": _named(lm.metrics_variables)} if metrics else {})
        written = {**about, "arrays": _shapes(state)}
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(_copied(state)), about=ocp.args.JsonSave(written)),
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(error) from error

    def check(self) -> None:
        """Raises a CheckpointError if one that was begun could not be finished."""
        try:
            self._manager.check_for_errors()
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(error) from error

    def wait(self) -> None:
        """Until all are on disk; raises as `check` does."""
        try:
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            raise self._failed(error) from error

    def about(self, step: int) -> dict[str, Any]:
        """What was saved of that kind."""
        return self._restored(step, about=ocp.args.JsonRestore())["about"]

    def restore(self, step: int, lm: kcg.CodeGemmaCausalLM, about: Mapping[str, Any]) -> list[np.ndarray] | None:
        """Puts a checkpoint into a model and its optimiser.

        Args:
            step: of the checkpoint.
            lm: compiled, of the same recipe.
            about: of this run; must be equal to what was saved.

        Returns:
            The metrics' sums, where the checkpoint lies within a logging interval.

        Raises:
            ValueError: a checkpoint of another run: of another recipe, data, preset or shape of weights.
        """
        saved = self.about(step)
        arrays = saved.pop("arrays")
        place = self.folder / str(step)
        if found := differences(saved, dict(about)):
            raise ValueError(
                f"A checkpoint must be of the same run; {place} differs in {', '.join(found)}. Use the same settings, "
                "or a new --workdir."
            )
        lm.optimizer.build(lm.trainable_variables)
        state = _state(lm)
        wanted = _shapes(state)
        if found := sorted(name for name in wanted if arrays.get(name) != wanted[name]):
            raise ValueError(
                f"A checkpoint must have the model's arrays; {found[0]} is {arrays.get(found[0], 'missing')} in "
                f"{place} and {wanted[found[0]]} in the model. Use the settings and versions that wrote it."
            )
        target = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state)
        sums = [name for name in arrays if name.startswith("metrics/")]
        if sums:
            whole = lm.optimizer.iterations.value.sharding  # on every device, as the metrics are
            target["metrics"] = {name.removeprefix("metrics/"): _struct(arrays[name], whole) for name in sums}
        restored = self._restored(step, state=ocp.args.StandardRestore(target))["state"]
        for group, variables in (("weights", lm.trainable_variables), ("optimizer", lm.optimizer.variables)):
            for name, variable in zip(state[group], variables, strict=True):
                variable.assign(restored[group][name])
        return [np.asarray(restored["metrics"][name]) for name in sorted(restored["metrics"])] if sums else None

    def close(self) -> None:
        """Ends Orbax's threads."""
        self._manager.close()

    def _restored(self, step: int, **parts: Any) -> Mapping[str, Any]:
        found: Any = self._manager.restore(step, args=ocp.args.Composite(**parts))
        return found

    def _failed(self, error: Exception) -> CheckpointError:
        last = self._manager.latest_step()
        good = "no earlier one is there" if last is None else f"the last good one is {self.folder / str(last)}"
        return CheckpointError(
            f"A checkpoint must be written whole; one in {self.folder} could not be ({type(error).__name__}: "
            f"{str(error).strip():.300}); {good}. Make room or correct the folder, and give the same command again."
        )


def finite(lm: kcg.CodeGemmaCausalLM) -> bool:
    """Whether all trained weights are numbers."""
    return all(bool(jnp.isfinite(variable.value).all()) for variable in lm.trainable_variables)


def state_bytes(lm: kcg.CodeGemmaCausalLM) -> int:
    """The size of a checkpoint, about."""
    return sum(value.nbytes for value in jax.tree.leaves(_state(lm)))


def check_room(folder: Path, size: int, *, count: int) -> None:
    """Makes sure that so many checkpoints of a size can be written, by taking the room of one and giving it back.

    Raises:
        OSError: the folder cannot be written to, or there is not enough room.
    """
    free = shutil.disk_usage(folder).free
    if free < size * count:
        raise OSError(
            f"{count} checkpoints of {size / 1e6:.0f} MB must fit beside each other; {folder} has {free / 1e6:.0f} MB "
            "free. Make room, lower keep.checkpoints, or use another --workdir."
        )
    trial = folder / ".room"
    try:
        with trial.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, size))
    except OSError as error:
        raise OSError(
            f"A checkpoint of {size / 1e6:.0f} MB must fit into {folder}; it does not ({error.strerror}). Make room, "
            "or use another --workdir."
        ) from error
    finally:
        trial.unlink(missing_ok=True)


def _state(lm: kcg.CodeGemmaCausalLM) -> State:
    return {"weights": _named(lm.trainable_variables), "optimizer": _named(lm.optimizer.variables)}


def _named(variables: Any) -> dict[str, Any]:
    """Values by place and path; paths alone need not differ."""
    return {f"{index:04d} {variable.path}": variable.value for index, variable in enumerate(variables)}


def _shapes(state: State) -> dict[str, str]:
    return {
        f"{group}/{name}": f"{value.dtype}{list(value.shape)}"
        for group, values in state.items()
        for name, value in values.items()
    }


def _struct(shape: str, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    dtype, _, dims = shape.partition("[")
    sizes = tuple(int(size) for size in dims.rstrip("]").split(",") if size)
    return jax.ShapeDtypeStruct(sizes, dtype, sharding=sharding)


def _copied(state: State) -> State:
    """On CPU Orbax would write from the very memory that the next step is given to overwrite."""
    return jax.tree.map(jnp.copy, state) if jax.default_backend() == "cpu" else state
