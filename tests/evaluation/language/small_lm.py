"""A model that compiles fast, with the vocabulary of the preset that ships and room for 128 tokens."""

import keras_codegemma as kcg
from keras_codegemma.config import CodeGemmaConfig
from tests.fresh_process import ROOT
from tests.small_models import random_backbone

CONTEXT = 128


def small_lm(*, seed: int = 7) -> kcg.CodeGemmaCausalLM:
    """One layer of seeded random weights."""
    config = CodeGemmaConfig(
        vocabulary_size=8192,
        num_layers=1,
        num_query_heads=2,
        num_key_value_heads=1,
        hidden_dim=32,
        feedforward_dim=32,
        head_dim=16,
        context_length=CONTEXT,
    )
    (vocabulary,) = (ROOT / "presets/code_gemma_tiny/assets").rglob("*.spm")
    preprocessor = kcg.CodeGemmaCausalLMPreprocessor(kcg.CodeGemmaTokenizer(vocabulary))
    return kcg.CodeGemmaCausalLM(random_backbone(config, seed=seed), preprocessor)
