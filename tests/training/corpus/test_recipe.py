"""Recipes: the ones there are, changes from the command line, and sources that are pinned."""

from dataclasses import replace

import pytest

from training import recipes
from training.corpus.licences import PERMISSIVE, is_allowed
from training.corpus.recipe import CorpusRecipe, Source
from training.settings import as_json, differences, with_settings

PLAIN = CorpusRecipe(name="plain")


def test_every_file_of_the_folder_is_a_recipe_of_its_name():
    names = [
        "many_languages",
        "own_repositories",
        "pypi_python",
        "tiny_functions",
        "tiny_lines",
        "tiny_long",
        "tiny_mixed",
        "tiny_python",
        "tiny_statements",
    ]
    assert recipes.names(CorpusRecipe) == names
    assert [recipes.find(name, CorpusRecipe).name for name in recipes.names(CorpusRecipe)] == recipes.names(
        CorpusRecipe
    )


def test_the_python_recipe_names_permissively_licensed_packages():
    sources = recipes.find("pypi_python", CorpusRecipe).sources
    assert len(sources) >= 30
    assert {source.kind for source in sources} == {"pypi"}
    assert all(source.version and len(source.sha256) == 64 for source in sources)
    assert all(is_allowed(source.licence or "", allowed=PERMISSIVE) for source in sources)
    assert len({source.file for source in sources}) == len(sources)


def test_the_other_recipe_names_npm_and_debian_packages():
    sources = recipes.find("many_languages", CorpusRecipe).sources
    assert {source.kind for source in sources} == {"npm", "debian"}
    by_name = {source.name: source for source in sources}
    assert by_name["@angular/core"].file == "angular-core-21.2.26.tgz"
    assert by_name["spdlog"].file == "spdlog_1.10.0+ds.orig.tar.xz"  # the epoch is no part of the file's name
    assert by_name["kotlinx-coroutines"].trust_licence
    assert not by_name["abseil"].trust_licence
    assert all(is_allowed(source.licence or "", allowed=PERMISSIVE) for source in sources)


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("tokenizer=other.model", "tokenizer", "other.model"),
        ("seed = 12", "seed", 12),
        ("shard_bytes=1_000", "shard_bytes", 1000),
        ("infill.fim_rate=0.9", "infill.fim_rate", 0.9),
        ("infill.span_weights.block=0", "infill.span_weights.block", 0.0),
        ("duplicates.near=false", "duplicates.near", False),
        ("filter.keep_vendored=yes", "filter.keep_vendored", True),
        ("filter.licences=none", "filter.licences", None),
        ("filter.languages=python, rust", "filter.languages", frozenset({"python", "rust"})),
        ("decontamination.benchmarks=a.jsonl,b", "decontamination.benchmarks", ("a.jsonl", "b")),
        ("decontamination.benchmarks=", "decontamination.benchmarks", ()),
        ("fitting.sequence_length=1024", "fitting.sequence_length", 1024),
        (
            "sources=/one,/two.tar.gz",
            "sources",
            (Source(kind="path", name="/one"), Source(kind="path", name="/two.tar.gz")),
        ),
    ],
)
def test_a_setting_changes_one_field(setting, path, value):
    changed = with_settings(PLAIN, [setting])
    found = changed
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)
    assert all(name.startswith(path) for name in differences(as_json(PLAIN), as_json(changed)))


def test_settings_of_choices_by_kind_keep_the_others():
    changed = with_settings(PLAIN, ["scrub.actions.email=drop", "scrub.actions.ip=keep"])
    assert changed.scrub.actions == {"email": "drop", "ip": "keep"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "A setting is written name=value; got 'seed'"),
        ("speed=1", "CorpusRecipe has name, sources, .*; got 'speed' in 'speed'. Correct the name"),
        ("infill.rate=1", r"InfillSettings has fim_rate, .*; got 'rate' in 'infill.rate'"),
        ("seed.deep=1", r"seed has no parts; got 'seed.deep'. Set seed itself"),
        ("seed=1.5", "seed is a whole number; got '1.5'. Give one"),
        ("infill.fim_rate=often", r"infill.fim_rate is a number; got 'often'"),
        ("duplicates.near=maybe", r"duplicates.near is true or false; got 'maybe'"),
        ("infill=x", "infill cannot be set from the command line; its type is .*InfillSettings"),
        ("infill.fim_rate=7", r"fim_rate must lie in \[0, 1\]; got 7.0"),
        ("scrub.actions.email=burn", "scrub.actions.email is one of redact, drop, keep; got 'burn'"),
        ("shard_bytes=0", "shard_bytes is at least 1; got 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        with_settings(PLAIN, [setting])


def test_an_unknown_recipe_is_refused_with_the_names_there_are():
    names = (
        "many_languages, own_repositories, pypi_python, tiny_functions, tiny_lines, tiny_long, tiny_mixed, "
        "tiny_python, tiny_statements"
    )
    with pytest.raises(ValueError, match=f"A recipe is one of {names}; got 'all'"):
        recipes.find("all", CorpusRecipe)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "gem", "name": "x"}, r"A source is one of pypi, .*; got 'gem' \(x\)"),
        ({"kind": "path", "name": ""}, "A source has a name; got none for a path source"),
        (
            {"kind": "npm", "name": "x", "version": "1"},
            "A package is pinned by version, file and sha256; got .*name='x'",
        ),
    ],
)
def test_sources_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Source(**fields)


def test_differences_name_the_fields():
    other = replace(PLAIN, seed=1, filter=replace(PLAIN.filter, languages=None))
    assert differences(as_json(PLAIN), as_json(other)) == ["filter.languages", "seed"]
    assert differences(as_json(PLAIN), as_json(CorpusRecipe(name="plain"))) == []
