"""A mesh chosen from the devices, the model and the job, by the model of `planning/`, with the reason in words."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax

from keras_codegemma.config import CodeGemmaConfig
from keras_codegemma.distribution.parallel import CodeGemmaParallel
from keras_codegemma.planning import GIB, Job, Topology, recommend
from keras_codegemma.planning.chips import H100, V5E, V6E, Chip
from keras_codegemma.planning.job import Kind

_KINDS = {"TPU v5 lite": V5E, "TPU v5e": V5E, "TPU v6 lite": V6E, "TPU v6e": V6E, "NVIDIA H100": H100}
"""Beginnings of what devices call themselves."""

_logger = logging.getLogger(__name__)


def auto(
    config: CodeGemmaConfig,
    *,
    job: Kind,
    batch_rows: int | None = None,
    devices: Sequence[Any] | None = None,
    **settings: Any,
) -> CodeGemmaParallel:
    """The distribution that the planning model finds fastest among those that fit; says why in the log and in `reason`.

        parallel = kcg.distribution.auto(kcg.presets.find("code_gemma_2b_en").config, job="finetune")
        keras.distribution.set_distribution(parallel)

    Args:
        config: of the model that will be built.
        job: "pretrain", "finetune", "lora" or "serve".
        batch_rows: of a step, of all processes together; None leaves it open, and `reason` names one.
        devices: all by default.
        **settings: length, weight_dtype, quantization, optimizer, lora_rank and remat, as `planning.Job.of` takes them.

    Raises:
        ValueError: no mesh of these devices fits, with what would, or settings that do not go together.
    """
    chosen = list(jax.devices() if devices is None else devices)
    topology, caveat = topology_of(chosen)
    wanted = Job.of(job, config, batch_rows=1 if batch_rows is None else batch_rows, **settings)
    found = recommend(wanted, topology, batch_rows=batch_rows)
    parallel = CodeGemmaParallel(found.best.mesh, config, devices=devices)
    parallel.reason = found.reason + caveat
    _logger.info("%s", parallel.reason)
    return parallel


def topology_of(devices: Sequence[Any]) -> tuple[Topology, str]:
    """What devices are to the planning model, and what must be said of that, or nothing.

    Devices that the model does not know count as v5e chips with the memory that they state, or with any.
    """
    kind = devices[0].device_kind
    known = [chip for name, chip in _KINDS.items() if kind.startswith(name)]
    if known:
        return Topology(name=f"{len(devices)} {kind}", chip=known[0], sides=_sides(devices)), ""
    usable = _stated_bytes(devices[0])
    chip: Chip = replace(V5E, name=kind, memory_bytes=usable, usable_bytes=usable)
    stated = "not known" if usable == float("inf") else f"{usable / GIB:.1f} GiB"
    caveat = f" The speed of {kind} devices is not known: taken for that of v5e chips; their memory is {stated}."
    return Topology(name=f"{len(devices)} {kind} devices", chip=chip, sides=(len(devices),)), caveat


def _sides(devices: Sequence[Any]) -> tuple[int, ...]:
    """Of a TPU slice, by its devices' coordinates; of others, how many there are."""
    coordinates = [getattr(device, "coords", None) for device in devices]
    if any(one is None for one in coordinates):
        return (len(devices),)
    spans = [max(axis) - min(axis) + 1 for axis in zip(*coordinates, strict=True)]
    x, y, *_ = spans
    return (x, y) if x * y == len(devices) else (len(devices),)


def _stated_bytes(device: Any) -> float:
    stats = device.memory_stats() if hasattr(device, "memory_stats") else None
    return float(stats["bytes_limit"]) if stats and "bytes_limit" in stats else float("inf")
