"""What the tests of infilling, packing and loading share: documents, tokenizers, and small corpora."""

import functools
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from keras_codegemma.tokenizer import CodeGemmaTokenizer
from training.corpus.document import Document
from training.corpus.manifest import Manifest, write_manifest
from training.corpus.packing import PackedRow, lay_out, pack
from training.corpus.shards import write_shards
from training.corpus.text_encoder import TextEncoder
from training.corpus.tokenising import Encoded, EncodedFile

ROOT = Path(__file__).parents[3]
TINY_MODEL = ROOT / "presets/code_gemma_tiny/assets/tokenizer/vocabulary.spm"
REAL_MODEL = ROOT.parent / "shared/tokenizer/gemma_256k_fim.model"

# Any text that UTF-8 can write but U+2581, which comes back as a space, with what may be stumbled over made likely.
PIECES = (
    *(" ", "  ", " " * 33, "\t", "\n", "\n\n", "\n" * 33, "\r\n", "\r", "\x00", "\u2028", "\u200d", "\ufeff"),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_separator|>", "<bos>", "<eos>", "<pad>", "<unk>"),
    *("<unused0>", "<table>", "<0x0A>", "<|fim_", "|>", "<start_of_turn>", "[toxicity=0]", "a[i]", "x<y>"),
    *("def f(a):\n    return a\n", "if x {\n\ty();\n}\n", "foo", "foo_bar", "1234", "é", "日本", "😀", '"))', "'"),
)
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581"), max_size=8),
    ),
    max_size=24,
).map("".join)


@functools.cache
def tiny_encoder() -> TextEncoder:
    """Of the vocabulary of 8192 pieces."""
    return TextEncoder(CodeGemmaTokenizer(TINY_MODEL))


@functools.cache
def real_encoder() -> TextEncoder:
    """Of CodeGemma's vocabulary; for tests marked `shared`."""
    return TextEncoder(CodeGemmaTokenizer(REAL_MODEL))


def document(text: str, *, path: str = "src/a.py", repository: str = "pypi:a") -> Document:
    """A document of this text."""
    return Document(repository=repository, path=path, revision="1", licence="MIT", language="python", text=text)


@functools.cache
def library(count: int) -> tuple[Document, ...]:
    """Files of Python's own library, in the order of their names."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    paths = sorted(folder.glob("*.py"))[:count]
    assert len(paths) == count
    return tuple(document(path.read_text("utf-8"), path=path.name, repository="folder:lib") for path in paths)


def example_of(token_ids: Sequence[int], *, weights: Sequence[float] | None = None) -> Encoded:
    """An encoded example of one made-up file."""
    ids = np.array(token_ids, np.int32)
    file = EncodedFile(
        document_id=f"{int(ids[0]):032x}",
        start=0,
        end=len(ids),
        first_token=1,
        num_tokens=len(ids) - 1,
        role="target",
        layout=None,
        span_kind=None,
        middle_tokens=0,
        cut=None,
    )
    loss = np.ones(len(ids), np.float32) if weights is None else np.array(weights, np.float32)
    loss[:1] = 0
    return Encoded(token_ids=ids, loss_weights=loss, files=(file,))


def numbered_rows(count: int, *, sequence_length: int = 16) -> list[PackedRow]:
    """Rows of two examples; the first id of row i is i + 1, so that rows can be told apart."""
    return [
        lay_out([example_of([i + 1, 5, 6, 7]), example_of([9, 8, i % 7 + 1])], sequence_length=sequence_length)
        for i in range(count)
    ]


def write_corpus(folder: Path, rows: Sequence[PackedRow], *, rows_per_shard: int, vocabulary_size: int) -> Manifest:
    """A corpus of these rows."""
    manifest = Manifest(
        sequence_length=len(rows[0].token_ids),
        vocabulary_size=vocabulary_size,
        tokenizer_sha256="0" * 64,
        seed=0,
        epoch=0,
        shards=tuple(write_shards(rows, folder, rows_per_shard=rows_per_shard)),
        recipe={"name": "test"},
        counts={"documents": 3},
    )
    write_manifest(folder, manifest)
    return manifest


def pack_all(examples: Sequence[Encoded], *, sequence_length: int) -> list[PackedRow]:
    """The rows of these examples."""
    return list(pack(examples, sequence_length=sequence_length))
