"""Finds keys, tokens, private keys and passwords in text; `credible` holds what is left alone, and why."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from detect_secrets.filters import heuristic
from detect_secrets.plugins import keyword
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.util.filetype import determine_file_type

from training.corpus.secret_rules import Rule, all_rules
from training.corpus.text_views import LONG_RUN_CHARS, Views

_JWT = str(JwtTokenDetector.secret_type)
_JWT_REST = re.compile(r"[\w.=-]*")
_KEYWORD_HINTS = (b"pass", b"pwd", b"secret", b"contrase")
_KEY_OWNERS = (b"api", b"auth", b"service", b"account", b"db", b"database", b"priv", b"private", b"client")
_BEFORE_KEY = (*_KEY_OWNERS, *(owner + b"_" for owner in _KEY_OWNERS))
"""KeywordDetector's names have one of the hints, or "key" after one of these."""
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
    """Compiled once, then a pure function of text and path."""

    def __init__(self) -> None:
        by_hints: dict[tuple[str, tuple[bytes, ...], bool], list[Rule]] = {}
        for rule in all_rules():
            in_long_lines = rule.view == "plain" and rule.run_chars >= LONG_RUN_CHARS
            by_hints.setdefault((rule.view, rule.hints, in_long_lines), []).append(rule)
        self._by_hints = by_hints

    def candidates(self, views: Views, *, path: str) -> Iterator[tuple[Finding, str]]:
        """Everything that a rule matches, with the line or window around it; the same place may come twice."""
        for (view, hints, in_long_lines), rules in self._by_hints.items():
            data: bytes = views.long_lines if in_long_lines else getattr(views, view)
            if any(hint in data for hint in hints):  # most files have none of most hints
                for offset, line in views.windows(view, hints):
                    yield from _matches(rules, line, offset=offset, views=views)
        yield from _private_keys(views)
        yield from _keywords(views, path)

    def findings(self, views: Views, *, path: str, keep_examples: bool = True) -> Iterator[Finding]:
        """What is credible among the candidates.

        Args:
            views: of a file's text.
            path: whose ending decides how passwords are assigned in the language.
            keep_examples: whether values made for documentation are left.
        """
        for finding, line in self.candidates(views, path=path):
            if credible(views.text[finding.start : finding.end], finding, line=line, keep_examples=keep_examples):
                yield finding


def _matches(rules: list[Rule], line: str, *, offset: int, views: Views) -> Iterator[tuple[Finding, str]]:
    for rule in rules:
        if rule.also in line and views.has_run(rule.run_chars, offset, offset + len(line)):
            for match in rule.pattern.finditer(line):
                yield _extended(_finding(match, rule, offset=offset), views.text), line


def _finding(match: re.Match[str], rule: Rule, *, offset: int) -> Finding:
    start, end = match.span(rule.group)
    if rule.delimiters:
        value = match[rule.group]
        start += len(value) - len(value.lstrip(rule.delimiters))
        end -= len(value) - len(value.rstrip(rule.delimiters))
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
_KEY_MATERIAL = re.compile(r"(?:(?<=\\n)|(?<=\\r)|(?<![A-Za-z0-9+/=\\]))[A-Za-z0-9+/]{12,}={0,2}")
"""The n of an escaped line end is no part of it."""


def _private_keys(views: Views) -> Iterator[tuple[Finding, str]]:
    """The base64 between a private key's head and foot, line by line, so that quotes and joins around it stay."""
    text = views.text
    if b"PRIVATE KEY" not in views.plain and b"PuTTY-User-Key" not in views.plain:
        return
    for head in _PRIVATE_KEY.finditer(text):
        foot = _PRIVATE_KEY_END.search(text, head.end(), head.end() + _PRIVATE_KEY_CHARS)
        again = _PRIVATE_KEY.search(text, head.end())
        ends = [place.start() for place in (foot, again) if place]
        end = min(ends) if foot else min([*ends, head.end() + 200])
        for match in _KEY_MATERIAL.finditer(text, head.end(), end):
            yield Finding(start=match.start(), end=match.end(), kind="private-key", rule="Private Key"), match[0]


def _keywords(views: Views, path: str) -> Iterator[tuple[Finding, str]]:
    """Values assigned to names such as password, as detect-secrets' KeywordDetector finds them for the file's type."""
    patterns = keyword.REGEX_BY_FILETYPE.get(determine_file_type(path), keyword.QUOTES_REQUIRED_DENYLIST_REGEX_TO_GROUP)
    lower = views.lower
    keys = (at for at in views.positions("lower", b"key") if lower[max(0, at - 9) : at].endswith(_BEFORE_KEY))
    for offset, line in views.windows("lower", _KEYWORD_HINTS, places=keys):
        if _KEYWORD.search(line):
            for pattern, group in patterns.items():
                for match in pattern.finditer(line):
                    start, end = match.span(group)
                    yield Finding(start=offset + start, end=offset + end, kind="password", rule="Secret Keyword"), line


_EXAMPLE = re.compile(
    r"example|sample|dummy|fake|change.?me|changeit|placeholder|redacted|your[-_ ]|my[-_]?(secret|pass|key|token)"
    r"|(?-i:xxx)|X{5}|\*{3}|\.{3}|foobar|insert|todo|12345678|abcdef|deadbeef|test|secret|passw|<|>|\{|%\(|%[sd](?![a-z0-9])|\$[({A-Z]|^p(w|ass)$",
    re.IGNORECASE,
)
"""Values that documentation and tests use where a secret would stand."""

_KEY_EXAMPLE = re.compile(r"example|x{6}|\*{3}|\.{3}|\$\{|\{\{|redacted|placeholder|your[-_]", re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z_$-]*([.:/\\][A-Za-z_$-]*)*|[A-Z][A-Z0-9_]*|[a-z]+[a-z0-9]*(_[a-z0-9]+)+")
_LEAST_DISTINCT_CHARS = 6
_NOT_OF_WORDS = re.compile(r"[0-9+=]")
_LEAST_LINE_CHARS = 40
"""Behind a head without a foot comes code, whose names are base64 too; 40 letters in a row are not."""
_LEAST_PASSWORD_CHARS = 6
_MOST_PASSWORD_CHARS = 128
_WHITE = re.compile(r"\s")


def credible(value: str, finding: Finding, *, line: str, keep_examples: bool = True) -> bool:
    """Whether a candidate is likely a secret that someone used.

    Keys by their form are, unless they are made of few characters or say that they are examples. What stands behind the
    head of a private key is part of it unless it may be a word. A password is a
    value without blanks, of 6 to 128 characters, with a digit or a sign; names, calls and paths are none.
    """
    if finding.kind == "private-key":
        is_word = len(value) < _LEAST_LINE_CHARS and not _NOT_OF_WORDS.search(value)
        return len(set(value)) >= _LEAST_DISTINCT_CHARS and not is_word
    if finding.rule == _JWT:
        return JwtTokenDetector.is_formally_valid(value)
    if finding.kind == "key":
        return _credible_key(value, keep_examples=keep_examples)
    by_name = finding.rule == "Secret Keyword"
    checks: tuple[Callable[[str], bool], ...] = (
        lambda text: len(text) < _LEAST_PASSWORD_CHARS or len(text) > _MOST_PASSWORD_CHARS,
        lambda text: bool(_WHITE.search(text)),
        lambda text: keep_examples and bool(_EXAMPLE.search(text)),
        lambda text: (keep_examples or by_name) and bool(_IDENTIFIER.fullmatch(text)),
        heuristic.is_templated_secret,
        heuristic.is_prefixed_with_dollar_sign,
        heuristic.is_not_alphanumeric_string,
        heuristic.is_sequential_string,
    )
    if any(check(value) for check in checks):
        return False
    if by_name:
        return not (heuristic.is_indirect_reference(line) or heuristic.is_likely_id_string(value, line))
    return True


def _credible_key(value: str, *, keep_examples: bool) -> bool:
    if not keep_examples:
        return True
    if len(set(value)) < _LEAST_DISTINCT_CHARS or not any(character.isdigit() for character in value):
        return False
    return not (_KEY_EXAMPLE.search(value) or heuristic.is_sequential_string(value))
