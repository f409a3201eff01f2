"""Fetches the packages of a recipe with the registries' own clients, and checks the hash of every one.

pip, npm and apt-get must be there for the kinds of package that a recipe has; which registry they ask is their own
configuration. pip runs the build system of a source distribution for its metadata, as it does before any install from
source: whoever does not want that fetches the named files by other means into the same folder. apt-get needs `deb-src`
entries in its list of sources (`APT_CONFIG` can name a configuration that has them), and any version in them may be
gone from the archive when Debian moves on: the hash tells.
"""

import hashlib
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from training.corpus.recipe import Source

_LOG = logging.getLogger(__name__)


class FetchError(RuntimeError):
    """A package could not be had, or is not the one that the recipe means."""


def fetch(sources: Sequence[Source], folder: Path) -> int:
    """Brings all packages into a folder; those that are there already are checked only.

    Args:
        sources: of a recipe; those that are no packages are left out.
        folder: is made if need be.

    Returns:
        How many packages were brought now.

    Raises:
        FetchError: naming every package that failed, when all have been tried.
    """
    folder.mkdir(parents=True, exist_ok=True)
    packages = [source for source in sources if source.is_package]
    failures, count = [], 0
    for number, source in enumerate(packages, start=1):
        try:
            fresh = _one(source, folder)
        except FetchError as error:
            failures.append(str(error))
            continue
        count += fresh
        _LOG.info("%d of %d %s %s", number, len(packages), "fetched" if fresh else "have", source.file)
    if failures:
        raise FetchError(f"{len(failures)} of {len(packages)} packages are missing:\n" + "\n".join(failures))
    return count


def check(source: Source, path: Path) -> None:
    """Compares a package's hash with the recipe's.

    Raises:
        FetchError: it is another file.
    """
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != source.sha256:
        raise FetchError(
            f"{source.file} must have the sha256 {source.sha256}; got {found}. "
            "It is not the file that the recipe was written for: delete it and fetch again."
        )


def command(source: Source, folder: Path) -> list[str]:
    """The client's command that puts the package into a folder."""
    pinned = {"pypi": f"{source.name}=={source.version}", "npm": f"{source.name}@{source.version}"}
    if source.kind == "pypi":
        flags = ["--no-deps", "--no-binary", source.name, "--dest", str(folder)]
        return [sys.executable, "-m", "pip", "download", "--quiet", *flags, pinned["pypi"]]
    if source.kind == "npm":
        return ["npm", "pack", "--silent", "--pack-destination", str(folder), pinned["npm"]]
    return [
        *("apt-get", "source", "--quiet=2", "--download-only", "--tar-only", "--only-source"),
        f"{source.name}={source.version}",
    ]


def _one(source: Source, folder: Path) -> bool:
    path = folder / source.file
    if path.exists():
        check(source, path)
        return False
    with TemporaryDirectory(dir=folder, prefix=".fetching-") as scratch:
        call = command(source, Path(scratch))
        try:
            done = subprocess.run(call, cwd=scratch, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise FetchError(
                f"{source.kind} packages need {call[0]}; it is not installed ({source.file}). Install it."
            ) from error
        brought = Path(scratch) / source.file
        if not brought.exists():
            said = (done.stderr or done.stdout).strip()[-500:]
            raise FetchError(f"{' '.join(call)} must bring {source.file}; it did not: {said}. Correct the recipe.")
        check(source, brought)
        brought.replace(path)
    return True
