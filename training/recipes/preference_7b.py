"""Preference tuning of 7B-IT by DPO: adapters on frozen weights, which are the reference too."""

from training.config import (
    DataSettings,
    KeepSettings,
    MeshSettings,
    ModelSettings,
    OptimizerSettings,
    PreferenceSettings,
    TrainingRecipe,
)


def recipe() -> TrainingRecipe:
    """On 8 devices: `--set data.preferences=FILE`, of lines with `messages`, `chosen` and `rejected`.

    The published models were tuned with reinforcement learning; how, is not published. Rank, rate and batch are ours,
    and have not been run at this size.
    """
    return TrainingRecipe(
        name="preference_7b",
        steps=500,
        model=ModelSettings(preset="code_gemma_instruct_7b_en", dtype="bfloat16", remat="block", lora_rank=16),
        data=DataSettings(batch_size=16, sequence_length=2048, held_out_rows=64),
        optimizer=OptimizerSettings(peak_rate=5e-6, warmup_steps=50, weight_decay=0.0),
        preference=PreferenceSettings(beta=0.1),
        # A loss near 0 may double from one interval to the next.
        keep=KeepSettings(log_every=10, save_every=100, validate_every=100, spike=None),
        mesh=MeshSettings(fsdp=8),
    )
