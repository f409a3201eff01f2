"""Reading files back from the parts of an example."""

import re

import pytest

from keras_codegemma.fim import Sentinel
from tests.training.corpus.packed import document
from training.corpus.examples import Fragment, read_files, whole

SEPARATOR = Sentinel.FILE_SEPARATOR
PSM = (Sentinel.FIM_PREFIX, "a", Sentinel.FIM_SUFFIX, "c", Sentinel.FIM_MIDDLE, "b")
SPM = (Sentinel.FIM_SUFFIX, "c", Sentinel.FIM_PREFIX, "a", Sentinel.FIM_MIDDLE, "b")


def test_middles_are_put_back_between_prefix_and_suffix():
    parts = [None, "p.py\n", *PSM, SEPARATOR, "q.py\n", *SPM, SEPARATOR]
    assert read_files(parts) == (("p.py", "abc"), ("q.py", "abc"))


def test_whole_files_are_cut_after_the_path_line():
    assert read_files([None, "p.py\n\nx\n", SEPARATOR, "q.py\n", None]) == (("p.py", "\nx\n"), ("q.py", ""))


def test_empty_parts_may_be_missing():
    parts = [None, "p.py\n", Sentinel.FIM_PREFIX, Sentinel.FIM_SUFFIX, "c", Sentinel.FIM_MIDDLE, SEPARATOR]
    assert read_files(parts) == (("p.py", "c"),)


def test_text_after_the_end_is_refused():
    with pytest.raises(ValueError, match=re.escape("must end at <eos>; got 'q.py\\n' after it. Read examples one by")):
        read_files([None, "p.py\n", None, "q.py\n"])


def test_a_file_without_a_path_is_refused():
    with pytest.raises(ValueError, match=r"must begin with its path and a line feed; got 'abc'\. Give what"):
        read_files([None, "abc", None])


def test_a_fragment_knows_its_text_and_whether_it_is_all():
    file = document("abcdef")
    assert (whole(file).text, whole(file).is_whole) == ("abcdef", True)
    part = Fragment(document=file, start=2, end=4)
    assert (part.text, part.is_whole) == ("cd", False)
