"""The golden script imports torch, which tests do without, so its doctests are not collected."""

collect_ignore_glob = ["make_*_golden.py"]
