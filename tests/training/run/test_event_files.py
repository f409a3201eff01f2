"""TensorFlow reads the event files that are written without it."""

import pytest

from training.event_files import EventFile, _checksum


@pytest.mark.tensorflow
def test_tensorflow_reads_every_scalar_and_checks_the_checksums(tmp_path):
    import tensorflow as tf

    written = {step: {"loss": step / 8, "val_loss": -float(step)} for step in (0, 1, 127, 128, 300_000)}
    file = EventFile(tmp_path / "a")
    for step, values in written.items():
        file.add(step, values)
    file.close()
    (path,) = (tmp_path / "a").iterdir()
    records = [tf.compat.v1.Event.FromString(raw.numpy()) for raw in tf.data.TFRecordDataset(str(path))]
    assert records[0].file_version == "brain.Event:2"
    found = {one.step: {value.tag: value.simple_value for value in one.summary.value} for one in records[1:]}
    assert found == written


def test_the_checksum_is_crc_32c_masked():
    # RFC 3720, B.4: 32 bytes of zeros have CRC-32C 0x8a9136aa.
    crc = 0x8A9136AA
    masked = ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF
    assert _checksum(bytes(32)) == masked.to_bytes(4, "little")
