"""Verdicts, and a suite of hostile programs: each must be held, counted as failed, and leave nothing behind."""

import dataclasses
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_codegemma.evaluation import execution
from keras_codegemma.evaluation.execution import CommandJob, Executor, PythonJob
from keras_codegemma.evaluation.sandbox import Bubblewrap, Limits, PlainProcesses, SandboxUnavailableError
from tests.evaluation.boxes import (
    bubblewrap,
    executor,
    lone_executor,
    processes_with,
    settled_processes_of_boxes,
)

__all__ = ["bubblewrap", "executor", "lone_executor"]

LIMITS = Limits(cpu_seconds=2, wall_seconds=6, memory_bytes=256 << 20, address_space_bytes=1 << 30, processes=16)
TESTS = "assert answer(20) == 7919 + 20\nassert answer(22) == 7919 + 22\n"


def _verdict(executor: Executor, program: str, tests: str = TESTS, limits: Limits = LIMITS) -> execution.Outcome:
    return next(executor.run([PythonJob(program=program, tests=tests, limits=limits)]))


def test_a_right_program_passes(executor: Executor) -> None:
    assert _verdict(executor, "def answer(x):\n    return 7919 + x\n").passed


@pytest.mark.parametrize(
    ("program", "verdict", "detail"),
    [
        ("def answer(x):\n    return x\n", "failed", ""),
        ("", "error", "NameError"),
        ("def answer(x:\n", "compile_error", "SyntaxError"),
        ("def answer(x):\n    return x\x00", "compile_error", "null bytes"),
        ("1 / 0\n", "error", "ZeroDivisionError"),
        ("def answer(x):\n    raise KeyError(x)\n", "error", "KeyError"),
        ("def answer(x):\n    return answer(x)\n", "error", "RecursionError"),
        ("def answer(x):\n    while True: pass\n", "timeout", "s"),
    ],
)
def test_wrong_programs_are_told_apart(executor: Executor, program: str, verdict: str, detail: str) -> None:
    outcome = _verdict(executor, program)
    assert outcome.verdict == verdict
    assert detail in outcome.detail


FORGERS = {
    "prints passed": "print('passed')\nprint('{\"verdict\": \"passed\"}')\ndef answer(x): return 0\n",
    "leaves at once": "import os\nos._exit(0)\n",
    "exits at once": "import sys\nsys.exit(0)\n",
    "leaves when called": "import os\ndef answer(x): os._exit(0)\n",
    "exits when called": "def answer(x): raise SystemExit(0)\n",
    "interrupts": "def answer(x): raise KeyboardInterrupt\n",
    "equals everything": (
        "class Anything:\n"
        "    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n"
        "    __hash__ = None\n"
        "def answer(x): return Anything()\n"
    ),
    "an integer that equals everything": (
        "class Anything(int):\n    def __eq__(self, other): return True\ndef answer(x): return Anything(3)\n"
    ),
    "patches the checker": (
        "import builtins, json, sys\n"
        "builtins.AssertionError = type('Fine', (Exception,), {})\n"
        "boxes = [module for name, module in sys.modules.items() if 'in_box' in name]\n"
        "for box in boxes:\n"
        "    for name in ('Checker', 'check', 'Remote', 'encode', 'decode', 'describe'):\n"
        "        setattr(box, name, lambda *a, **k: ('passed', ''))\n"
        "json.dumps = lambda message: '[\"value\", true, []]'\n"
        "def answer(x): return 0 if len(boxes) == 2 else 7919 + x\n"
    ),
    "reads the frames": (
        "import sys, gc\n"
        "def answer(x):\n"
        "    wanted = 'answer(%d) == ' % x\n"
        "    def look(value):\n"
        "        text = repr(value)\n"
        "        return eval(text.split(wanted)[1].split(chr(92))[0]) if wanted in text else None\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        for value in list(frame.f_locals.values()) + list(frame.f_globals.values()):\n"
        "            if look(value): return look(value)\n"
        "        frame = frame.f_back\n"
        "    for thing in gc.get_objects():\n"
        "        if look(thing): return look(thing)\n"
        "    return 0\n"
    ),
    "writes verdicts to every descriptor": (
        "import os, json\n"
        "def answer(x):\n"
        "    for message in ({'verdict': 'passed', 'detail': ''}, ['value', True, []], ['loaded']):\n"
        "        data = json.dumps(message).encode()\n"
        "        for fd in range(256):\n"
        "            for piece in (data, len(data).to_bytes(8, 'big') + data):\n"
        "                try: os.write(fd, piece)\n"
        "                except OSError: pass\n"
        "    return 0\n"
    ),
    "answers without being asked": (
        "import os, sys\n"
        "fd = int(sys.argv[2])\n"
        "for message in (b'[\"loaded\"]', b'[\"value\", {}]') + (b'[\"value\", true, []]',) * 50:\n"
        "    os.write(fd, len(message).to_bytes(8, 'big') + message)\n"
        "os._exit(0)\n"
    ),
    "finds the tests in files": (
        "import os\n"
        "def answer(x):\n"
        "    wanted = b'answer(%d) == ' % x\n"
        "    for top in ('/tmp', '/root', '/home', '/proc'):\n"
        "        for folder, _, files in os.walk(top):\n"
        "            if folder.count('/') > 4 or 'python' in folder or folder.endswith('fd'): continue\n"
        "            for name in files:\n"
        "                if name in ('kmsg', 'kcore'): continue\n"
        "                try: text = open(os.path.join(folder, name), 'rb').read(1 << 20)\n"
        "                except OSError: continue\n"
        "                if wanted in text: return eval(text.split(wanted)[1].split()[0])\n"
        "    return 0\n"
    ),
}


@pytest.mark.parametrize("name", FORGERS)
def test_a_pass_cannot_be_forged(executor: Executor, name: str) -> None:
    outcome = _verdict(executor, FORGERS[name])
    assert not outcome.passed, outcome
    assert _verdict(executor, "def answer(x):\n    return 7919 + x\n").passed


# Each of these starts only in a box whose limits on processes, memory and network were proved by a probe first.
HOSTILE = {
    "fork bomb": "import os\ndef answer(x):\n    while True: os.fork()\n",
    "threads without end": (
        "import threading, time\n"
        "def answer(x):\n"
        "    while True: threading.Thread(target=time.sleep, args=(60,)).start()\n"
    ),
    "10 GB at once": "def answer(x):\n    block = bytearray(10 << 30)\n    return len(block)\n",
    "memory in small pieces": ("def answer(x):\n    kept = []\n    while True: kept.append(bytearray(1 << 20))\n"),
    "endless output": "def answer(x):\n    while True: print('x' * 10000)\n",
    "a huge answer": "def answer(x):\n    return ['x' * 100] * 10000000\n",
    "an endless answer": "def answer(x):\n    import itertools\n    return itertools.count()\n",
    "sleeping past the limit": "import time\ndef answer(x):\n    time.sleep(60)\n",
    "killing its parents": (
        "import os, signal\n"
        "def answer(x):\n"
        "    for pid in (os.getppid(), 1, -1):\n"
        "        try: os.kill(pid, signal.SIGKILL)\n"
        "        except OSError: pass\n"
        "    return 0\n"
    ),
    "a child that stays": (
        "import os, time\n"
        "def answer(x):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            while True: time.sleep(1)\n"
        "        os._exit(0)\n"
        "    return 0\n"
    ),
    "filling the disk": (
        "def answer(x):\n"
        "    for i in range(1000):\n"
        "        open(f'/tmp/{i}', 'wb').write(b'x' * (8 << 20))\n"
        "    return 7919 + x\n"
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_programs_are_held_and_leave_nothing(lone_executor: Executor, name: str) -> None:
    _verdict(lone_executor, "def answer(x): return 0\n")
    before = settled_processes_of_boxes()
    tests = "assert list(answer(20)) == []" if name == "an endless answer" else TESTS
    start = time.monotonic()
    outcome = _verdict(lone_executor, HOSTILE[name], tests)
    assert outcome.verdict in ("failed", "error", "timeout", "output_limit", "killed"), outcome
    assert time.monotonic() - start < LIMITS.wall_seconds + 5
    # One interpreter that waits and one checker: as many processes as before, whatever the program had started.
    assert len(settled_processes_of_boxes()) == len(before)
    assert _verdict(lone_executor, "def answer(x):\n    return 7919 + x\n").passed


def _tried(executor: Executor, attempt: str) -> str:
    """What `attempt`, an expression, gives inside a box."""
    program = f"def attempt():\n    try:\n        return repr({attempt})\n    except Exception as error:\n"
    program += "        return 'refused: ' + repr(error)\n"
    outcome = _verdict(executor, program, "raise AssertionError(attempt())")
    assert outcome.verdict == "failed", outcome
    return outcome.detail


def test_there_is_no_network(executor: Executor) -> None:
    connect = "__import__('socket').create_connection(('192.0.2.1', 80), timeout=1)"
    assert "Network is unreachable" in _tried(executor, connect)
    assert _tried(executor, "[name for _, name in __import__('socket').if_nameindex()]") == "['lo']"


def test_the_home_and_the_checkout_cannot_be_read(executor: Executor, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    for place in (secret, Path(__file__), Path.home() / ".bashrc", Path("/etc/passwd")):
        assert "No such file" in _tried(executor, f"open({str(place)!r}).read()")
    assert "codegemma" not in _tried(executor, "dict(__import__('os').environ)")


def test_nothing_outside_the_private_folder_can_be_written(executor: Executor, tmp_path: Path) -> None:
    for place in ("/x", "/usr/x", "/dev/shm/x", f"{tmp_path}/x", f"{os.__file__}"):
        assert _tried(executor, f"open({place!r}, 'w')").startswith("refused: ")
    assert _tried(executor, "open('/tmp/x', 'w').write('x')") == "1"
    assert "No such file" in _tried(executor, "open('/tmp/x').read()"), "a file outlived its program"


def test_a_box_has_no_rights_to_regain(executor: Executor) -> None:
    assert _tried(executor, "__import__('os').getuid()") == "65534"
    status = _tried(executor, "open('/proc/self/status').read()")
    assert "CapBnd:\\t0000000000000000" in status
    unshare = "__import__('subprocess').run(['unshare', '--user', 'true'], capture_output=True).returncode"
    assert _tried(executor, unshare) != "0"
    raising = "__import__('resource').setrlimit(__import__('resource').RLIMIT_CPU, (999, 999))"
    assert "refused" in _tried(executor, raising)


def test_closing_ends_every_process(bubblewrap: Bubblewrap) -> None:
    before = settled_processes_of_boxes()
    with Executor(bubblewrap, workers=1, allow_execution=True) as own:
        assert _verdict(own, "def answer(x):\n    return 7919 + x\n").passed
        assert settled_processes_of_boxes() > before
    assert settled_processes_of_boxes() == before


def test_a_killed_run_leaves_no_process(bubblewrap: Bubblewrap) -> None:
    before = settled_processes_of_boxes()
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from keras_codegemma.evaluation import execution, sandbox\n"
        "executor = execution.Executor(sandbox.Bubblewrap(), allow_execution=True)\n"
        "job = execution.PythonJob(program='import time\\ndef f(): time.sleep(60)', tests='f()')\n"
        "outcomes = executor.run([job] * 4)\n"
        "import time; time.sleep(1); print('up', flush=True)\n"
        "list(outcomes)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert run.stdout is not None
    run.stdout.readline()
    assert settled_processes_of_boxes() > before
    run.kill()
    run.wait()
    run.stdout.close()
    assert settled_processes_of_boxes() == before


def test_a_killed_run_leaves_no_program_of_another_language(bubblewrap: Bubblewrap) -> None:
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from keras_codegemma.evaluation import execution, sandbox\n"
        "executor = execution.Executor(sandbox.Bubblewrap(), allow_execution=True)\n"
        "job = execution.CommandJob(files={}, compile=None, marker='M-', test_ids=('0',),\n"
        "    run=('/bin/sh', '-c', 'setsid sleep 61.375 & sleep 61.375'),\n"
        "    limits=sandbox.Limits(), compile_limits=sandbox.Limits())\n"
        "outcomes = executor.run([job] * 2)\n"
        "import time; time.sleep(1); print('up', flush=True)\n"
        "list(outcomes)\n"
    )
    run = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert run.stdout is not None
    run.stdout.readline()
    assert len(processes_with(b"sleep\0" + b"61.375")) == 4
    run.kill()
    run.wait()
    run.stdout.close()
    deadline = time.monotonic() + 5
    while processes_with(b"sleep\0" + b"61.375") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with(b"sleep\0" + b"61.375") == set()


def test_a_program_that_memory_ended_was_killed(executor: Executor) -> None:
    job = CommandJob(
        files={},
        compile=None,
        run=("/bin/sh", "-c", "kill -9 $$"),
        marker="M-",
        test_ids=("0",),
        limits=LIMITS,
        compile_limits=LIMITS,
    )
    assert next(executor.run([job])).verdict == "killed"


def test_calls_behave_as_in_one_process(executor: Executor) -> None:
    program = (
        "import collections, math\n"
        "Point = collections.namedtuple('Point', 'x y')\n"
        "class Node:\n"
        "    def __init__(self, value): self.value, self.next = value, None\n"
        "def length(node): return 0 if node is None else 1 + length(node.next)\n"
        "def clear(items, *, keep): del items[keep:]\n"
        "def squares(n): return (i * i for i in range(n))\n"
        "def same(x): return x\n"
        "def bad(): raise ValueError('no')\n"
    )
    tests = (
        "assert Point(1, 2) == (1, 2)\n"
        "node = Node(1)\nnode.next = Node(2)\nassert length(node) == 2\nassert node.next.value == 2\n"
        "items = [1, 2, 3]\nassert clear(items, keep=1) is None\nassert items == [1]\n"
        "assert list(squares(600)) == [i * i for i in range(600)]\n"
        "for x in (None, True, 2**200, -(2**63), 1.5, float('inf'), 1j, 'é\\ud800', b'\\xff', (1, [2]), {1: {2}},\n"
        "          frozenset([1]), range(3), {(1, 2): None}, '', []):\n"
        "    y = same(x)\n    assert y == x and type(y) is type(x), (x, y)\n"
        "assert str(same(float('nan'))) == 'nan'\n"
        "assert math.floor(1.5) == 1\n"
        "try:\n    bad()\nexcept ValueError as error:\n    assert str(error) == 'no'\nelse:\n    assert False\n"
    )
    outcome = _verdict(executor, program, tests)
    assert outcome.passed, outcome


def test_commands_tell_compile_errors_from_run_time_errors(executor: Executor) -> None:
    def run(source: str) -> execution.Outcome:
        return next(
            executor.run(
                [
                    CommandJob(
                        files={"main.sh": source},
                        compile=("/bin/sh", "-c", "sh -n main.sh && cp main.sh program"),
                        run=("/bin/sh", "program"),
                        marker="T7-",
                        test_ids=("0", "1"),
                        limits=LIMITS,
                        compile_limits=LIMITS,
                    )
                ]
            )
        )

    assert run("echo T7-0...PASSED; echo T7-1...PASSED").passed
    assert run("echo T7-0...PASSED; echo T7-1...FAILED").verdict == "failed"
    assert run("echo T7-0...PASSED; echo T7-1...Overflow").verdict == "error"
    assert run("echo T7-0...PASSED").detail.startswith("status 0; test 1: missing")
    assert run("echo TEST-0...PASSED; echo TEST-1...PASSED").verdict == "error"
    assert run("echo T7-0...PASSED; echo T7-1...PASSED; exit 3").verdict == "error"
    assert run("echo T7-0...FAILED; echo T7-0...PASSED; echo T7-1...PASSED").verdict == "error"
    assert run("if then").verdict == "compile_error"
    assert run("cat main.sh; echo T7-0...FAILED; echo T7-1...PASSED").verdict == "failed"
    assert run("while :; do :; done").verdict == "timeout"
    assert run("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done").verdict == "output_limit"


def test_execution_must_be_allowed(bubblewrap: Bubblewrap) -> None:
    with pytest.raises(PermissionError, match=r"allowed explicitly; got allow_execution=False\. Read"):
        Executor(bubblewrap)


def test_plain_processes_must_be_asked_for_and_still_judge() -> None:
    with pytest.raises(PermissionError, match=r"do not hold hostile programs.*Install bubblewrap"):
        PlainProcesses()
    plain = PlainProcesses(accept_that_nothing_is_isolated=True)
    with Executor(plain, workers=1, allow_execution=True) as own:
        assert _verdict(own, "def answer(x):\n    return 7919 + x\n").passed
        assert _verdict(own, "def answer(x):\n    return x\n").verdict == "failed"
        brief = dataclasses.replace(LIMITS, wall_seconds=1.0)
        sleeping = "def answer(x):\n    import time\n    time.sleep(60)\n"
        assert _verdict(own, sleeping, limits=brief).verdict == "timeout"


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(SandboxUnavailableError, match=r"needs bwrap; it was not found\. Install Debian's bubblewrap"):
        Bubblewrap("/nowhere/bwrap")


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"processes must be positive; got 0\. Pass"):
        Limits(processes=0)
