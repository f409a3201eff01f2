"""One file by HTTP: whole or not at all; a download that was cut off goes on where it stopped."""

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from keras_codegemma import __version__

TIMEOUT_SECONDS = 60
CHUNK_BYTES = 1 << 16

Progress = Callable[[int, int], None]


def download(url: str, target: Path, *, progress: Progress = lambda done, total: None) -> None:
    """Brings what a URL names into a file.

    What has arrived stays in `target` + ".part" until it is complete.

    Args:
        url: of the file.
        target: to write.
        progress: told bytes, of bytes in all; 0 in all where the server does not say.

    Raises:
        FileNotFoundError: the server has no such file.
        ConnectionError: it could not be reached, refused, or closed the connection early.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    try:
        expected = _receive(url, part, progress)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise FileNotFoundError(
                f"{url} must be there; its server answered 404. Look for the file elsewhere and give its folder: "
                "codegemma eval fetch --from FOLDER."
            ) from error
        raise ConnectionError(_failed(url, f"its server answered {error.code}")) from error
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(_failed(url, str(getattr(error, "reason", error)) or type(error).__name__)) from error
    if expected and part.stat().st_size != expected:
        raise ConnectionError(_failed(url, f"it ended after {part.stat().st_size} of {expected} bytes"))
    part.replace(target)


def _receive(url: str, part: Path, progress: Progress) -> int:
    """Adds to `part` what it lacks, and returns how long it must be, 0 where the server does not say."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"keras-codegemma/{__version__}"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing is left to send: what we have is the whole file, or another one, which its hash will show.
        error.close()
        return have
    with answer:
        start = have if answer.status == 206 else 0  # a server without ranges sends all of it
        length = int(answer.headers.get("Content-Length") or 0)
        total = start + length if length else 0
        with part.open("ab" if start else "wb") as file:
            _copy(answer, file, start, total, progress)
    return total


def _copy(answer: http.client.HTTPResponse, file: BinaryIO, done: int, total: int, progress: Progress) -> None:
    while piece := answer.read(CHUNK_BYTES):
        file.write(piece)
        done += len(piece)
        progress(done, total)


def _failed(url: str, reason: str) -> str:
    return (
        f"Fetching {url} needs its server to answer; it failed: {reason}. Run the command again, it goes on where it "
        "stopped; or give a folder that has the file: codegemma eval fetch --from FOLDER."
    )
