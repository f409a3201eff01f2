"""From a folder of code to a trained model: the example in `examples/`."""

import math

from examples import fit_on_a_folder
from tests.training.corpus.made_corpus import module


def test_fit_learns_from_a_corpus_that_the_pipeline_built(tmp_path, capsys):
    for number in range(12):
        (tmp_path / f"file{number}.py").write_text(module(500 + number), encoding="utf-8")
    losses = fit_on_a_folder.main(tmp_path, steps=6, epochs=3)
    assert len(losses) == 3
    assert all(map(math.isfinite, losses))
    assert losses[2] < losses[0] - 0.05
    assert capsys.readouterr().out.startswith("loss of each epoch: ")
