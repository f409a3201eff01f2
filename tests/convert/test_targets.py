"""Where is written: hashes last, old folders replaced whole, other folders left alone."""

import pytest

from keras_codegemma import convert
from keras_codegemma.convert.files import replacing_folder
from tests.convert.random_checkpoints import LIKE_2B, LIKE_7B, random_checkpoint


def test_every_file_is_hashed_and_a_changed_one_is_named(tmp_path):
    folder = tmp_path / "preset"
    convert.write_keras_hub(random_checkpoint(LIKE_2B, tokenizer=True), folder)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(convert.recorded_hashes(folder)) == files - {"hashes.json"}
    with (folder / "model.weights.h5").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    (folder / "task.json").unlink()
    with pytest.raises(ValueError, match=r"task\.json is missing") as caught:
        convert.open_folder(folder)
    assert "model.weights.h5 has sha256" in str(caught.value)
    assert "delete these files and fetch them again" in str(caught.value)
    convert.open_folder(folder, verify_hashes=False).readable_weights().close()


def test_a_hash_list_of_another_form_is_refused(keras_hub_folder):
    (keras_hub_folder / "hashes.json").write_text('{"algorithm": "md5", "files": {}}')
    with pytest.raises(ValueError, match="must say algorithm 'sha256' and list files"):
        convert.open_folder(keras_hub_folder)


def test_a_folder_of_other_files_is_not_written_to(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for write in (convert.write_keras_hub, convert.write_hugging_face):
        with pytest.raises(FileExistsError, match="must be empty or hold an earlier preset"):
            write(random_checkpoint(LIKE_2B), tmp_path)
        with pytest.raises(FileExistsError, match="The target must be a folder"):
            write(random_checkpoint(LIKE_2B), tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_earlier_preset_is_replaced_and_its_other_files_stay(tmp_path):
    folder = tmp_path / "preset"
    convert.write_keras_hub(random_checkpoint(LIKE_2B), folder, max_shard_size=0.001)
    (folder / "MODEL_CARD.md").write_text("My card")
    (folder / "licences").mkdir()
    (folder / "licences" / "one.txt").write_text("one")
    convert.write_keras_hub(random_checkpoint(LIKE_7B), folder)
    assert (folder / "MODEL_CARD.md").read_text() == "My card"
    assert (folder / "licences" / "one.txt").read_text() == "one"
    assert not list(folder.glob("model_*.h5"))
    assert {"MODEL_CARD.md", "licences/one.txt"} <= set(convert.recorded_hashes(folder))
    with convert.open_folder(folder) as checkpoint:
        assert checkpoint.config == LIKE_7B
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]


def test_a_failed_write_leaves_the_old_folder_alone(tmp_path):
    folder = tmp_path / "preset"
    convert.write_keras_hub(random_checkpoint(LIKE_2B), folder)

    def write():
        with replacing_folder(folder, ours=frozenset({"config.json"})) as target:
            (target / "config.json").write_text("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["preset"]
    with convert.open_folder(folder) as checkpoint:
        assert checkpoint.config == LIKE_2B


def test_a_new_model_gets_a_card_with_its_figures(tmp_path):
    convert.write_keras_hub(random_checkpoint(LIKE_2B), tmp_path / "preset")
    card = (tmp_path / "preset" / "MODEL_CARD.md").read_text()
    assert f"{LIKE_2B.parameter_count:,}" in card
    assert "its maker has not described it yet" in card
