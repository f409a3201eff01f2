"""What users hold: a backbone, a preprocessor and the tied output, with generate, infill, chat, score and fit."""

import base64
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import keras
import numpy as np

from keras_codegemma import adapters, batches, requests, sampling, token_scores
from keras_codegemma.backbone import DEFAULT_LORA_TARGETS, CodeGemmaBackbone, with_optional_inputs
from keras_codegemma.cache import DTYPES as CACHE_DTYPES
from keras_codegemma.completion import Completer, IdsOnly, Prompt
from keras_codegemma.fim import ContextFile
from keras_codegemma.generation import Generator
from keras_codegemma.preprocessor import CodeGemmaCausalLMPreprocessor
from keras_codegemma.scoring import Scorer
from keras_codegemma.stopping import StopAt
from keras_codegemma.tokenizer import CodeGemmaTokenizer
from keras_codegemma.trainer import LABELS, LOSS_FACTOR, REFERENCE, CausalLMTrainer


@keras.saving.register_keras_serializable(package="keras_codegemma")
class CodeGemmaCausalLM(CausalLMTrainer):
    """CodeGemma with its tokenizer: completes, fills in, chats, scores and trains.

    Called on a dict of arrays as `CodeGemmaBackbone` takes it, it returns float32 logits [B, T, V].

    Args:
        backbone: the decoder.
        preprocessor: text to ids and back; without one, only arrays of ids are accepted.
        **options: `name` and `trainable` of `keras.Model`.
    """

    def __init__(
        self,
        backbone: CodeGemmaBackbone,
        preprocessor: CodeGemmaCausalLMPreprocessor | None = None,
        **options,
    ):
        inputs = backbone.input
        logits = backbone.token_embedding(backbone(inputs), reverse=True)
        super().__init__(inputs=inputs, outputs=logits, **options)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.sampler: sampling.Sampler = sampling.GreedySampler()
        self.dtype_policy = backbone.dtype_policy

    def __call__(self, inputs, *args, **kwargs):
        return super().__call__(with_optional_inputs(inputs), *args, **kwargs)

    def call(self, inputs, training=None, mask=None):
        """Logits [B, T, V]; of features with labels, as training steps pass them past __call__, token scores."""
        reference = None
        if isinstance(inputs, dict):
            reference = inputs.get(REFERENCE)
            inputs = {name: value for name, value in inputs.items() if name not in (LOSS_FACTOR, REFERENCE)}
        if not isinstance(inputs, dict) or LABELS not in inputs:
            return super().call(with_optional_inputs(inputs), training=training, mask=mask)
        rows, partition = inputs["token_ids"].shape[0], self.backbone.partition
        if partition is not None:
            inputs = partition.padded(inputs, rows)
        labels = inputs[LABELS]
        features = with_optional_inputs({name: value for name, value in inputs.items() if name != LABELS})
        found = self.backbone.token_embedding.statistics(self.backbone(features, training=training), labels)
        scores = token_scores.pack(
            found.log_total - found.label_logit, found.log_total, found.best, self._in_middle(features)
        )[:rows]
        return scores if reference is None else token_scores.relative_to(scores, reference)

    # Presets

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike[str],
        *,
        dtype: Any = None,
        quantization: str | None = None,
        load_weights: bool = True,
        revision: str | None = None,
    ) -> "CodeGemmaCausalLM":
        """Loads a model by preset name, handle or folder.

        Args:
            preset: a name that `presets.list()` shows, a `kaggle://`, `hf://` or `gs://` handle, or a folder in
                KerasHub's or Hugging Face's layout.
            dtype: dtype policy, "bfloat16" for the published weights as they are; None for Keras's global policy.
                "int8_from_bfloat16" is dtype="bfloat16" with quantization="int8".
            quantization: "int8", "int4" or "int4/32": quantises each weight as it is read, so that the whole model
                never exists in floats; None keeps a preset as it is saved. See `quantize`.
            load_weights: false initialises at random.
            revision: of an `hf://` repository.

        Raises:
            ValueError, OSError: as `presets.load` says.
        """
        from keras_codegemma import presets

        loaded = presets.load(
            preset, dtype=dtype, quantization=quantization, load_weights=load_weights, revision=revision
        )
        return cls(loaded.backbone, loaded.preprocessor)

    def save_to_preset(self, folder: str | os.PathLike[str], *, max_shard_size: float = 10.0) -> None:
        """Writes a preset folder that we and KerasHub load; adapters are merged into their weights.

        Args:
            folder: to be created, or an earlier preset to be replaced.
            max_shard_size: gigabytes above which the weights are split into several files.
        """
        from keras_codegemma import presets

        presets.save(self, folder, max_shard_size=max_shard_size)

    def export_to_transformers(self, folder: str | os.PathLike[str]) -> None:
        """Writes a folder in Hugging Face's layout; adapters are merged into their weights."""
        from keras_codegemma import convert

        convert.export_to_transformers(self, folder)

    # Generation

    @property
    def cache_dtype(self) -> str | None:
        """How generation stores keys and values: "int8", "bfloat16", "float32", or None for the dtype of computation.

        "int8" has a scale for each token and key-value head, and takes half the memory of "bfloat16": 2B 9,360 bytes a
        token instead of 18,432. It is for long texts and many rows on an accelerator; on a CPU None is faster. It holds
        for the calls after it, and is not saved.

        Raises:
            ValueError: set to anything else.
        """
        return self._generator.cache_dtype

    @cache_dtype.setter
    def cache_dtype(self, choice: str | None) -> None:
        if choice is not None and choice not in CACHE_DTYPES:
            raise ValueError(
                f"cache_dtype must be None or one of {CACHE_DTYPES}; got {choice!r}. Use 'int8' to save memory."
            )
        self._generator.cache_dtype = choice

    def generate(
        self,
        inputs: str | Sequence[str] | Mapping[str, Any],
        max_length: int | None = None,
        stop_token_ids: Sequence[int] | str | None = "auto",
        strip_prompt: bool = False,
        *,
        max_new_tokens: int | None = None,
        stop_at: StopAt = None,
        sampler: str | sampling.Sampler | None = None,
        seed: int | None = None,
        parse_special: bool = False,
        stream: bool = False,
    ) -> Any:
        """Continues prompts.

        Args:
            inputs: a prompt, a list of them, or a dict of `token_ids` and `padding_mask` [B, T], real tokens first.
            max_length: tokens of prompt and continuation together; the preprocessor's `sequence_length` by default.
            stop_token_ids: ids that end the text; "auto" for the end of text and the four FIM and file sentinels,
                None for none.
            strip_prompt: whether the result is the continuation alone.
            max_new_tokens: tokens of the continuation, instead of `max_length`.
            stop_at: a text stop: "line", "block" or a list of strings.
            sampler: a name or an object of `keras_codegemma.samplers`; None for the one given to `compile`, or greedy.
            seed: reproduces a random result; None draws one from numpy, which `keras.utils.set_random_seed` seeds.
            parse_special: whether sentinels spelled in the prompt become commands.
            stream: whether to return an iterator of pieces of the continuation (one prompt only).

        Returns:
            As the input: a text, a list of texts, or a dict of arrays [B, max_length].

        Raises:
            ValueError: a prompt that leaves no room for a new token, a length beyond the context, or another bad value.
        """
        call = self._call(self._stop_ids(stop_token_ids), sampler, seed)
        context = self.backbone.config.context_length
        if isinstance(inputs, Mapping):
            prompts = requests.id_prompts(inputs, context=context, max_length=max_length, max_new_tokens=max_new_tokens)
            return self._continue_ids(prompts, max_length or inputs["token_ids"].shape[1], strip_prompt, call)
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        prompts = requests.continuation_prompts(
            texts,
            self._needs_preprocessor("generate from text"),
            context=context,
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            stop_at=stop_at,
            parse_special=parse_special,
        )
        if stream:
            requests.check_one_stream(1 if isinstance(inputs, str) else 0)
            return self._completer.stream(prompts[0], **call)
        results = self._completer.complete(prompts, **call)
        outputs = [
            result.text if strip_prompt else text + result.text for text, result in zip(texts, results, strict=True)
        ]
        return outputs[0] if isinstance(inputs, str) else outputs

    def infill(
        self,
        prefix: str | Sequence[str],
        suffix: str | Sequence[str],
        *,
        path: str | None = None,
        context_files: Sequence[ContextFile] = (),
        layout: str | None = None,
        max_new_tokens: int = 128,
        num_samples: int = 1,
        stop_at: StopAt = None,
        sampler: str | sampling.Sampler | None = None,
        seed: int | None = None,
        stream: bool = False,
        details: bool = False,
    ) -> Any:
        """Fills in what belongs between a prefix and a suffix.

        What does not fit into the context is left out, far ends first: context files, then the start of the prefix
        and the end of the suffix. `Completion.trimmed` says how much.

        Args:
            prefix: text before the cursor; a list fills in several places together.
            suffix: text after the cursor; a list where `prefix` is one.
            path: of the file, as the model is to see it.
            context_files: (path, text) of other files, the most useful last.
            layout: "psm" or "spm"; None for the preset's better one.
            max_new_tokens: the most tokens to fill in.
            num_samples: completions of each place; above 1 the default sampler is `requests.DEFAULT_SAMPLES_SAMPLER`.
            stop_at: a text stop: "line", "block" or a list of strings; None where the model stops.
            sampler: as in `generate`.
            seed: as in `generate`.
            stream: whether to return an iterator of pieces of text (one place, one sample).
            details: whether to return `Completion` objects also for one sample.

        Returns:
            The text; with `num_samples` above 1 a list of `Completion`; for lists of places, a list of these.

        Raises:
            ValueError: lists of different lengths, several samples of a sampler without chance, a budget beyond the
                context, or another bad value.
        """
        single = isinstance(prefix, str)
        places = requests.places(prefix, suffix)
        if sampler is None and num_samples != 1:
            sampler = requests.DEFAULT_SAMPLES_SAMPLER
        call = self._call(self._stop_ids("auto"), sampler, seed)
        requests.check_samples(num_samples, call["sampler"])
        prompts = [
            requests.infill_prompt(
                place,
                self._needs_preprocessor("fill in text"),
                context=self.backbone.config.context_length,
                path=path,
                context_files=context_files,
                layout=layout,
                max_new_tokens=max_new_tokens,
                stop_at=stop_at,
            )
            for place in places
        ]
        if stream:
            requests.check_one_stream(1 if single else 0, num_samples)
            return self._completer.stream(prompts[0], **call)
        results = self._completer.complete([prompt for prompt in prompts for _ in range(num_samples)], **call)
        grouped: list[Any] = [results[i : i + num_samples] for i in range(0, len(results), num_samples)]
        if num_samples == 1:
            grouped = [group[0] if details else group[0].text for group in grouped]
        return grouped[0] if single else grouped

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        max_new_tokens: int = 512,
        stop_at: StopAt = None,
        sampler: str | sampling.Sampler | None = None,
        seed: int | None = None,
        stream: bool = False,
    ) -> Any:
        """Answers a conversation with the instruction-tuned model.

        Args:
            messages: `{"role": "user" | "assistant", "content": text}`, alternating from the user; a first `system`
                message is put into the first user turn.
            max_new_tokens: the most tokens of the answer.
            stop_at, sampler, seed, stream: as in `generate`.

        Returns:
            The answer, or an iterator of its pieces.

        Raises:
            ValueError: bad roles, or a conversation that leaves no room for an answer.
        """
        preprocessor = self._needs_preprocessor("chat")
        prompt = requests.chat_prompt(
            messages,
            preprocessor,
            context=self.backbone.config.context_length,
            max_new_tokens=max_new_tokens,
            stop_at=stop_at,
        )
        call = self._call(preprocessor.tokenizer.chat_stop_ids, sampler, seed)
        if stream:
            return self._completer.stream(prompt, **call)
        return self._completer.complete([prompt], **call)[0].text

    def score(self, texts: Any, *, batch_size: int = 8) -> Any:
        """Log-probabilities of the tokens of given texts, in nats.

        Args:
            texts: a text, a (prefix, suffix, middle) triple of which only the middle counts, or a list of such.
            batch_size: rows scored together.

        Returns:
            A float32 array with one number per token that training counts: of a text, those after `<bos>` and its
            `<eos>`; of a triple, those of the middle and its `<|file_separator|>`. A list of arrays for a list.

        Raises:
            ValueError: a text of more tokens than the context.
        """
        preprocessor = self._needs_preprocessor("score text")
        single = batches.is_example(texts)
        examples = [texts] if single else list(texts)
        encoded = [preprocessor.encode_for_scoring(example) for example in examples]
        limit = self.backbone.config.context_length
        for index, (ids, _) in enumerate(encoded):
            if len(ids) > limit:
                raise ValueError(
                    f"A text to score may have at most {limit} tokens, the model's context; text {index} has "
                    f"{len(ids)}. Split it."
                )
        scores: list[np.ndarray] = []
        for start in range(0, len(encoded), batch_size):
            scores += self._scorer.log_probs([ids for ids, _ in encoded[start : start + batch_size]])
        chosen = [score[first - 1 :] for score, (_, first) in zip(scores, encoded, strict=True)]
        return chosen[0] if single else chosen

    # Training

    def compile(self, optimizer="auto", loss="auto", *, sampler=None, **options):
        """Configures training and generation.

        Args:
            sampler: the default of `generate`, `infill` and `chat`.
            optimizer, loss, **options: as `CausalLMTrainer.compile` says.
        """
        self.sampler = sampling.get(sampler)
        super().compile(optimizer, loss, **options)

    def enable_lora(
        self, rank: int, *, alpha: float | None = None, target_names: tuple[str, ...] = DEFAULT_LORA_TARGETS
    ) -> None:
        """Adds adapters and freezes the rest; see `CodeGemmaBackbone.enable_lora`. Call `compile` afterwards."""
        self.backbone.enable_lora(rank, alpha=alpha, target_names=target_names)

    def quantize(self, mode=None, config=None, **options):
        """Quantises the weights of projections and embedding in place; see `CodeGemmaBackbone.quantize`.

        `save_to_preset` then saves them as they are. Call `compile` again before training adapters.
        """
        self.backbone.quantize(mode, config=config, **options)
        self._is_quantized = True
        self.train_function = self.test_function = self.predict_function = None

    def save_lora_weights(self, path: str | os.PathLike[str]) -> None:
        """Writes the adapters alone to a `.safetensors` file; see `adapters.save`."""
        adapters.save(self.backbone, path)

    def load_lora_weights(self, path: str | os.PathLike[str]) -> None:
        """Reads adapters into this model, adding them first where it has none; see `adapters.load`."""
        adapters.load(self.backbone, path)

    def get_config(self) -> dict[str, Any]:
        """Everything but the weights, the vocabulary included, so that a `.keras` file (`ModelCheckpoint`) is whole."""
        preprocessor = self.preprocessor
        return {
            "name": self.name,
            "trainable": self.trainable,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "preprocessor": None if preprocessor is None else preprocessor.get_config(),
            "vocabulary": (
                None if preprocessor is None else base64.b64encode(preprocessor.tokenizer.model_bytes).decode("ascii")
            ),
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"), custom_objects=custom_objects)
        options, vocabulary = config.pop("preprocessor"), config.pop("vocabulary")
        if options is None:
            return cls(backbone, None, **config)
        tokenizer = CodeGemmaTokenizer(base64.b64decode(vocabulary))
        return cls(backbone, CodeGemmaCausalLMPreprocessor.from_config(options, tokenizer=tokenizer), **config)

    # Parts

    @cached_property
    def _generator(self) -> Generator:
        return Generator(self.backbone)

    @cached_property
    def _completer(self) -> Completer:
        return Completer(self._generator, self._needs_preprocessor("make text").tokenizer)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(self.backbone)

    def _needs_preprocessor(self, task: str) -> CodeGemmaCausalLMPreprocessor:
        if self.preprocessor is None:
            raise ValueError(
                f"A preprocessor is needed to {task}; this model has none. Load it from a preset, or pass "
                "preprocessor=CodeGemmaCausalLMPreprocessor(tokenizer)."
            )
        return self.preprocessor

    def _in_middle(self, features: Mapping[str, Any]) -> Any:
        if self.preprocessor is None:  # `compile` has seen to it that no metric asks
            return jnp.zeros(features["token_ids"].shape, bool)
        ids = self.preprocessor.tokenizer
        return token_scores.labels_in_middle(
            features["token_ids"],
            features["segment_ids"],
            begin=ids.fim_middle_id,
            ends=(ids.file_separator_id, ids.end_token_id),
        )

    def _sampler(self, sampler: str | sampling.Sampler | None) -> sampling.Sampler:
        return self.sampler if sampler is None else sampling.get(sampler)

    def _stop_ids(self, stop_token_ids: Sequence[int] | str | None) -> tuple[int, ...]:
        if stop_token_ids is None:
            return ()
        if not isinstance(stop_token_ids, str):
            return tuple(int(i) for i in stop_token_ids)
        if stop_token_ids != "auto":
            raise ValueError(
                f'stop_token_ids must be "auto", None or ids; got {stop_token_ids!r}. Pass a tuple of ids.'
            )
        return tuple(self._needs_preprocessor("know the stop ids").tokenizer.infill_stop_ids)

    def _call(self, stop_ids, sampler, seed) -> dict[str, Any]:
        return {
            "stop_ids": tuple(stop_ids),
            "sampler": self._sampler(sampler),
            "seed": requests.random_seed(seed),
        }

    def _continue_ids(self, prompts: list[Prompt], width: int, strip_prompt: bool, call: dict[str, Any]):
        results = Completer(self._generator, IdsOnly()).complete(prompts, **call)
        rows = [
            ([] if strip_prompt else prompt.token_ids) + result.token_ids
            for prompt, result in zip(prompts, results, strict=True)
        ]
        width = max(width, *map(len, rows))
        token_ids, mask = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), bool)
        for index, row in enumerate(rows):
            token_ids[index, : len(row)] = row
            mask[index, : len(row)] = True
        return {"token_ids": token_ids, "padding_mask": mask}
