"""Examples of tensorflow-datasets as files; the library itself is replaced by the features it would give."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from training.corpus.document import Dropped, RawFile
from training.corpus.reading import datasets
from training.corpus.reading.datasets import TEXT_SETS, TextSet
from training.corpus.reading.origin import Limits, Origin

ORIGIN = Origin(repository="tfds:x/1.0.0/train", revision="1.0.0", licence="Apache-2.0")


def test_an_example_is_a_file_of_its_own_repository():
    examples = [{"question": b"1 + 1?", "answer": "2"}]
    (item,) = datasets.files(examples, origin=ORIGIN, text_set=TEXT_SETS["math_dataset"])
    assert item == RawFile(
        repository="tfds:x/1.0.0/train#0",
        path="000000000.txt",
        revision="1.0.0",
        licence="Apache-2.0",
        data=b"1 + 1?\n2\n",
        language="text",
    )


def test_examples_that_are_no_text_are_counted():
    examples = [{"text": 1}, {}, {"text": b"\xff"}, {"text": "12345"}, {"text": "1234"}]
    items = datasets.files(examples, origin=ORIGIN, text_set=TEXT_SETS["c4"], limits=Limits(file_bytes=4))
    reasons = [item.reason if isinstance(item, Dropped) else "read" for item in items]
    assert reasons == ["no-text", "no-text", "not-utf-8", "too-large", "read"]


def test_an_empty_split_is_counted():
    (item,) = datasets.files([], origin=ORIGIN, text_set=TEXT_SETS["c4"])
    assert isinstance(item, Dropped)
    assert item.reason == "empty-repository"


def test_braces_in_a_text_are_text():
    (item,) = datasets.files([{"text": "{x}"}], origin=ORIGIN, text_set=TEXT_SETS["c4"])
    assert isinstance(item, RawFile)
    assert item.data == b"{x}"


def test_the_builder_is_asked_for_unshuffled_numpy_and_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch):
    calls = []

    class Builder:
        info = SimpleNamespace(full_name="wiki40b/en/1.3.0", version="1.3.0")

        def as_dataset(self, **arguments: object) -> list[dict[str, bytes]]:
            calls.append(arguments)
            return [{"text": b"words"}]

    def builder(name: str, data_dir: Path | None) -> Builder:
        calls.append((name, data_dir))
        return Builder()

    module = SimpleNamespace(builder=builder, as_numpy=lambda dataset: dataset)
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    (item,) = datasets.read("wiki40b/en:1.3.0", split="train", licence="CC-BY-SA-3.0", data_dir=Path("d"))
    assert calls == [("wiki40b/en:1.3.0", Path("d")), {"split": "train", "shuffle_files": False}]
    assert isinstance(item, RawFile)
    assert (item.repository, item.revision) == ("tfds:wiki40b/en/train#0", "1.3.0")


def test_an_unknown_set_needs_a_description():
    with pytest.raises(ValueError, match=r"got 'mine/x:1'\. Pass text_set=TextSet\(template=\.\.\.\)\."):
        list(datasets.read("mine/x:1", split="train", licence=None))


def test_a_template_names_a_feature():
    with pytest.raises(ValueError, match="A template names a feature in braces; got 'text'"):
        TextSet(template="text")
