"""The golden script imports torch, which tests do without, so its doctests are not collected."""

collect_ignore = ["make_transformers_golden.py"]
