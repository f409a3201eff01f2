"""In the program's box: loads the untrusted source and answers calls to what it defines."""

import sys

from keras_codegemma.evaluation.in_box.wire import CHUNK, Channel, ProgramEnded, decode, describe, encode


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
            return ["error", describe(error)]
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
                answer = ["raised", names, describe(error)]
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


def serve(fd):
    """Loads the program from standard input, then answers its tests."""
    channel = Channel(fd)
    program = Program(channel)
    source = sys.stdin.buffer.read().decode("utf-8", "surrogatepass")
    outcome = program.load(source)
    channel.send(outcome)
    if outcome[0] == "loaded":
        program.serve()
