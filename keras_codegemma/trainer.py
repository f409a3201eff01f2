"""Training of a causal language model through `fit`: a loss without logits, and examples instead of arrays.

Keras's step calls the model, then the loss. Here the labels go into the model with the features, and what comes out
are token scores (`token_scores.py`) instead of logits, unless the loss or a metric is one of logits.
"""

from typing import Any

import jax
import keras

from keras_codegemma import batches, distribution, token_scores
from keras_codegemma.distribution.rows import LOSS_FACTOR, FilledBatches, agree_on_rows

LABELS = "labels"
"""The entry of the features that asks a model for token scores."""

REFERENCE = "reference"
"""The entry [B] of nats per learned token that are taken off the cross-entropies of token scores: another model's, so
that the sum over a row's learned tokens is that of both models' difference."""


class CausalLMTrainer(keras.Model):
    """`compile`, `fit` and `evaluate` of a model whose features are dicts of arrays.

    A subclass has `preprocessor`, and returns token scores where its features hold `LABELS`.
    """

    preprocessor: Any = None
    _by_scores = False

    def compile(self, optimizer="auto", loss="auto", *, metrics=None, weighted_metrics="auto", **options):
        """Configures training; the defaults are KerasHub's for Gemma.

        Losses and metrics of `keras_codegemma.token_scores` need no logits, [batch, length, vocabulary] float32
        numbers. Keras's own work too, at that price: where one is given, "auto" means Keras's for the others.

        Args:
            optimizer: "auto" for Adam at 2e-5.
            loss: "auto" for `token_scores.CrossEntropy()`, the cross-entropy of the next id, summed over tokens times
                their weights and divided by the number of positions, padding included, as Keras and KerasHub do.
            metrics: as `keras.Model.compile` takes them; these count padding.
            weighted_metrics: "auto" for token accuracy and `nats_per_token`, the cross-entropy divided by the sum of
                the weights: what `-score(text).mean()` gives.
            **options: as `keras.Model.compile` takes them.

        Raises:
            ValueError: some of loss and metrics take token scores, others logits; or one of middles without a
                preprocessor that knows where they begin.
        """
        chosen_loss, chosen_metrics = (None if _is_auto(x) else x for x in (loss, weighted_metrics))
        by_scores = token_scores.suffice(chosen_loss, metrics, chosen_metrics)
        if token_scores.need_middles(metrics, chosen_metrics) and self.preprocessor is None:
            raise ValueError(
                "Metrics of middles need a preprocessor, which knows the id that a middle begins with; this model has "
                "none. Load it from a preset, or pass preprocessor=CodeGemmaCausalLMPreprocessor(tokenizer)."
            )
        super().compile(
            optimizer=keras.optimizers.Adam(2e-5) if _is_auto(optimizer) else optimizer,
            loss=_default_loss(by_scores) if _is_auto(loss) else loss,
            metrics=metrics,
            weighted_metrics=_default_metrics(by_scores) if _is_auto(weighted_metrics) else weighted_metrics,
            **options,
        )
        self._by_scores = by_scores
        if by_scores:
            self._build_for_scores()

    def _build_for_scores(self) -> None:
        # What Keras would learn from calling the model without labels.
        y_true, y_pred = (
            keras.KerasTensor((None, None), "int32"),
            keras.KerasTensor((None, None, token_scores.WIDTH), "float32"),
        )
        for part in (self._compile_loss, self._compile_metrics):
            if part is not None:
                part.build(y_true, y_pred)

    def compile_from_config(self, config):
        """Compiles as a saved model was; Keras leaves this out for models with a `compile` of their own."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None:
            self.optimizer.build(self.trainable_variables)

    def compute_loss_and_updates(
        self,
        trainable_variables,
        non_trainable_variables,
        metrics_variables,
        x,
        y,
        sample_weight,
        training=False,
        optimizer_variables=None,
    ):
        """Keras's step of JAX, with the labels among the features where token scores suffice."""
        if self._by_scores:
            if y is None:
                raise ValueError(
                    "Arrays to train on need labels, the next id of each; got features alone. Pass y, or examples."
                )
            x = {**x, LABELS: y}
        return super().compute_loss_and_updates(
            trainable_variables,
            non_trainable_variables,
            metrics_variables,
            x,
            y,
            sample_weight,
            training=training,
            optimizer_variables=optimizer_variables,
        )

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Keras's loss; where rows were filled up, of the real ones alone."""
        if isinstance(x, dict) and LOSS_FACTOR in x:
            sample_weight = sample_weight * x[LOSS_FACTOR][:, None]
        return super().compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        **options,
    ):
        """Trains on examples or arrays; everything else as in `keras.Model.fit`.

        Args:
            x: a list of texts, (prefix, suffix, middle) triples or chats; a dict of arrays; or a generator, tf.data,
                Grain or other iterable of examples, of lists of them, or of batches of arrays. With several processes,
                each passes its own rows: of lists and arrays any number, with the same `batch_size`; batches of a
                stream must have as many rows on each and divide over the mesh.
            y: labels int32 [B, T], for arrays.
            shuffle: whether lists and arrays come in a new order each epoch; streams keep their own.
            sample_weight: a number per example, for lists of examples; [B, T], for arrays.
            validation_data: (x,), (x, y) or (x, y, sample_weight) of any of these kinds, or such data itself.
        """
        data, ready = self._batches(x, y, sample_weight, batch_size=batch_size, shuffle=shuffle)
        if validation_data is not None:
            validation_data = self._validation(validation_data, batch_size)
        if ready and validation_split:
            raise ValueError(
                f"validation_split works on arrays of one process only; got {validation_split} with "
                f"{jax.process_count()} process(es) and {type(x).__name__}. Split the data and pass validation_data."
            )
        arrays = {} if ready else {"y": y, "batch_size": batch_size, "sample_weight": sample_weight}
        return super().fit(
            x=data,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            # Examples and streams have an order of their own; Keras warns of its own default where it cannot shuffle.
            shuffle=shuffle and not ready and not batches.is_stream(data),
            class_weight=class_weight,
            **arrays,
            **options,
        )

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, **options):
        """The loss and metrics on examples or arrays as `fit` takes them."""
        if options.get("_use_cached_eval_dataset"):  # Keras, validating within fit
            return super().evaluate(x, y, batch_size, verbose, sample_weight, **options)
        data, ready = self._batches(x, y, sample_weight, batch_size=batch_size, shuffle=False)
        arrays = {} if ready else {"y": y, "batch_size": batch_size, "sample_weight": sample_weight}
        return super().evaluate(x=data, verbose=verbose, **arrays, **options)

    def _batches(self, x, y, sample_weight, *, batch_size, shuffle):
        data, ready = batches.to_batches(
            x, y, sample_weight, preprocess=self.preprocessor, batch_size=batch_size, shuffle=shuffle
        )
        parallel = distribution.active()
        if parallel is None or jax.process_count() == 1:
            return data, ready
        size = batch_size or batches.DEFAULT_BATCH_SIZE
        if not ready and not isinstance(data, keras.utils.PyDataset) and not batches.is_stream(data):
            data = batches.ArrayBatches((data, y, sample_weight), batch_size=size, shuffle=shuffle)
        if not isinstance(data, batches.ShuffledBatches):
            return data, ready
        return FilledBatches(data, agree_on_rows(parallel, rows=data.rows, batch_size=size)), True

    def _validation(self, data, batch_size):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data) if isinstance(data, tuple) else (data, None, None)
        converted, ready = self._batches(x, y, weight, batch_size=batch_size, shuffle=False)
        return converted if ready or not isinstance(data, tuple) else data


def _is_auto(value: Any) -> bool:
    return isinstance(value, str) and value == "auto"


def _default_loss(by_scores: bool) -> keras.losses.Loss:
    return token_scores.CrossEntropy() if by_scores else keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _default_metrics(by_scores: bool) -> list[keras.metrics.Metric]:
    if by_scores:
        return token_scores.default_metrics()
    return [
        keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
        keras.metrics.SparseCategoricalCrossentropy(from_logits=True, name="nats_per_token"),
    ]
