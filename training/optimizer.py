"""The optimiser of a run: Keras's AdamW, Adafactor or Muon, its learning rate, and what decays.

Weight decay pulls matrices alone. Norm scales are stored as their difference from 1, and the embedding is tied with the
output, where pulling it to 0 would flatten every prediction; both are left out.
"""

from typing import Any

import keras

from training.config import OptimizerSettings

_NO_DECAY = ["scale", "embeddings"]
"""In the names of variables: RMSNorm's `scale`, the embedding's `embeddings`."""


class SplitHeadMuon(keras.optimizers.Muon):
    """Keras's Muon, for attention's kernels too, each head a matrix of its own.

    Keras orthogonalises matrices of two axes alone and gives all else to Adam. Attention's kernels here have three, of
    which one counts heads: query, key and value [N, D, H], output [N, H, D]. The update of each head's last two axes is
    orthogonalised and scaled to the size of an Adam step: 0.2 * sqrt(its longer side) (Liu et al., 2025,
    arXiv:2502.16982, section 2.2).
    """

    def _should_use_adamw(self, variable: Any) -> bool:
        if len(variable.shape) == 3 and "kernel" in variable.path:
            return False
        return super()._should_use_adamw(variable)

    def lr_adjust(self, x: Any) -> Any:
        """The update scaled to the size of one of Adam's."""
        return x if self.rms_rate is None else x * (max(x.shape[-2:]) ** 0.5 * self.rms_rate)


def make_schedule(settings: OptimizerSettings, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """A linear rise over the warm-up, then half a cosine down to `final_rate` of the peak at the last step.

    Args:
        settings: of the optimiser.
        steps: batches of the run. Keras asks for the rate of a batch, also where several make one update.
    """
    warm = settings.warmup_steps
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warm else settings.peak_rate,
        max(1, steps - warm),
        alpha=settings.final_rate,
        warmup_target=settings.peak_rate if warm else None,
        warmup_steps=warm,
    )


def make_optimizer(settings: OptimizerSettings, *, steps: int) -> keras.optimizers.Optimizer:
    """The optimiser that settings name.

    Args:
        settings: checked when they were built.
        steps: batches of the run.
    """
    shared: dict[str, Any] = {
        "name": settings.name,  # a number behind it would change the paths of its variables
        "learning_rate": make_schedule(settings, steps),
        "weight_decay": settings.weight_decay or None,
        "global_clipnorm": settings.clip_norm,
        "gradient_accumulation_steps": settings.accumulation if settings.accumulation > 1 else None,
    }
    if settings.name == "adamw":
        # Adam without decay is AdamW with none; Keras's AdamW insists on a number.
        shared["weight_decay"] = settings.weight_decay
        optimizer = keras.optimizers.AdamW(beta_1=settings.beta_1, beta_2=settings.beta_2, **shared)
    elif settings.name == "adafactor":
        # The rate is the schedule's, not Adafactor's own relative one.
        optimizer = keras.optimizers.Adafactor(relative_step=False, **shared)
    else:
        optimizer = SplitHeadMuon(
            adam_beta_1=settings.beta_1,
            adam_beta_2=settings.beta_2,
            adam_weight_decay=settings.weight_decay,
            momentum=0.95,
            **shared,
        )
    optimizer.exclude_from_weight_decay(var_names=_NO_DECAY)
    return optimizer
