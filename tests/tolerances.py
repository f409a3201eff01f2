"""Every numeric tolerance of the tests, by what is compared and in which dtype, with the reason.

Loosening one is a decision to discuss, not a repair of a red test.
"""

TOLERANCES: dict[tuple[str, str], float] = {
    # Against an independent implementation, max |difference| / max |logits|. Both round float32 (6e-8) in another order
    # of summation over thousands of terms and several layers; another formula or layout is off by far more than 1e-5.
    ("logits", "float32"): 1e-5,
    # Against the tiny model's golden values, relative. They are written with five decimals, so the smallest of them
    # carry few digits.
    ("golden", "float32"): 1e-3,
    # Losses against KerasHub on the same weights and batch; a mean, so the errors of single logits average out.
    ("loss", "float32"): 1e-5,
    # Ours without logits against Keras's with them, on hidden states that are rounded to bfloat16 in another order.
    ("loss", "mixed_bfloat16"): 2.0**-9,
    # Weights after a few steps of plain descent by two formulas of the same loss, of the largest value.
    ("trained", "float32"): 1e-5,
    # Cached decode against the full forward: the same products in another order, as in ("logits", "float32").
    ("cached_decode", "float32"): 1e-5,
    # The divergence of a trained model's next token over int8 keys and values from that over floats, in nats, mean of
    # some places: an entry is off by at most 1/254 of the largest of its token and head, in each of 12 layers. 93
    # places of this package's source had a median of 3e-5 and at most 9e-4.
    ("int8_cache", "float32"): 3e-4,
    # A log-probability of a few nats, from logits within the above.
    ("logprob", "float32"): 2e-5,
    # Sums of such over a completion; a loss or score reached through another batch, padding or formula, relative.
    ("summed_logprobs", "float32"): 1e-3,
    ("rescored", "float32"): 1e-4,
    # Log-likelihoods of continuations for lm-evaluation-harness against one unpadded row and a softmax in float64,
    # absolute, in nats: sums of up to 130 terms within ('logprob', 'float32') whose errors mostly cancel.
    ("harness_likelihood", "float32"): 1e-4,
    # The same model on eight devices and on one, of the largest value of each array: sums in another order. Weights
    # after an AdamW step too; its first step is about the sign of a gradient, so a rate of 1e-4 bounds what noise does.
    ("sharded", "float32"): 1e-5,
    # Hidden states of the same tokens in another row or beside padding: other shapes, other order of sums.
    ("hidden", "float32"): 1e-5,
    # Single operations against float64, relative to the largest value. A float32 sum of a few dozen terms; with a
    # softmax or a norm around it; an adapter, two products after one another.
    ("product", "float32"): 1e-6,
    ("operation", "float32"): 1e-5,
    ("adapter", "float32"): 1e-4,
    # One rounding to bfloat16 is half a unit in its last place, 2^-9; a gradient's operands are rounded too; and
    # logits' cotangents are rounded before a sum of many, of which some cancel.
    ("product", "bfloat16"): 2.0**-9,
    ("gradient", "bfloat16"): 2.0**-8,
    ("gradient", "float32"): 1e-6,
    ("logits_gradient", "bfloat16"): 0.02,
    # The gradient of a weight through a whole model against autodiff of a plain one in float64, or of the same tokens
    # in other rows, of its largest value: float32 sums over tokens, heads and layers, as in ("logits", "float32").
    ("model_gradient", "float32"): 1e-5,
    # Attention and its gradients against the float32 reference, of the largest value: the weights and, backwards,
    # their gradients are rounded to bfloat16 before sums of up to 384 terms, of which many cancel.
    ("attention", "float32"): 5e-6,
    ("attention", "bfloat16"): 2.0**-6,
    # The fused loss: float32 sums of exact products; its gradients through one rounding of the softmax.
    ("fused_loss", "float32"): 2e-6,
    ("fused_loss_gradient", "float32"): 5e-6,
    ("fused_loss_gradient", "bfloat16"): 2.0**-6,
    # Norms and gated units against the float32 reference, of the largest value: float32 sums of up to 3072 terms in
    # another order; in bfloat16 one rounding, half a unit in the last place, of results and of rows' gradients.
    ("rms_norm", "float32"): 5e-6,
    ("rms_norm", "bfloat16"): 2.0**-8,
    ("geglu", "float32"): 5e-6,
    ("geglu", "bfloat16"): 2.0**-8,
    # Through the two products: gradients of gate and up are rounded before they are multiplied and summed.
    ("geglu_products", "float32"): 1e-5,
    ("geglu_products", "bfloat16"): 2.0**-7,
    # Quantised products, relative to the largest result, summed in float32 in another order than the reference over up
    # to some thousand terms (what rounding to 16 bits adds to some of them, their test computes); XLA's int4 version
    # rounds scaled weights to bfloat16, 2^-9, where the kernels do not.
    ("quantized_product", "float32"): 1e-5,
    ("quantized_product", "bfloat16"): 1e-5,
    ("quantized_product_by_xla", "float32"): 1e-5,
    ("quantized_product_by_xla", "bfloat16"): 2.0**-8,
    # Logits of the same quantised model with and without kernels: some layers of the above in float32; in bfloat16 the
    # roundings of activations fall differently.
    ("quantized_logits", "float32"): 1e-5,
    ("quantized_logits", "bfloat16"): 0.03,
    # Our bfloat16 error divided by KerasHub's, both against float32: a little room for rounding's luck.
    ("error_ratio", "bfloat16"): 1.2,
}


def tolerance(name: str, dtype: str) -> float:
    """The tolerance of a comparison; a KeyError where the table has none."""
    return TOLERANCES[name, dtype]
