"""One run from start to end: everything is checked, then trained through `model.fit`, from wherever it was left."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

import keras_codegemma as kcg
from keras_codegemma import token_scores
from keras_codegemma.planning.work import training_flops_per_token
from keras_codegemma.settling import Settling
from training.callbacks import Counting, Interval, Progress
from training.checkpoint import Checkpoints, check_room, state_bytes
from training.config import TrainingRecipe
from training.data import TrainingData, open_data
from training.event_files import EventFile
from training.log import Log, read
from training.model import frozen_fingerprint, make_model
from training.optimizer import make_optimizer, make_schedule
from training.plot import write_curve
from training.preference import PreferenceLoss, RewardAccuracy, RewardMargin
from training.run_folder import RunFolder, kept_the_same
from training.settings import as_json, flat

Report = Callable[[Mapping[str, Any]], None]


def train(recipe: TrainingRecipe, workdir: Path, *, report: Report) -> bool:
    """Trains, or goes on; as one of a job's processes, all of which call it alike and see the same folder.

    Args:
        recipe: complete.
        workdir: of the run.
        report: is given each line of the log, on the process that writes it.

    Returns:
        Whether the run came to its end; False where a signal stopped it, with everything saved.

    Raises:
        OSError, ValueError: anything that would stop the run later, before the first step.
        CheckpointError: the disk is full, for instance.
        DivergedError: the loss is no number, or far above the usual.
    """
    recipe.check_complete()
    kcg.distribution.check_agreement({"workdir": str(workdir.resolve()), **flat(as_json(recipe))}, what="settings")
    folder = RunFolder(workdir, writes=kcg.distribution.is_first())
    try:
        folder.check_same(as_json(recipe))
        kcg.distribution.wait_for_all("folder")  # it is there, and nothing was written into it yet
        lm = make_model(recipe)
        data = open_data(recipe.data, lm, folder=folder.path)
        lm.compile(
            optimizer=make_optimizer(recipe.optimizer, steps=recipe.steps),
            loss=_loss(recipe),
            weighted_metrics=_metrics(recipe),
        )
        lm.optimizer.build(lm.trainable_variables)
        finished = _fit(recipe, folder, lm, data, report)
        if finished:
            _write_results(recipe, folder, lm)
        return finished
    finally:
        folder.close()


def _loss(recipe: TrainingRecipe) -> Any:
    return token_scores.CrossEntropy() if recipe.preference is None else PreferenceLoss(recipe.preference)


def _metrics(recipe: TrainingRecipe) -> list[keras.metrics.Metric]:
    """Of all tokens and, of a corpus, which has infilling examples, of middles alone; of preferences, of pairs."""
    if recipe.preference is not None:
        return [RewardMargin(recipe.preference), RewardAccuracy(recipe.preference)]
    parts = ("all",) if recipe.data.chats is not None else ("all", "middle")
    return [kind(part) for part in parts for kind in (token_scores.Accuracy, token_scores.NatsPerToken)]


def _fit(
    recipe: TrainingRecipe, folder: RunFolder, lm: kcg.CodeGemmaCausalLM, data: TrainingData, report: Report
) -> bool:
    keep = recipe.keep
    about = {
        "recipe": kept_the_same(as_json(recipe)),
        "data": data.identity,
        "frozen": frozen_fingerprint(lm),
    }
    kcg.distribution.check_agreement({**data.identity, "frozen": about["frozen"]}, what="data and frozen weights")
    checkpoints = Checkpoints(folder.path / "checkpoints", keep=keep.checkpoints)
    writes = kcg.distribution.is_first()
    events = EventFile(folder.path / "tensorboard") if keep.tensorboard and writes else None
    try:
        step, sums = _go_back(checkpoints, lm, about)
        if writes:
            check_room(folder.path, state_bytes(lm), count=1 if step else min(2, keep.checkpoints))
        model = {"parameters": lm.backbone.count_params(), "trained": _size(lm), "frozen": about["frozen"]}
        folder.begin(recipe=as_json(recipe), data=data.identity, model=model, step=step)
        progress = Progress(step=step, sums=sums)
        schedule = make_schedule(recipe.optimizer, recipe.steps)
        counting = Counting(progress)
        interval = Interval(
            recipe=recipe,
            data=data,
            progress=progress,
            log=Log(folder.metrics, step=step, writes=writes),
            checkpoints=checkpoints,
            about=about,
            rate=lambda step: float(schedule(step)),
            flops_per_token=training_flops_per_token(lm.backbone.config, data.sequence_length),
            report=_reports(report, events) if writes else lambda line: None,
        )
        callbacks = [counting, interval, Settling()]
        try:
            while progress.step < recipe.steps and not progress.stops:
                _some_intervals(recipe, lm, data, progress, callbacks)
        finally:
            counting.restore_signals()
            data.loader.close()
        checkpoints.wait()
        return progress.step == recipe.steps
    finally:
        checkpoints.close()
        if events is not None:
            events.close()


def _go_back(checkpoints: Checkpoints, lm: kcg.CodeGemmaCausalLM, about: Mapping[str, Any]):
    newest = checkpoints.newest()
    return (0, None) if newest is None else (newest, checkpoints.restore(newest, lm, about))


def _some_intervals(
    recipe: TrainingRecipe,
    lm: kcg.CodeGemmaCausalLM,
    data: TrainingData,
    progress: Progress,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """The rest of an interval that was cut short, or all that are left."""
    every = recipe.keep.log_every
    begun = progress.step % every
    data.loader.go_to_step(progress.step)
    lm.fit(
        data.loader,
        steps_per_epoch=every - begun,
        epochs=1 if begun else (recipe.steps - progress.step) // every,
        callbacks=callbacks,
        verbose=0,  # type: ignore[arg-type] # Keras says str
    )


def _reports(report: Report, events: EventFile | None) -> Report:
    """Reports that go on to TensorBoard too, where there is a file."""
    if events is None:
        return report

    def both(line: Mapping[str, Any]) -> None:
        report(line)
        events.add(line["step"], {name: float(value) for name, value in line.items() if name != "step"})

    return both


def _write_results(recipe: TrainingRecipe, folder: RunFolder, lm: kcg.CodeGemmaCausalLM) -> None:
    if recipe.model.has_adapters:
        lm.save_lora_weights(folder.path / "adapter.safetensors")
    else:
        lm.save_to_preset(folder.path / "model")
    if kcg.distribution.is_first():
        name, what = ("nats_per_token", "nats per token") if recipe.preference is None else ("loss", "loss")
        write_curve(folder.path / "loss.svg", read(folder.metrics), name=name, title=f"{recipe.name}: {what}")


def _size(lm: kcg.CodeGemmaCausalLM) -> int:
    return sum(int(variable.value.size) for variable in lm.trainable_variables)
