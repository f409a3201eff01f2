"""Go, with its standard library compiled beforehand.

From 1.20 on Go compiles the standard library into an empty cache at the first build, which takes longer than the
benchmark's 10 seconds. The packages that programs use are therefore compiled once, outside the boxes (10 s of
processor time and 36 MB with Go 1.22.10; 1.19 brings them compiled). A box has links to them in a cache of its own: it
cannot change them, and another package is compiled there, within the limit.
"""

import os
import re
import subprocess
from pathlib import Path

from keras_codegemma.evaluation.toolchains.toolchain import Toolchain, first_line, outside_usr, prepared

PACKAGES = (
    *("bufio", "bytes", "cmp", "container/heap", "container/list", "crypto/md5", "encoding/hex", "encoding/json"),
    *("errors", "fmt", "hash/fnv", "io", "maps", "math", "math/big", "math/bits", "math/cmplx", "math/rand", "os"),
    *("reflect", "regexp", "slices", "sort", "strconv", "strings", "sync", "time", "unicode", "unicode/utf8"),
)
"""What the benchmark's programs import, and what answers may."""

_SETTINGS = {"GO111MODULE": "off", "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}


def find() -> Toolchain | None:
    """Go, by its version."""
    version = first_line("go", "version")
    root = first_line("go", "env", "GOROOT")
    if version is None or root is None:
        return None
    go = str(Path(root, "bin", "go"))
    name = re.sub(r"[^\w.]+", "-", version.removeprefix("go version "))
    warm = prepared(name, lambda folder: _compile_library(go, folder))
    if warm is None:
        return None
    inside = f"mkdir /tmp/cache && cp -rs {warm}/. /tmp/cache && exec {go} build -o main.exe {{file}}"
    settings = {**_SETTINGS, "GOCACHE": "/tmp/cache", "GOPATH": "/tmp/go"}
    return Toolchain(
        version=version,
        file="main.go",
        compile=("/bin/sh", "-c", inside),
        run=("./main.exe",),
        read_only=(*outside_usr(go), str(warm)),
        environment=tuple(settings.items()),
        processes=256,
    )


def _compile_library(go: str, folder: Path) -> None:
    settings = {**os.environ, **_SETTINGS, "GOCACHE": str(folder), "GOPATH": str(folder / "none")}
    options = {"env": settings, "capture_output": True, "text": True, "timeout": 900}
    known = set(subprocess.run([go, "list", "std"], check=True, **options).stdout.split())
    program = folder.with_name("warm.go")
    imports = "".join(f'import _ "{name}"\n' for name in PACKAGES if name in known)
    program.write_text(f"package main\n{imports}func main() {{}}\n", encoding="utf-8")
    subprocess.run([go, "build", "-o", str(folder.with_name("warm.exe")), str(program)], check=True, **options)
