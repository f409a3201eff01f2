"""What each process of `test_hosts.py` runs: a few steps of the tiny preset on its part of the rows.

    python tests/distribution/hosts_program.py train [ADDRESS COUNT INDEX [FOLDER]]

Writes one line of JSON with the losses. Modes: `train`; `uneven`: processes have other numbers of rows, which do not
divide over the mesh; `hang`: process 1 kills itself in the second step; `fail`:
process 1 raises there; `disagree`: process 1 makes another mesh; `generate`: continues `PROMPTS` with one model over
all processes; `evaluate`: completes problems into FOLDER, each process its batches of them.
"""

import json
import os
import signal
import sys

import keras
import numpy as np

import keras_codegemma as kcg
from keras_codegemma.evaluation import runner
from keras_codegemma.evaluation.model import CausalLM
from keras_codegemma.evaluation.problems import Problem
from tests.small_models import CONFIGS, random_backbone

STEPS, ROWS, LENGTH = 3, 8, 32
UNEVEN_BATCH = 3
TRAINED = ("train", "uneven", "generate")
"""Modes whose values matter; the others take a smaller model, which is quicker to compile."""
PROMPTS = ("def add(a, b):\n    return", "import os\n", "class Stack:")


def ids() -> np.ndarray:
    """The rows of each step, of all processes."""
    return np.random.default_rng(0).integers(80, 320, (STEPS, ROWS, LENGTH)).astype("int32")


def uneven_rows(group: int) -> np.ndarray:
    """Of one part of the rows in the mode `uneven`: five of the first, four of the second, three of others."""
    return np.random.default_rng(group).integers(80, 320, (max(5 - group, 3), LENGTH)).astype("int32")


def as_number(text: str | None) -> int | None:
    return None if text is None else int(text)


def write_samples(folder: str, *, process: int, processes: int) -> bool:
    """Completes a process's share of some lines; gives whether all are there."""
    lines = [f"def f{index}(x):\n    return x +" for index in range(6)]
    problems = [
        Problem(task_id=f"lines/{index}", task="lines", kind="completion", prefix=line, max_new_tokens=8)
        for index, line in enumerate(lines)
    ]
    model = CausalLM.from_preset("code_gemma_tiny", dtype="float32")
    return runner.write_samples(model, problems, folder=folder, batch_size=2, process=process, processes=processes)


def main(
    mode: str,
    address: str | None = None,
    count: str | None = None,
    number: str | None = None,
    folder: str | None = None,
) -> None:
    """Runs one process of several; without an address, as the environment says."""
    hosts = kcg.distribution.initialize(
        address, num_processes=as_number(count), process_id=as_number(number), lost_seconds=20
    )
    index = hosts.index
    if folder is not None:
        complete = write_samples(folder, process=index, processes=hosts.count)
        sys.stdout.write(json.dumps({"index": index, "complete": complete}) + "\n")
        return
    import jax

    config = kcg.presets.find("code_gemma_tiny").config if mode in TRAINED else CONFIGS["multi_query"]
    shape = kcg.distribution.MeshShape(fsdp=len(jax.devices()) // 2, model=2)
    if mode == "uneven" or (mode == "disagree" and index == 1):
        shape = kcg.distribution.MeshShape(fsdp=len(jax.devices()))
    parallel = kcg.distribution.CodeGemmaParallel(shape, config)
    keras.distribution.set_distribution(parallel)
    keras.utils.set_random_seed(0)
    if mode in TRAINED:
        lm = kcg.CodeGemmaCausalLM.from_preset("code_gemma_tiny", dtype="float32")
    else:
        lm = kcg.CodeGemmaCausalLM(random_backbone(config))
    if mode == "generate":
        sys.stdout.write(json.dumps({"index": index, "texts": lm.generate(list(PROMPTS), max_new_tokens=8)}) + "\n")
        return
    lm.compile(optimizer=keras.optimizers.AdamW(1e-3))
    group, groups = parallel.row_group
    own = ids().reshape(STEPS, groups, ROWS // groups, LENGTH)[:, group].reshape(-1, LENGTH)
    batch_size = ROWS // groups
    if mode == "uneven":
        own, batch_size = uneven_rows(group), UNEVEN_BATCH

    def end(batch: int, logs: object = None) -> None:
        if index == 1 and batch == 1 and mode == "hang":
            os.kill(os.getpid(), signal.SIGKILL)
        if index == 1 and batch == 1 and mode == "fail":
            raise ValueError("a broken row")

    losses: list[float] = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_begin=end, on_train_batch_end=lambda batch, logs: losses.append(float(logs["loss"]))
    )
    labels = np.roll(own, -1, axis=1)
    lm.fit({"token_ids": own}, labels, batch_size=batch_size, shuffle=False, callbacks=[callback])
    found = {"index": index, "losses": losses}
    if mode == "uneven":
        found |= lm.evaluate({"token_ids": own}, labels, batch_size=batch_size, verbose=0, return_dict=True)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
