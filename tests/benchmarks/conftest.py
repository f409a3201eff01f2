"""Benchmarks are run by hand; one imports gguf, which tests do without, so their doctests are not collected."""

collect_ignore_glob = ["*.py"]
