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
    # Cached decode against the full forward: the same products in another order, as in ("logits", "float32").
    ("cached_decode", "float32"): 1e-5,
    # Our bfloat16 error divided by KerasHub's, both against float32: a little room for rounding's luck.
    ("error_ratio", "bfloat16"): 1.2,
}


def tolerance(name: str, dtype: str) -> float:
    """The tolerance of a comparison; a KeyError where the table has none."""
    return TOLERANCES[name, dtype]
