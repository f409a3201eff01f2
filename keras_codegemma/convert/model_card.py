"""The model card that is written where there is none: the figures that are known, and what is not."""

from keras_codegemma.config import CodeGemmaConfig


def default_card(config: CodeGemmaConfig) -> str:
    """A Markdown card for a model whose makers wrote none.

    Args:
        config: the architecture.
    """
    heads = f"{config.num_query_heads} query heads, {config.num_key_value_heads} key-value heads"
    return f"""# Model card

Saved by keras_codegemma; its maker has not described it yet. Please say here what it was trained on, how it
was tested, and what it must not be used for.

| what | value |
| --- | --- |
| parameters | {config.parameter_count:,} |
| architecture | Gemma 1: {config.num_layers} layers, width {config.hidden_dim}, {heads} \
of {config.head_dim}, GeGLU width {config.feedforward_dim} per branch, vocabulary {config.vocabulary_size} |
| context | {config.context_length} tokens |

If these weights come from Google's CodeGemma, the Gemma terms of use (https://ai.google.dev/gemma/terms)
apply to them, whoever trained them further.
"""
