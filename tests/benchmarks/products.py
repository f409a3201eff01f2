"""Products of many bfloat16 rows, with weights of bfloat16, int8 and int4, by the native kernel and by XLA.

python -m tests.benchmarks.products
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from keras_codegemma.kernels.matmul import matmul
from keras_codegemma.kernels.quantized_matmul import quantize, quantized_matmul
from tests.benchmarks.alternating import medians, speeds

# Rows, inputs, outputs, heads: of the tiny preset's training step, and of prefilling 2B.
SHAPES = (
    *((8192, 256, 64, 4), (8192, 256, 256, 1), (8192, 256, 768, 1), (8192, 768, 256, 1)),
    *((512, 2048, 2048, 1), (512, 2048, 16_384, 1), (512, 16_384, 2048, 1), (64, 2048, 16_384, 1)),
)
QUANTIZED = ((512, 2048, 16_384), (512, 16_384, 2048), (72, 2048, 16_384), (24, 2048, 16_384), (8, 2048, 16_384))
SIDES = ("native", "xla_cpu")


def main() -> None:
    """Prints a line a shape."""
    of_floats()
    of_quantized()


def of_quantized() -> None:
    """Of int8 and int4."""
    for rows, inputs, outputs in QUANTIZED:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=(rows, inputs)), jnp.bfloat16)
        floats = rng.standard_normal((outputs, inputs), np.float32)
        for mode in ("int8", "int4"):
            seconds = medians(
                {
                    side: lambda x, w, side=side: quantized_matmul(x, [w], implementation=side)[0]
                    for side in ("native", "xla")
                },
                *(x, jax.tree.map(jnp.asarray, quantize(floats, mode))),
            )
            sys.stdout.write(f"{rows} x {inputs} -> {outputs}, {mode}: {speeds(seconds, 2 * x.size * outputs)}\n")


def of_floats() -> None:
    """Of bfloat16."""
    for rows, inputs, outputs, heads in SHAPES:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=(rows, inputs)), jnp.bfloat16)
        shape = (inputs, outputs) if heads == 1 else (heads, inputs, outputs)
        weight = jnp.asarray(rng.normal(size=shape), jnp.bfloat16)
        weights = {"inputs_first": weight, "outputs_first": weight.T} if heads == 1 else {"heads_first": weight}
        for layout, lying in weights.items():
            seconds = medians(
                {
                    side: lambda x, w, side=side, layout=layout: matmul(
                        x, w, layout=layout, out_dtype=jnp.bfloat16, implementation=side
                    )
                    for side in SIDES
                },
                *(x, jnp.array(lying)),
            )
            shown = speeds(seconds, 2 * rows * inputs * outputs * heads)
            sys.stdout.write(f"{rows} x {inputs} -> {heads} x {outputs}, {layout}: {shown}\n")


if __name__ == "__main__":
    main()
