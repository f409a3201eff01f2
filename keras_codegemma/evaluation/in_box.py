"""What runs inside the boxes: the untrusted program in one, its tests in another, a socket of plain data between.

Started as `python -c <this file> program FD` and `python -c <this file> checker FD`; it imports nothing of this
package, because a box sees nothing of it, which is why both ends stand in one long file. Each program has a box and
an interpreter of its own; the checker's box runs only the benchmark's tests, each in a fork of its own.

The tests call the program's functions over the socket. The program's process gets the arguments of each call and
nothing else: no expected value, no test text and no way to the verdict are in its memory, its files or its
descriptors, so there is nothing in it to read, patch or forge. What comes back is data (numbers, texts, containers)
that the checker builds anew, so `__eq__` of the program's own classes never decides. Other objects stay in the
program and are known to the checker by number (`Remote`); comparing one with an expected value gives False.

Where this differs from running program and tests in one process: modules that tests name are the checker's own,
built-in functions that the program redefines keep their meaning in the tests, and instances of the program's own
classes are equal to nothing but themselves.
"""

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself would cost every box some milliseconds
    from collections.abc import Callable
    from typing import Any

LARGEST_FRAME_BYTES = 64 << 20
"""Of one message; a program that sends more has failed."""
CHUNK = 256
"""Items fetched at a time from an iterator that lives in the program."""


class ProgramEnded(BaseException):
    """The program is gone or broke the protocol; not an Exception, so that tests do not catch it."""


class Channel:
    """Messages over a socket: 8 bytes of length, then JSON."""

    def __init__(self, fd):
        self.fd = fd

    def send(self, message):
        """Writes one message."""
        data = json.dumps(message).encode()
        data = len(data).to_bytes(8, "big") + data
        while data:
            data = data[os.write(self.fd, data) :]

    def receive(self):
        """Reads one message; ProgramEnded at the end of the stream or at nonsense."""
        size = int.from_bytes(self._read(8), "big")
        if size > LARGEST_FRAME_BYTES:
            raise ProgramEnded("message too long")
        return json.loads(self._read(size))

    def _read(self, count):
        parts = []
        while count:
            part = os.read(self.fd, min(count, 1 << 20))
            if not part:
                raise ProgramEnded("the program ended before its tests did")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def encode(value, refer):
    """A value as JSON: plain ones as they are, containers with a tag, all else as a number from `refer(value)`."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -(2**63) < number < 2**63 else ["i", hex(number)]
    if isinstance(value, float):
        return float.__float__(value)
    for kind, tag in _SEQUENCES:
        if isinstance(value, kind):
            return [tag, [encode(item, refer) for item in kind.__iter__(value)]]
    if isinstance(value, dict):
        return ["d", [[encode(key, refer), encode(item, refer)] for key, item in dict.items(value)]]
    if isinstance(value, (bytes, bytearray)):
        return ["b" if isinstance(value, bytes) else "y", bytes(value).hex()]
    if isinstance(value, complex):
        return ["c", value.real, value.imag]
    if isinstance(value, range):
        return ["r", encode(value.start, refer), encode(value.stop, refer), encode(value.step, refer)]
    name = (type(value).__module__, type(value).__qualname__)
    if name == ("decimal", "Decimal"):
        return ["n", str(value)]
    if name == ("fractions", "Fraction"):
        return ["q", encode(value.numerator, refer), encode(value.denominator, refer)]
    if name == ("collections", "deque"):
        return ["e", [encode(item, refer) for item in value]]
    return ["x", refer(value)]


_SEQUENCES: "tuple[tuple[Any, str], ...]" = ((list, "l"), (tuple, "t"), (set, "s"), (frozenset, "f"))


def decode(data: "Any", resolve: "Callable[[Any], Any]") -> "Any":
    """The value that `encode` wrote; numbers of objects become `resolve(number)`."""
    if not isinstance(data, list):
        if isinstance(data, dict):
            raise ProgramEnded("malformed message")
        return data
    tag, *rest = data
    if tag in "ltsfe":
        items = [decode(item, resolve) for item in rest[0]]
        if tag == "e":
            from collections import deque

            return deque(items)
        return {"l": list, "t": tuple, "s": set, "f": frozenset}[tag](items)
    if tag == "d":
        return {decode(key, resolve): decode(item, resolve) for key, item in rest[0]}
    if tag == "i":
        return int(rest[0], 16)
    if tag in "by":
        return (bytes if tag == "b" else bytearray).fromhex(rest[0])
    if tag == "c":
        return complex(*rest)
    if tag == "r":
        return range(*(decode(item, resolve) for item in rest))
    if tag == "n":
        from decimal import Decimal

        return Decimal(rest[0])
    if tag == "q":
        from fractions import Fraction

        return Fraction(*(decode(item, resolve) for item in rest))
    if tag == "x":
        return resolve(rest[0])
    raise ProgramEnded("malformed message")


# In the program's box


class Program:
    """Loads the untrusted source and answers calls to what it defines."""

    def __init__(self, channel):
        self._channel = channel
        self._objects = []
        self._numbers = {}
        module = type(sys)("program")
        sys.modules["program"] = module
        self._namespace = module.__dict__

    def load(self, source):
        """Runs the source's top level; says how that went."""
        try:
            code = compile(source, "program.py", "exec")
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            return ["compile_error", f"{type(error).__name__}: {error}"]
        try:
            exec(code, self._namespace)
        except BaseException as error:  # noqa: BLE001 - whatever the program raises is its failure
            return ["error", _describe(error)]
        return ["loaded"]

    def serve(self):
        """Answers until the checker hangs up."""
        while True:
            try:
                request = self._channel.receive()
            except ProgramEnded:
                return
            try:
                answer = ["value", *getattr(self, f"_do_{request[0]}")(*request[1:])]
            except BaseException as error:  # noqa: BLE001 - sent on to the tests, which decide
                names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
                answer = ["raised", names, _describe(error)]
            self._channel.send(answer)

    def _do_names(self, names):
        found = {}
        for name in names:
            if name in self._namespace:
                value = self._namespace[name]
                is_module = isinstance(value, type(sys))
                found[name] = ["m", value.__name__] if is_module else self._encode(value)
        return (found,)

    def _do_call(self, number, positional, named):
        positional = [self._decode(item) for item in positional]
        named = {key: self._decode(item) for key, item in named.items()}
        before = [self._encode(item) if isinstance(item, (list, dict, set)) else None for item in positional]
        result = self._encode(self._objects[number](*positional, **named))
        after = [None if old is None else self._encode(item) for old, item in zip(before, positional, strict=True)]
        changed = [[i, new] for i, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
        return result, changed

    def _do_get(self, number, name):
        return (self._encode(getattr(self._objects[number], name)),)

    def _do_set(self, number, name, value):
        setattr(self._objects[number], name, self._decode(value))
        return (None,)

    def _do_item(self, number, key):
        return (self._encode(self._objects[number][self._decode(key)]),)

    def _do_len(self, number):
        return (len(self._objects[number]),)

    def _do_true(self, number):
        return (bool(self._objects[number]),)

    def _do_iterate(self, number):
        return (self._refer(iter(self._objects[number])),)

    def _do_next(self, number):
        items = []
        for item in self._objects[number]:
            items.append(self._encode(item))
            if len(items) == CHUNK:
                break
        return (items,)

    def _refer(self, value):
        number = self._numbers.setdefault(id(value), len(self._objects))
        if number == len(self._objects):
            self._objects.append(value)
        return number

    def _encode(self, value):
        return encode(value, self._refer)

    def _decode(self, data):
        return decode(data, self._objects.__getitem__)


def _describe(error):
    try:
        return f"{type(error).__name__}: {error}"[:2000]
    except BaseException:  # noqa: BLE001 - its own __str__ may raise anything
        return type(error).__name__


# In the checker's box


class Remote:
    """An object that stays in the program, as the tests see it."""

    def __init__(self, checker, number):
        object.__setattr__(self, "_checker", checker)
        object.__setattr__(self, "_number", number)

    def __call__(self, *positional, **named):
        return self._checker.call(self._number, positional, named)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._checker.ask("get", self._number, name)

    def __setattr__(self, name, value):
        self._checker.ask("set", self._number, name, self._checker.encode(value))

    def __getitem__(self, key):
        return self._checker.ask("item", self._number, self._checker.encode(key))

    def __len__(self):
        return self._checker.ask("len", self._number)

    def __bool__(self):
        return self._checker.ask("true", self._number) is True

    def __iter__(self):
        iterator = self._checker.ask("iterate", self._number)
        while True:
            items = self._checker.ask_raw("next", iterator)[0]
            for item in items:
                yield self._checker.decode(item)
            if len(items) < CHUNK:
                return

    # Membership is decided here, item by item: the program is never shown what a test looks for.
    def __contains__(self, wanted):
        return any(item == wanted for item in self)


class Checker:
    """Runs the tests against the program at the other end."""

    def __init__(self, channel):
        self._channel = channel
        self._remotes = {}

    def run(self, tests, printed_ids, entry_point):
        """Returns (verdict, detail); the arguments as `execution.PythonJob` says."""
        loaded = self._channel.receive()
        if loaded[0] != "loaded":
            return str(loaded[0]) if loaded[0] in ("compile_error", "error") else "error", str(loaded[1])
        code = compile(tests, "tests.py", "exec")
        namespace = {"__name__": "tests" if printed_ids is None else "__main__"}
        namespace.update(self._names_from_program(code, entry_point))
        if printed_ids is None:
            exec(code, namespace)
            return "passed", ""
        return self._run_printing(code, namespace, printed_ids)

    def _run_printing(self, code, namespace, printed_ids):
        import io

        sys.stdout = output = io.StringIO()
        try:
            exec(code, namespace)
        except SystemExit as end:
            if end.code not in (None, 0):
                return "error", f"the tests ended with code {end.code}"
        lines = output.getvalue().splitlines()
        said = dict(line[5:].split("...", 1) for line in lines if line.startswith("TEST-") and "..." in line)
        wrong = {name: said.get(name, "missing") for name in printed_ids if said.get(name) != "PASSED"}
        if not wrong:
            return "passed", ""
        crashed = any(word not in ("FAILED", "missing") for word in wrong.values())
        return "error" if crashed else "failed", ", ".join(f"test {k}: {v}" for k, v in wrong.items())[:2000]

    def _names_from_program(self, code, entry_point):
        """Values for the names that the tests use and neither they nor Python define, and for the entry point.

        A task may ask for a function with the name of a built-in one; any other built-in function stays Python's, or
        a program could redefine the `abs` of its tests.
        """
        import builtins

        names = sorted(name for name in _names_in(code) if name == entry_point or not hasattr(builtins, name))
        found = {}
        for name, data in self.ask_raw("names", names)[0].items():
            if not (isinstance(data, list) and data[0] == "m"):
                found[name] = self.decode(data)
            elif str(data[1]).partition(".")[0] in sys.stdlib_module_names:
                found[name] = __import__("importlib").import_module(data[1])
        return found

    def call(self, number, positional, named):
        """Calls an object of the program, and repeats on our arguments what it did to its copies."""
        arguments = [self.encode(item) for item in positional]
        result, changed = self.ask_raw(
            "call", number, arguments, {key: self.encode(item) for key, item in named.items()}
        )
        for place, data in changed:
            ours, new = positional[place], self.decode(data)
            if type(ours) is not type(new):
                raise ProgramEnded("malformed message")
            if isinstance(ours, list):
                ours[:] = new
            elif isinstance(ours, (dict, set)):
                ours.clear()
                ours.update(new)
        return self.decode(result)

    def ask(self, *request):
        """One question, one value."""
        return self.decode(self.ask_raw(*request)[0])

    def ask_raw(self, *request):
        """One question and its undecoded answer; the program's exceptions are raised again, by built-in type."""
        self._channel.send(request)
        answer = self._channel.receive()
        if answer[0] == "value":
            return answer[1:]
        import builtins

        for name in answer[1]:
            kind = getattr(builtins, str(name), None)
            if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == "builtins":
                try:
                    raised = kind(str(answer[2]).removeprefix(f"{name}: "))
                except TypeError:  # UnicodeDecodeError and its like want more arguments
                    continue
                raise raised
        raise ProgramEnded(str(answer[2]))

    def encode(self, value):
        """A value of the tests, as JSON."""
        if isinstance(value, Remote):
            return ["x", value._number]
        return encode(value, self._refer)

    def _refer(self, value):
        if isinstance(value, Remote):
            return value._number
        raise TypeError(f"{type(value).__name__} cannot be passed to the program")

    def decode(self, data):
        """A value from the program."""
        return decode(data, self._remote)

    def _remote(self, number):
        if not isinstance(number, int):
            raise ProgramEnded("malformed message")
        return self._remotes.setdefault(number, Remote(self, number))


def _names_in(code):
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            names |= _names_in(constant)
    return names


def check(channel, job):
    """The verdict of one job, as a message; whatever happens, only a clean end of the tests is a pass."""
    try:
        verdict, detail = Checker(channel).run(job["tests"], job["printed_ids"], job["entry_point"])
    except AssertionError as error:
        verdict, detail = "failed", str(error)[:2000]
    except BaseException as error:  # noqa: BLE001 - anything but a clean end is no pass
        verdict, detail = "error", _describe(error)
    return {"verdict": verdict, "detail": detail}


def serve_checks(control_fd):
    """For each job that arrives: a fresh fork, which gets the program's socket and the one for job and verdict.

    A fork that hangs is ended by its processor and clock limits, so the server never waits.
    """
    import resource
    import signal
    import socket

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=control_fd)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 2)
        if not descriptors:
            return
        if os.fork() == 0:
            try:
                program, parent = map(Channel, descriptors)
                control.close()
                job = parent.receive()
                resource.setrlimit(resource.RLIMIT_CPU, (job["cpu_seconds"],) * 2)
                signal.alarm(int(job["wall_seconds"]) + 2)
                parent.send(check(program, job))
            finally:
                os._exit(0)
        for fd in descriptors:
            os.close(fd)


def serve_program(channel):
    """Loads the program from standard input, then answers its tests."""
    program = Program(channel)
    source = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    outcome = program.load(source)
    channel.send(outcome)
    if outcome[0] == "loaded":
        program.serve()


def main():
    """Takes the role named on the command line."""
    role, fd = sys.argv[1], int(sys.argv[2])
    if role == "checker":
        serve_checks(fd)
    else:
        serve_program(Channel(fd))
    os._exit(0)


if __name__ == "__main__":
    main()
