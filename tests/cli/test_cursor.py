"""Places in files: line ends, marks and links survive; what the model sees has plain line ends."""

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_codegemma.cli.cursor import read_place


@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\r\n\0", codec="utf-8"), max_size=8), min_size=1),
    data=st.data(),
)
def test_every_place_of_every_text_is_found(tmp_path_factory, lines, data):
    ends = data.draw(st.lists(st.sampled_from(["\n", "\r\n", "\r"]), min_size=len(lines) - 1, max_size=len(lines) - 1))
    ends = [
        # A lone \r before an empty line that ends in \n would read as one \r\n.
        "\n" if end == "\r" and not lines[i + 1] else end
        for i, end in enumerate(ends)
    ]
    text = "".join(line + end for line, end in zip(lines, [*ends, ""], strict=True))
    if not text.removeprefix("\ufeff"):
        return
    mark = text.startswith("\ufeff")
    file = tmp_path_factory.mktemp("places") / "file.txt"
    file.write_bytes(text.encode())
    number = data.draw(st.integers(1, len(lines)))
    line = lines[number - 1].removeprefix("\ufeff" if mark and number == 1 else "")
    column = data.draw(st.integers(1, len(line) + 1))
    place = read_place(f"{file}:{number}:{column}")
    assert place.before + place.after == text
    assert place.prefix.split("\n")[-1] == line[: column - 1]
    assert place.suffix.split("\n")[0] == line[column - 1 :]
    assert (place.prefix + place.suffix).split("\n") == [lines[0].removeprefix("\ufeff"), *lines[1:]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_insertion_takes_the_files_line_ends_and_keeps_its_mark(tmp_path, end):
    file = tmp_path / "file.py"
    file.write_bytes(f"\ufeffa{end}b{end}".encode())
    read_place(f"{file}:2:2").insert("1\n2")
    assert file.read_bytes() == f"\ufeffa{end}b1{end}2{end}".encode()


def test_the_line_after_the_last_newline_is_a_place(tmp_path):
    file = tmp_path / "file.py"
    file.write_text("a\n")
    assert read_place(f"{file}:2").prefix == "a\n"
    with pytest.raises(click.UsageError, match="must be in a line from 1 to 2"):
        read_place(f"{file}:3")


def test_a_symbolic_link_stays_a_link(tmp_path):
    file, link = tmp_path / "file.py", tmp_path / "link.py"
    file.write_text("a\n")
    link.symlink_to(file)
    read_place(f"{link}:1").insert("b")
    assert link.is_symlink()
    assert file.read_text() == "ab\n"


def test_a_file_name_may_have_a_colon(tmp_path):
    file = tmp_path / "odd:7"
    file.write_text("a\nb\n")
    assert read_place(f"{file}:2").prefix == "a\nb"
    assert read_place(f"{file}:2:1").prefix == "a\n"


def test_a_file_of_nothing_but_a_byte_order_mark_is_empty(tmp_path):
    file = tmp_path / "file.py"
    file.write_bytes("\ufeff".encode())
    with pytest.raises(click.UsageError, match="is empty"):
        read_place(f"{file}:1")
