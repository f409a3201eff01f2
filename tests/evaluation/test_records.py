"""The files between the stages: checked fields, damaged lines named, tails of a kill cut off."""

import json
from pathlib import Path

import pytest

from keras_codegemma.evaluation import records


def _sample(number: int) -> dict:
    return {"task_id": f"t/{number}", "sample": 0, "completion": "é\n", "finish_reason": "stop", "seconds": 0.5}


def test_records_come_back(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with records.Appender(path, records.SAMPLE) as appender:
        appender.add([_sample(0), _sample(1)])
    with records.Appender(path, records.SAMPLE) as appender:
        appender.add([_sample(2)])
    assert records.read(path, records.SAMPLE).records == [_sample(0), _sample(1), _sample(2)]
    records.write(tmp_path / "other", map(_sample, range(3)), records.SAMPLE)
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_damaged_lines_are_named_and_nothing_else_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "samples.jsonl"
    records.write(path, map(_sample, range(6)), records.SAMPLE)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:20] + b"\n"
    lines[2] = b"\xff\xfe\n"
    lines[3] = b'{"task_id": "t/3"}\n'
    lines[4] = json.dumps({**_sample(4), "sample": "zero"}).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    read = records.read(path, records.SAMPLE)
    assert read.records == [_sample(0), _sample(5)]
    assert [damage.line for damage in read.damaged] == [2, 3, 4, 5]
    assert read.damaged[2].reason.startswith("must have the fields [")
    assert read.damaged[3].reason == "sample must be integer; got 'zero'"
    assert "line 2 is left out: no JSON" in caplog.text


def test_a_cut_off_tail_is_removed_before_more_is_added(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    records.write(whole, map(_sample, range(3)), records.SAMPLE)
    data = whole.read_bytes()
    path = tmp_path / "cut"
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        with records.Appender(path, records.SAMPLE) as appender:
            have = len(records.read(path, records.SAMPLE).records)
            appender.add([_sample(number) for number in range(have, 3)])
        assert path.read_bytes() == data, size


def test_a_long_tail_is_removed_whole(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(b"{}\n" + b"x" * 200_000)
    records.Appender(path, records.SAMPLE).close()
    assert path.read_bytes() == b"{}\n"


def test_a_bad_record_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    with (
        records.Appender(path, records.SAMPLE) as appender,
        pytest.raises(ValueError, match=r"sample must be integer; got True\. This is a mistake of the caller"),
    ):
        appender.add([_sample(0), {**_sample(1), "sample": True}])
    assert path.read_bytes() == b""
