"""Our model as the harness' `LM`: its requests to ids and prompts, and our answers back.

A pair of texts is cut into context and continuation by the harness' own code (`TemplateLM._encode_pair`, as for its
transformers models): spaces at the end of the context go to the continuation, whose tokens are those of the joint
encoding after as many as the context has. `<bos>` always comes first. What does not fit the model's context loses its
beginning, as in the harness' own models, and is counted in `Shortened`.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_codegemma import CodeGemmaCausalLM
from keras_codegemma.evaluation.language import continuation, likelihood
from keras_codegemma.evaluation.language.answers import Answers
from keras_codegemma.evaluation.language.continuation import Prompt
from keras_codegemma.evaluation.language.likelihood import Likelihoods, Pair

if TYPE_CHECKING:
    from lm_eval.api.model import TemplateLM

NEW_TOKENS = 256  # where a task names no number: `DEFAULT_MAX_GEN_TOKS` of the harness
FINGERPRINT_VALUES = 256  # of each weight; any training changes some of the first


@dataclass(kw_only=True)
class Shortened:
    """Problems of which a prompt lost its beginning, by task and number, and the most tokens that one prompt lost."""

    tokens: dict[tuple[str | None, int | None], int] = field(default_factory=dict)

    def note(self, request: Any, left_out: int) -> None:
        """Takes one request's loss."""
        if left_out:
            key = (request.task_name, request.doc_id)
            self.tokens[key] = max(left_out, self.tokens.get(key, 0))


def as_harness_model(
    lm: CodeGemmaCausalLM,
    *,
    batch_size: int = 8,
    likelihoods: Likelihoods | None = None,
    answers: Answers | None = None,
    shortened: Shortened | None = None,
) -> "TemplateLM":
    """The model as the harness takes it, for `lm_eval.evaluate` and `lm_eval.simple_evaluate` as well.

    Args:
        lm: with its preprocessor.
        batch_size: rows that run together.
        likelihoods: of the same model, to compile nothing twice.
        answers: keeps what was answered; in memory by default.
        shortened: takes down which prompts were too long.

    Raises:
        ValueError: a model without a preprocessor.
    """
    from lm_eval.api.model import TemplateLM

    if lm.preprocessor is None:
        raise ValueError(
            "A model to evaluate on text must have a preprocessor; this one has none. Load it from a preset, or pass "
            "preprocessor=CodeGemmaCausalLMPreprocessor(tokenizer)."
        )
    tokenizer, encode_prompt = lm.preprocessor.tokenizer, lm.preprocessor.encode_prompt
    context_length = lm.backbone.config.context_length
    scorer = Likelihoods(lm.backbone, batch_size=batch_size) if likelihoods is None else likelihoods
    known = Answers() if answers is None else answers
    cut = Shortened() if shortened is None else shortened

    class HarnessModel(TemplateLM):
        @property
        def eot_token_id(self) -> int:
            return tokenizer.end_token_id

        @property
        def prefix_token_id(self) -> int:
            return tokenizer.start_token_id

        @property
        def tokenizer_name(self) -> str:
            return hashlib.sha256(tokenizer.model_bytes).hexdigest()

        def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
            return tokenizer.encode(string) if add_special_tokens is False else encode_prompt(string)

        def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
            encoded = [(request.args, *self._encode_request(*request.args)) for request in requests]
            return self._loglikelihood_tokens(encoded, instances=requests)

        def _encode_request(self, context: str, text: str) -> tuple[list[int], list[int]]:
            if context == "":
                return [tokenizer.start_token_id], self.tok_encode(text, add_special_tokens=False)
            return self._encode_pair(context, text)

        def _loglikelihood_tokens(
            self, requests: list[Any], instances: Sequence[Any] = (), **unused: Any
        ) -> list[tuple[float, bool]]:
            fitted = [likelihood.fit(Pair(context, text), context_length) for _, context, text in requests]
            for instance, (_, left_out) in zip(instances, fitted, strict=False):
                cut.note(instance, left_out)
            return scorer.of([pair for pair, _ in fitted], known)

        def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
            texts = [tokenizer.encode(request.args[0]) for request in requests]
            windows = [rolling(ids, start=tokenizer.start_token_id, context_length=context_length) for ids in texts]
            scores = iter(scorer.of([pair for pairs in windows for pair in pairs], known))
            return [math.fsum(next(scores)[0] for _ in pairs) for pairs in windows]

        def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
            fitted = [continuation.fit(lm, asked(*request.args)) for request in requests]
            for request, (_, left_out) in zip(requests, fitted, strict=True):
                cut.note(request, left_out)
            return continuation.of(lm, [prompt for prompt, _ in fitted], known, batch_size=batch_size)

    return HarnessModel()


def asked(text: str, options: Mapping[str, Any]) -> Prompt:
    """A generating request as a prompt.

    Raises:
        ValueError: sampling, which no task of the table asks for.
    """
    from lm_eval.models.utils import normalize_gen_kwargs

    wanted: dict[str, Any] = {**normalize_gen_kwargs(dict(options), default_max_gen_toks=NEW_TOKENS)}
    if wanted["do_sample"]:
        raise ValueError(
            f"Requests must ask for greedy decoding; got {dict(options)}. Set do_sample to false and temperature to 0."
        )
    until = tuple(stop for stop in wanted["until"] if stop)
    return Prompt(text=text, until=until, max_new_tokens=wanted["max_gen_toks"])


def rolling(token_ids: Sequence[int], *, start: int, context_length: int) -> list[Pair]:
    """Pairs that score each token of a text once; every window after the first has at least the token before it.

    The last window has as much context as fits. All begin with `<bos>`, which takes a place of the context; in the
    harness' own models only the first does.

    Args:
        token_ids: of the text, without `<bos>`.
        start: the id of `<bos>`.
        context_length: in tokens.
    """
    # The last token of a window is predicted, not read: besides `<bos>` it holds as many as the context length.
    pairs = [Pair([start], list(token_ids[:context_length]))] if token_ids else []
    for first in range(context_length, len(token_ids), context_length - 1):
        scored = token_ids[first : first + context_length - 1]
        context = token_ids[first + len(scored) - context_length : first]
        pairs.append(Pair([start, *context], list(scored)))
    return pairs


def fingerprint(lm: CodeGemmaCausalLM) -> str:
    """A hash that tells models apart: architecture, dtype, vocabulary, and the first values of every weight."""
    hashed = hashlib.sha256(json.dumps(dataclasses.asdict(lm.backbone.config), sort_keys=True).encode())
    hashed.update(lm.dtype_policy.name.encode())
    if lm.preprocessor is not None:
        hashed.update(lm.preprocessor.tokenizer.model_bytes)
    for variable in lm.backbone.variables:
        # A row at a time: a whole embedding matrix would be fetched from the device for a few values.
        leading = variable.value[(0,) * (len(variable.shape) - 1)] if variable.shape else variable.value
        hashed.update(np.asarray(leading).reshape(-1)[:FINGERPRINT_VALUES].tobytes())
    return hashed.hexdigest()
