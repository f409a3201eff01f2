"""Instruction tuning of the 7B model on chats, with loss on the model's turns alone."""

from training.config import DataSettings, KeepSettings, MeshSettings, ModelSettings, OptimizerSettings, TrainingRecipe


def recipe() -> TrainingRecipe:
    """On 16 devices: `--set data.chats=FILE`, of `{"messages": [{"role": "user", "content": ...}, ...]}` lines.

    What data made 7B-IT beside mathematics sets and synthetic code is not published (model card), nor are rate and
    batch; these are ours, and have not been run at this size.
    """
    return TrainingRecipe(
        name="instruct_7b",
        steps=2000,
        model=ModelSettings(preset="code_gemma_7b_en", dtype="mixed_bfloat16", remat="block"),
        data=DataSettings(batch_size=64, sequence_length=2048, held_out_rows=64),
        optimizer=OptimizerSettings(peak_rate=1e-5, warmup_steps=100, weight_decay=0.0),
        keep=KeepSettings(log_every=10, save_every=200, validate_every=200),
        mesh=MeshSettings(fsdp=8, model=2),  # as `codegemma plan` says for v5e:4x4
    )
