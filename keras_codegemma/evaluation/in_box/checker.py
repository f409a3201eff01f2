"""In the checker's box: runs the benchmark's tests against the program at the other end of a socket."""

import os
import sys

from keras_codegemma.evaluation.in_box.wire import CHUNK, Channel, ProgramEnded, decode, describe, encode


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
        verdict, detail = "error", describe(error)
    return {"verdict": verdict, "detail": detail}


def serve(fd):
    """For each job that arrives: a fresh fork, which gets the program's socket and the one for job and verdict.

    A fork that hangs is ended by its processor and clock limits, so the server never waits.
    """
    import resource
    import signal
    import socket

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control = socket.socket(fileno=fd)
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
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
        for descriptor in descriptors:
            os.close(descriptor)
