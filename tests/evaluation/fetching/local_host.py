"""A web server on this machine that has the benchmark files' paths, and faults on demand."""

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest


@dataclass
class Host:
    """What the server has, what it does wrong, and what it was asked.

    Attributes:
        address: its URL, without a slash at the end.
        files: by path.
        cut_after: bytes after which the next answers end early, by path; each once.
        status: of the answer, by path, where it is no success.
        asked: (path, Range header) of each request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    knows_ranges: bool = True


@pytest.fixture
def host() -> Iterator[Host]:
    """A running server."""
    state = Host()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            if self.path in state.status or self.path not in state.files:
                self.send_error(state.status.get(self.path, 404))
                return
            content, start = state.files[self.path], 0
            if wanted and state.knows_ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : state.cut_after.pop(self.path, len(content))])

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()
