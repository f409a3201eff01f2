"""`codegemma plan`: whether a job fits on a slice, on which mesh, how fast it can be, before the slice is rented."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keras_codegemma.cli.options import debug_option, json_option, wrong_use
from keras_codegemma.cli.terminal import print_json, progress

if TYPE_CHECKING:
    from keras_codegemma.config import CodeGemmaConfig
    from keras_codegemma.dry_run.compiled import CompiledStep
    from keras_codegemma.planning import Phase, Plan, Recommendation
    from keras_codegemma.sharding import MeshShape

_SHOWN = 6
"""Plans in the table and the picture."""


@click.command("plan")
@click.argument("preset", metavar="PRESET")
@click.option(
    "--job",
    "kind",
    type=click.Choice(["pretrain", "finetune", "lora", "serve"]),
    required=True,
    help="pretrain and finetune train every weight, lora adapters; serve generates.",
)
@click.option(
    "--topology", "name", required=True, metavar="NAME", help="v5e:2x4, v6e:8x8, or a number of GPUs: h100:8."
)
@click.option("--batch", "batch_rows", type=click.IntRange(min=1), help="Rows of a step; searched for by default.")
@click.option(
    "--length",
    type=click.IntRange(min=1),
    help="Tokens of a row, prompt and result. [default: 8192 to pretrain and serve, 2048 else]",
)
@click.option("--mesh", "axes", metavar="AXES", help="As fsdp=8,model=2 or data=1,model=8; searched for by default.")
@click.option("--quantization", metavar="MODE", help="int8, int4 or int4/32 of weights that are not trained.")
@click.option(
    "--cache-dtype",
    type=click.Choice(["bfloat16", "int8"]),
    default="bfloat16",
    show_default=True,
    help="Of keys and values, with --job serve; int8 is half the bytes.",
)
@click.option("--optimizer", type=click.Choice(["adamw", "adafactor"]), default="adamw", show_default=True)
@click.option("--lora-rank", type=click.IntRange(min=1), default=8, show_default=True, help="With --job lora.")
@click.option(
    "--remat",
    type=click.Choice(["block", "none"]),
    default="block",
    show_default=True,
    help="Whether the backward pass computes blocks again.",
)
@click.option(
    "--compile/--no-compile",
    "compiles",
    default=None,
    help="Compile the recommended step and print its bytes too; takes minutes. Needs libtpu for TPUs, jax[cuda12] for "
    "GPUs, and neither TPU nor GPU. [default: where the compiler is installed]",
)
@click.option(
    "--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture of the bytes a chip there."
)
@json_option
@debug_option
def command(
    preset: str,
    *,
    name: str,
    batch_rows: int | None,
    axes: str | None,
    compiles: bool | None,
    svg: Path | None,
    as_json: bool,
    remat: str,
    **how: Any,
) -> None:
    """Show whether a job fits on a slice of TPUs or on GPUs, and how fast it can be.

    Every mesh and batch that divides is modelled; the fastest that fits is recommended, with bytes on each chip by
    kind, exchanges between chips, and the time that the chips' stated peaks bound. It needs no accelerator.
    """
    from keras_codegemma import planning

    with wrong_use(ValueError):
        topology = planning.Topology.of(name)
        job = planning.Job.of(
            config=_config(preset), batch_rows=batch_rows or 1, remat=None if remat == "none" else remat, **how
        )
        mesh = None if axes is None else _mesh(axes)
        if mesh is not None:
            mesh.check_devices(topology.chips)
            mesh.check(job.config, name=preset)
    found = planning.recommend(job, topology, batch_rows=batch_rows, mesh=mesh)
    compiled = _compiled(found.best, compiles)
    if svg is not None:
        title = f"{preset}: {job.kind} on {topology.name}"
        svg.write_text(planning.picture(_different(found), title=title), encoding="utf-8")
    document = _document(preset, found, compiled)
    if as_json:
        print_json(document)
    else:
        _print(preset, found, compiled)


def _config(preset: str) -> "CodeGemmaConfig":
    """The architecture of a built-in preset or a local folder, without its weights.

    Raises:
        ValueError: neither.
    """
    from keras_codegemma.presets.registry import find

    if not Path(preset).expanduser().is_dir():
        return find(preset).config
    from keras_codegemma.convert import open_folder

    with open_folder(Path(preset).expanduser(), load_weights=False) as checkpoint:
        return checkpoint.config


def _mesh(text: str) -> "MeshShape":
    from keras_codegemma.sharding import MeshShape

    sizes: dict[str, int] = {}
    for part in text.split(","):
        axis, _, size = part.strip().partition("=")
        if axis not in ("data", "replica", "fsdp", "model") or not size.isdecimal():
            raise ValueError(
                f"A mesh is written as fsdp=8,model=2 or data=1,model=8; got {part.strip()!r} in {text!r}. Correct it."
            )
        sizes[axis] = int(size)
    return MeshShape(**sizes)


def _compiled(best: "Plan", asked: bool | None) -> "dict[str, CompiledStep] | None":
    if asked is False:
        return None
    from keras_codegemma.dry_run import planned

    absence = planned.absence(best)
    if absence is not None:
        if asked:
            raise ValueError(f"The step cannot be compiled: {absence}. Leave --compile out for the model alone.")
        return None
    import jax

    jax.config.update("jax_platforms", "cpu")  # nothing is run, and a TPU of this machine is not to be taken
    with progress(f"Compiling for {best.topology.name}"):
        return planned.compile_plan(best)


def _different(found: "Recommendation") -> "list[Plan]":
    """The recommended plan and the best of each other mesh."""
    seen: dict[str, Plan] = {str(found.best.mesh): found.best}
    for one in found.plans:
        seen.setdefault(str(one.mesh), one)
    return list(seen.values())[:_SHOWN]


def _document(preset: str, found: "Recommendation", compiled: "dict[str, CompiledStep] | None") -> dict[str, Any]:
    from keras_codegemma.planning import ASSUMPTIONS

    return {
        "preset": preset,
        "is": "a model, not a measurement",
        "recommended": {**_plan_document(found.best), "reason": found.reason},
        "compiled": None if compiled is None else {name: asdict(step) for name, step in compiled.items()},
        "others": [_plan_document(one) for one in found.plans if one is not found.best],
        "assumptions": list(ASSUMPTIONS),
    }


def _plan_document(one: "Plan") -> dict[str, Any]:
    job = one.job
    return {
        "job": {
            "kind": job.kind,
            "batch_rows": job.batch_rows,
            "length": job.length,
            "dtype": job.dtype,
            "optimizer": None if job.serves else job.optimizer,
            "remat": None if job.serves else job.remat,
            "lora_rank": job.lora_rank if job.kind == "lora" else None,
            "cache_dtype": job.cache_dtype if job.serves else None,
        },
        "topology": one.topology.name,
        "mesh": dict(zip(one.mesh.axis_names, one.mesh.sizes, strict=True)),
        "fits": one.fits,
        "usable_bytes": round(one.topology.chip.usable_bytes),
        "chip_bytes": {
            **{kind: round(size) for kind, size in one.memory.by_kind().items()},
            "total": round(one.memory.total),
        },
        "phases": [_phase_document(phase) for phase in one.phases],
    }


def _phase_document(phase: "Phase") -> dict[str, Any]:
    return {
        "name": phase.name,
        "seconds": phase.seconds,
        "seconds_by": phase.seconds_by,
        "bound_by": phase.bound_by,
        "tokens_per_second": phase.tokens_per_second,
        "model_flops": phase.work.model_flops,
        "chip_flops": phase.work.chip_flops,
        "model_flop_utilisation": phase.utilisation,
        "exchanges": [asdict(one) for one in phase.traffic],
    }


def _print(preset: str, found: "Recommendation", compiled: "dict[str, CompiledStep] | None") -> None:
    from keras_codegemma.planning import ASSUMPTIONS, GIB

    best = found.best
    job, usable = best.job, best.topology.chip.usable_bytes
    cache = ", cache int8" if job.serves and job.cache_dtype == "int8" else ""
    click.echo(
        f"{preset}: {job.kind}, {job.batch_rows} rows of {job.length}, {job.dtype}{cache}, on {best.topology.name}"
    )
    click.echo(f"recommended: {found.reason}\n")
    click.echo("bytes a chip, GiB")
    for kind, size in best.memory.by_kind().items():
        if size >= 0.005 * GIB:
            click.echo(f"  {kind:<12}{size / GIB:7.2f}")
    click.echo(f"  {'total':<12}{best.memory.total / GIB:7.2f}  of {usable / GIB:.2f}: fits")
    for phase in best.phases:
        _print_phase(phase)
    if compiled is not None:
        _print_compiled(best, compiled)
    click.echo(f"\n{'mesh':<36}{'rows':>6}{'GiB':>8}{'tokens/s':>12}{'utilisation':>13}")
    for one in _different(found):
        click.echo(
            f"{one.mesh!s:<36}{one.job.batch_rows:>6}{one.memory.total / GIB:>8.2f}{one.tokens_per_second:>12,.0f}"
            f"{one.phases[0].utilisation:>13.1%}" + ("" if one.fits else "  does not fit")
        )
    click.echo()
    for line in ASSUMPTIONS:
        click.echo(line)


def _print_phase(phase: "Phase") -> None:
    times = ", ".join(f"{name} {seconds:.3g}" for name, seconds in phase.seconds_by.items())
    click.echo(
        f"\n{phase.name}: at least {phase.seconds:.3g} s ({times}), bound by {phase.bound_by}; at most "
        f"{phase.tokens_per_second:,.0f} tokens/s; {phase.work.model_flops:.3g} model FLOPs, "
        f"{phase.utilisation:.1%} model-FLOP utilisation"
    )
    for one in phase.traffic:
        click.echo(
            f"  {one.what}: {one.count} times {one.kind} over {one.axis}, {one.bytes / 1e9:.3g} GB, {one.seconds:.3g} s"
            + (" beside products" if one.hidden else "")
        )


def _print_compiled(best: "Plan", compiled: "dict[str, CompiledStep]") -> None:
    from keras_codegemma.planning import GIB

    click.echo("\nby the compiler, GiB a chip")
    for name, step in compiled.items():
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(step.counts().items())) or "no exchanges"
        click.echo(
            f"  {name:<12}{step.chip_bytes / GIB:7.2f}  arguments {step.argument_bytes / GIB:.2f}, peak "
            f"{step.peak_bytes / GIB:.2f}, program {step.program_bytes / GIB:.2f}; {step.kernels} kernels, {counts}"
        )
    worst = max(step.chip_bytes for step in compiled.values())
    click.echo(f"  the model says {best.memory.total / GIB:.2f}, {best.memory.total / worst - 1:+.1%}")
