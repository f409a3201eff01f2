"""`codegemma doctor`: what runs here, as text and as JSON."""

import importlib
import json

from keras_codegemma.kernels import native


def test_doctor_names_versions_devices_and_what_each_operation_takes(codegemma):
    result = codegemma("doctor")
    assert result.exit_code == 0
    assert result.stdout.startswith("keras_codegemma ")
    assert "cpu: cpu" in result.stdout
    lines = [line.split() for line in result.stdout.splitlines()]
    rows = {(line[0], line[1]): line[2] for line in lines if line and line[0] in ("matmul", "quantized_matmul")}
    assert rows["matmul", "float32_m1_n16384_k2048"] == "xla_cpu"
    expected = "native" if native.absence() is None else "xla"
    assert rows["quantized_matmul", "2xint8_m1_n16384_k2048"] == expected


def test_doctor_as_json_says_why_not(codegemma):
    document = json.loads(codegemma("doctor", "--json").stdout)
    row = next(row for row in document["operations"] if row["example"] == "float32_m1_n16384_k2048")
    assert row["not"] == {"native": "activations and weights must be bfloat16, got float32 and float32"}
    assert set(document) >= {"versions", "devices", "caches", "native"}
    dispatch = importlib.import_module("keras_codegemma.kernels.dispatch")
    assert document["operations_without_examples"] == []
    assert {row["operation"] for row in document["operations"]} == set(dispatch.OPERATIONS)


def test_doctor_says_how_building_failed(codegemma, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = codegemma("doctor", "--build")
    assert result.exit_code == 1
    assert "Building the CPU kernels needs a C++17 compiler" in result.stderr


def test_doctor_builds_on_request(codegemma, monkeypatch):
    asked = []
    module = importlib.import_module("keras_codegemma.kernels.native")
    monkeypatch.setattr(module, "build", lambda *, force: asked.append(force))
    assert codegemma("doctor", "--build", "--force").exit_code == 0
    assert asked == [True]
    assert codegemma("doctor", "--force").exit_code == 2
