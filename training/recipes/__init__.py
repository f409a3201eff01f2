"""Runs as Python functions, each returning one frozen configuration."""
