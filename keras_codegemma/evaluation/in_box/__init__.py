"""What runs inside the boxes: the untrusted program in one, its tests in another, a socket of plain data between.

Each program has a box and an interpreter of its own; the checker's box runs only the benchmark's tests, each in a fork
of its own. A box sees nothing of this package, so the text of its two files (`wire` and `program`, or `wire` and
`checker`) comes with the command that starts it, and they import the standard library alone.

The tests call the program's functions over the socket. The program's process gets the arguments of each call and
nothing else: no expected value, no test text, no code of the checker and no way to the verdict are in its memory, its
files or its descriptors, so there is nothing in it to read, patch or forge. What comes back is data (numbers, texts,
containers) that the checker builds anew, so `__eq__` of the program's own classes never decides. Other objects stay in
the program and are known to the checker by number (`Remote`); comparing one with an expected value gives False.

Where this differs from running program and tests in one process: modules that tests name are the checker's own,
built-in functions that the program redefines keep their meaning in the tests, and instances of the program's own
classes are equal to nothing but themselves.
"""

from pathlib import Path

_START = '''"""What runs inside the boxes."""
import os
import sys
for name, text in {files!r}:
    sys.modules[name] = module = type(sys)(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.serve(int(sys.argv[2]))
os._exit(0)
'''


def command(role: str, fd: int) -> list[str]:
    """What follows the interpreter's name to start a box.

    Args:
        role: "program" or "checker".
        fd: the descriptor of its socket.
    """
    # Known by their full names, so that one finds the other as it does outside.
    files = [
        (f"{__name__}.{part}", Path(__file__).with_name(f"{part}.py").read_text("utf-8")) for part in ("wire", role)
    ]
    return ["-c", _START.format(files=files), role, str(fd)]
