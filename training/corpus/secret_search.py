"""Finds keys, tokens, private keys and passwords in text; `credible` holds what is left alone, and why."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detect_secrets.filters import heuristic
from detect_secrets.plugins import keyword
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.util.filetype import determine_file_type

from training.corpus.secret_rules import Rule, all_rules

WINDOW_CHARS = 4096
"""Longer lines are searched in overlapping windows: some expressions take time by the square of the length."""
_OVERLAP_CHARS = 1024

_JWT = JwtTokenDetector.secret_type
_JWT_REST = re.compile(r"[\w.=-]*")
_KEYWORD_HINTS = ("key", "pass", "pwd", "secret", "contrase")
_KEYWORD = re.compile(keyword.DENYLIST_REGEX, re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, order=True)
class Finding:
    """A place in a text.

    Attributes:
        start: first character.
        end: after the last.
        kind: "key", "private-key", "password", "email", "phone" or "ip".
        rule: what found it.
    """

    start: int
    end: int
    kind: str
    rule: str


class SecretSearch:
    """Compiled once, then a pure function of (text, path)."""

    def __init__(self) -> None:
        self._whole = tuple(rule for rule in all_rules() if not rule.hints)
        by_hints: dict[tuple[str, ...], list[Rule]] = {}
        for rule in all_rules():
            if rule.hints:
                by_hints.setdefault(rule.hints, []).append(rule)
        self._by_hints = by_hints

    def candidates(self, text: str, *, path: str) -> Iterator[tuple[Finding, str]]:
        """Everything that a rule matches, with the line or window around it; the same place may come twice."""
        lower = lowered(text)
        hinted = _Hinted(text, lower)
        for rule in self._whole:
            for match in rule.pattern.finditer(text):
                yield _finding(match, rule, offset=0), match[0]
        for hints, rules in self._by_hints.items():
            for offset, line in hinted.windows(hints):
                for rule in rules:
                    if rule.also in line:
                        for match in rule.pattern.finditer(line):
                            yield _extended(_finding(match, rule, offset=offset), text), line
        yield from _private_keys(text, lower)
        yield from _keywords(hinted, path)

    def findings(self, text: str, *, path: str, keep_examples: bool = True) -> Iterator[Finding]:
        """What is credible among the candidates.

        Args:
            text: of a file.
            path: whose ending decides how passwords are assigned in the language.
            keep_examples: whether values made for documentation are left.
        """
        for finding, line in self.candidates(text, path=path):
            if credible(text[finding.start : finding.end], finding, line=line, keep_examples=keep_examples):
                yield finding


def lowered(text: str) -> str:
    """Lower case of the same length: "İ" and a few others would grow."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(character.lower() if character.isascii() else character for character in text)


class _Hinted:
    """Lines of a text that have one of some hints, each hint looked for once."""

    def __init__(self, text: str, lower: str) -> None:
        self._text = text
        self._lower = lower
        self._lines: dict[str, list[tuple[int, int]]] = {}

    def windows(self, hints: tuple[str, ...]) -> Iterator[tuple[int, str]]:
        """Offsets and texts, in order, each line once; long lines in pieces."""
        lines = {line for hint in hints for line in self._with(hint)}
        for start, end in sorted(lines):
            if end - start <= WINDOW_CHARS:
                yield start, self._text[start:end]
            else:
                for offset in range(start, end, WINDOW_CHARS - _OVERLAP_CHARS):
                    yield offset, self._text[offset : min(end, offset + WINDOW_CHARS)]

    def _with(self, hint: str) -> list[tuple[int, int]]:
        if hint not in self._lines:
            self._lines[hint] = list(self._find(hint))
        return self._lines[hint]

    def _find(self, hint: str) -> Iterator[tuple[int, int]]:
        position = self._lower.find(hint)
        while position >= 0:
            start = self._text.rfind("\n", 0, position) + 1
            end = self._text.find("\n", position)
            end = len(self._text) if end < 0 else end
            yield start, end
            position = self._lower.find(hint, end)


def _finding(match: re.Match[str], rule: Rule, *, offset: int) -> Finding:
    start, end = match.span(rule.group)
    return Finding(start=offset + start, end=offset + end, kind=rule.kind, rule=rule.name)


def _extended(finding: Finding, text: str) -> Finding:
    """detect-secrets' expression for a JWT ends before the signature."""
    if finding.rule != _JWT:
        return finding
    rest = _JWT_REST.match(text, finding.end)
    return Finding(start=finding.start, end=rest.end() if rest else finding.end, kind="key", rule=_JWT)


_PRIVATE_KEY = re.compile(r"BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?|PuTTY-User-Key-File-[23]")
_PRIVATE_KEY_END = re.compile(r"END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY|Private-MAC:")
_PRIVATE_KEY_CHARS = 20_000
_KEY_MATERIAL = re.compile(r"(?:[A-Za-z0-9+/]|(?<!\\)/){20,}={0,2}")


def _private_keys(text: str, lower: str) -> Iterator[tuple[Finding, str]]:
    """The base64 between a private key's head and foot, line by line, so that quotes and joins around it stay."""
    if "private key" not in lower and "putty-user-key" not in lower:
        return
    for head in _PRIVATE_KEY.finditer(text):
        foot = _PRIVATE_KEY_END.search(text, head.end(), head.end() + _PRIVATE_KEY_CHARS)
        again = _PRIVATE_KEY.search(text, head.end())
        ends = [place.start() for place in (foot, again) if place]
        end = min(ends) if foot else min([*ends, head.end() + 200])
        for match in _KEY_MATERIAL.finditer(text, head.end(), end):
            yield Finding(start=match.start(), end=match.end(), kind="private-key", rule="Private Key"), match[0]


def _keywords(hinted: _Hinted, path: str) -> Iterator[tuple[Finding, str]]:
    """Values assigned to names such as password, as detect-secrets' KeywordDetector finds them for the file's type."""
    patterns = keyword.REGEX_BY_FILETYPE.get(determine_file_type(path), keyword.QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP)
    for offset, line in hinted.windows(_KEYWORD_HINTS):
        if _KEYWORD.search(line):
            for pattern, group in patterns.items():
                for match in pattern.finditer(line):
                    start, end = match.span(group)
                    yield Finding(start=offset + start, end=offset + end, kind="password", rule="Secret Keyword"), line


_EXAMPLE = re.compile(
    r"example|sample|dummy|fake|change.?me|changeit|placeholder|redacted|your[-_ ]|my[-_]?(secret|pass|key|token)|xxx"
    r"|\*{3}|\.{3}|foobar|insert|todo|12345678|abcdef|deadbeef|test|secret|passw|<|>|\{|%[sd(]|\$[({A-Z]|^p(w|ass)$",
    re.IGNORECASE,
)
"""Values that documentation and tests use where a secret would stand."""

_KEY_EXAMPLE = re.compile(r"example|x{6}|\*{3}|\.{3}|\$\{|\{\{|redacted|placeholder|your[-_]", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z_$-]*([.:/\\][A-Za-z_$-]*)*|[A-Z][A-Z0-9_]*|[a-z]+[a-z0-9]*(_[a-z0-9]+)+")
_LEAST_DISTINCT_CHARS = 6
_LEAST_PASSWORD_CHARS = 6
_MOST_PASSWORD_CHARS = 128
_WHITE = re.compile(r"\s")


def credible(value: str, finding: Finding, *, line: str, keep_examples: bool = True) -> bool:
    """Whether a candidate is likely a secret that someone used.

    Keys by their form are, unless they are made of few characters or say that they are examples. A password is a
    value without blanks, of 6 to 128 characters, with a digit or a sign; names, calls and paths are none.
    """
    if finding.kind == "private-key":
        return len(set(value)) >= _LEAST_DISTINCT_CHARS
    if finding.rule == _JWT:
        return JwtTokenDetector.is_formally_valid(value)
    if finding.kind == "key":
        return _credible_key(value, keep_examples=keep_examples)
    checks: tuple[Callable[[str], bool], ...] = (
        lambda text: len(text) < _LEAST_PASSWORD_CHARS or len(text) > _MOST_PASSWORD_CHARS,
        lambda text: bool(_WHITE.search(text)),
        lambda text: keep_examples and bool(_EXAMPLE.search(text)),
        lambda text: bool(_IDENTIFIER.fullmatch(text)),
        heuristic.is_templated_secret,
        heuristic.is_prefixed_with_dollar_sign,
        heuristic.is_not_alphanumeric_string,
        heuristic.is_sequential_string,
    )
    if any(check(value) for check in checks):
        return False
    if finding.rule == "Secret Keyword":
        return not (heuristic.is_indirect_reference(line) or heuristic.is_likely_id_string(value, line))
    return True


def _credible_key(value: str, *, keep_examples: bool) -> bool:
    if len(set(value)) < _LEAST_DISTINCT_CHARS:
        return False
    has_digit = any(character.isdigit() for character in value)
    return has_digit and not (keep_examples and (_KEY_EXAMPLE.search(value) or heuristic.is_sequential_string(value)))
