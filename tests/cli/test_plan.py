"""`codegemma plan`: text, JSON, picture, and what it refuses."""

import json

import pytest

PRETRAIN = ("plan", "code_gemma_7b_en", "--job", "pretrain", "--topology", "v5e:16x16", "--no-compile")


def test_plan_shows_bytes_time_and_a_recommendation(codegemma):
    result = codegemma(*PRETRAIN)
    assert result.exit_code == 0, result.output
    assert "recommended: replica 4 x fsdp 64 x model 1 with 256 rows" in result.stdout
    assert "of 15.75: fits" in result.stdout
    assert "model-FLOP utilisation" in result.stdout
    assert "A model, not a measurement" in result.stdout


def test_plan_as_json_and_as_a_picture(codegemma, tmp_path):
    result = codegemma(
        *PRETRAIN, "--json", "--svg", tmp_path / "plan.svg", "--batch", "512", "--mesh", "replica=4,fsdp=64"
    )
    document = json.loads(result.stdout)
    best = document["recommended"]
    assert best["mesh"] == {"replica": 4, "fsdp": 64, "model": 1}
    assert best["job"]["batch_rows"] == 512
    assert best["fits"]
    assert best["chip_bytes"]["total"] <= best["usable_bytes"]
    assert best["phases"][0]["model_flop_utilisation"] > 0.55
    assert document["is"] == "a model, not a measurement"
    assert document["compiled"] is None
    assert (tmp_path / "plan.svg").read_text().startswith("<svg")


def test_plan_reads_the_architecture_of_a_folder(codegemma):
    result = codegemma("plan", "presets/code_gemma_tiny", "--job", "serve", "--topology", "h100:1")
    assert result.exit_code == 0, result.output
    assert "serve" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("code_gemma_9b", "--job", "serve", "--topology", "v5e:2x2"), 2, "A preset must be"),
        (("code_gemma_2b_en", "--job", "serve", "--topology", "v5e:2x3"), 2, "one of 1x1"),
        (
            ("code_gemma_2b_en", "--job", "serve", "--topology", "v5e:4x4", "--mesh", "data=1,model=16"),
            2,
            "8 query heads",
        ),
        (("code_gemma_2b_en", "--job", "serve", "--topology", "v5e:4x4", "--mesh", "data=2"), 2, "there are 16"),
        (("code_gemma_2b_en", "--job", "serve", "--topology", "v5e:4x4", "--mesh", "rows=2"), 2, "got 'rows=2'"),
        (("code_gemma_7b_en", "--job", "serve", "--topology", "v5e:1x1"), 1, "What would fit: int8 weights"),
        (
            ("code_gemma_2b_en", "--job", "serve", "--topology", "h100:1", "--compile"),
            1,
            "CUDA plugin is not installed",
        ),
    ],
)
def test_plan_refuses_what_cannot_be(codegemma, arguments, code, message):
    result = codegemma("plan", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
