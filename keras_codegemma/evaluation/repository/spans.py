"""What can be taken out of a source file: lines of any language, and blocks and function bodies of Python.

Every span is made of whole lines and ends in its line break, as in HumanEval's single- and multi-line infilling.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_BLOCK_LINES = 30
LONGEST_FUNCTION_LINES = 60

_WORD = re.compile(r"\w{2}")
_COMMENT = re.compile(r"\s*(#|//|/\*|\*|--|;|%|<!--|\"\"\"|''')")


@dataclass(frozen=True, kw_only=True, order=True)
class Span:
    """Lines of a text, from 1, both ends included."""

    first: int
    last: int

    def split(self, text: str) -> tuple[str, str, str]:
        """Before, in and after the span."""
        rows = _lines(text)
        parts = rows[: self.first - 1], rows[self.first - 1 : self.last], rows[self.last :]
        before, inside, after = ("".join(part) for part in parts)
        return before, inside, after


def lines(text: str, *, python: bool) -> list[Span]:
    """Lines with code: of Python those that a statement begins in, else those with a word that are no comment.

    A last line without its line break is left out.
    """
    whole = {number: line for number, line in enumerate(_lines(text), start=1) if line.endswith("\n")}
    if python:
        tree = _parsed(text)
        telling = set() if tree is None else whole.keys() & {node.lineno for node in _statements(tree)}
    else:
        telling = {number for number, line in whole.items() if _WORD.search(line) and not _COMMENT.match(line)}
    return [Span(first=number, last=number) for number in sorted(telling)]


def blocks(text: str) -> list[Span]:
    """Bodies of `if`, `for`, `while`, `with` and `try` and their branches inside functions, of 2 lines and more."""
    tree = _parsed(text)
    if tree is None:
        return []
    found = set()
    for function in _functions(tree):
        for node in ast.walk(function):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
                found |= {span for body in _bodies(node) if (span := _whole_lines(body, text))}
    return sorted(span for span in found if 1 <= span.last - span.first < LONGEST_BLOCK_LINES)


def functions(text: str) -> list[Span]:
    """Bodies of functions and methods, without their docstrings, of at most `LONGEST_FUNCTION_LINES` lines."""
    tree = _parsed(text)
    if tree is None:
        return []
    found = set()
    for function in _functions(tree):
        body = function.body[1:] if ast.get_docstring(function, clean=False) is not None else function.body
        span = _whole_lines(body, text)
        if span is not None and span.last - span.first < LONGEST_FUNCTION_LINES:
            found.add(span)
    return sorted(found)


def _lines(text: str) -> list[str]:
    """Lines as Python counts them: only \\n ends one, as texts from `neighbours.read_text` have no other."""
    pieces = text.split("\n")
    return [piece + "\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])


def _parsed(text: str) -> ast.Module | None:
    """The syntax tree, or None where this Python does not read the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in somebody else's strings
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Every statement but those that are a text alone, docstrings for instance."""
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield node


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _bodies(node: ast.AST) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        body = getattr(node, name, None)
        # `elif` is an `if` in `orelse`, which begins in the middle of a line.
        if isinstance(body, list) and body and not (name == "orelse" and isinstance(body[0], ast.If)):
            yield body


def _whole_lines(body: list[ast.stmt], text: str) -> Span | None:
    """The lines of statements, if nothing else stands in them and the last one has its line break."""
    if not body:
        return None
    decorators = [one.lineno for one in getattr(body[0], "decorator_list", [])]
    first, last = min([body[0].lineno, *decorators]), body[-1].end_lineno or 0
    numbered = _lines(text)
    if numbered[first - 1][: body[0].col_offset].strip() or not numbered[last - 1].endswith("\n"):
        return None
    return Span(first=first, last=last)
