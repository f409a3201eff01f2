"""Takes secrets and personal data out of documents: redacts them by kind, drops the file, or leaves them.

What is looked for: keys and tokens by their form (`secret_rules`), private keys and passwords (`secret_search`),
e-mail addresses, telephone numbers and IP addresses (`personal_data`). detect-secrets' two plugins for strings of
high entropy are not used: in code such strings are hashes, nonces and alphabets. In the sources of 7 packages from PyPI
12 of 60 such findings were secrets, values that the rules here find as well (`python -m tests.benchmarks.corpus_secrets
SOURCE... --entropy`, judged by eye).
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from training.corpus import personal_data
from training.corpus.document import Document, Dropped
from training.corpus.secret_search import Finding, SecretSearch
from training.corpus.text_views import Views

Action = Literal["redact", "drop", "keep"]
KINDS = ("private-key", "key", "password", "email", "phone", "ip")
ACTIONS: tuple[Action, ...] = ("redact", "drop", "keep")
SECRETS = frozenset({"private-key", "key", "password"})

PLACEHOLDERS: Mapping[str, str] = MappingProxyType(
    {
        "private-key": "REDACTED_PRIVATE_KEY",
        "key": "REDACTED_KEY",
        "password": "REDACTED_PASSWORD",
        "email": "email@example.com",
        "phone": "+1 212 555 0100",
        "ip": "192.0.2.1",
    }
)
"""Values that stand wherever the real ones could, so that code still parses: "<EMAIL>" would open a tag in HTML and
JSX. Reserved for documentation by RFC 2606 (the domain), RFC 5737 (the address) and the North American numbering plan
(555-0100 to 555-0199); an IPv6 address becomes `IPV6_PLACEHOLDER` (RFC 3849)."""

IPV6_PLACEHOLDER = "2001:db8::1"


@dataclass(frozen=True, kw_only=True)
class ScrubSettings:
    """What happens to each kind.

    Attributes:
        actions: by kind, "redact", "drop" (the whole file) or "keep" (not looked for); kinds not named are redacted.
        keep_examples: leave values made for documentation: example.com, 127.0.0.1, 555 numbers, "changeme".
        most_redactions: in one file; above it the file is a list of such data and is dropped.
        region: of telephone numbers that are called so and have no country code.
    """

    actions: Mapping[str, Action] = field(default_factory=dict)
    keep_examples: bool = True
    most_redactions: int = 100
    region: str = "US"

    def __post_init__(self) -> None:
        for kind, action in self.actions.items():
            if kind not in KINDS or action not in ACTIONS:
                raise ValueError(
                    f"Actions are {', '.join(ACTIONS)} for {', '.join(KINDS)}; got {kind}={action}. Correct the name."
                )
        if self.most_redactions < 1:
            raise ValueError(f"most_redactions is at least 1; got {self.most_redactions}. Give a larger one.")


@dataclass(frozen=True, kw_only=True)
class Scrubbed:
    """What became of a document.

    Attributes:
        result: the document with redactions, the same one if there was nothing, or a record of its dropping.
        redacted: how many were replaced, by kind; empty for a dropped file.
    """

    result: Document | Dropped
    redacted: Mapping[str, int]


class Scrubber:
    """Takes secrets and personal data out of documents. Calling it has no effects."""

    def __init__(self, settings: ScrubSettings | None = None) -> None:
        self.settings = settings or ScrubSettings()
        self._search = SecretSearch()

    def __call__(self, document: Document) -> Document | Dropped:
        """As `scrub`, without the counts."""
        return self.scrub(document).result

    def scrub(self, document: Document) -> Scrubbed:
        """Redacts or drops. Reasons for dropping: "secret", "personal-data", "too-many-redactions"."""
        findings = self.findings(document)
        if not findings:
            return Scrubbed(result=document, redacted={})
        for finding in findings:
            if self._action(finding.kind) == "drop":
                reason = "secret" if finding.kind in SECRETS else "personal-data"
                return Scrubbed(result=_dropped(document, reason, f"{finding.kind}: {finding.rule}"), redacted={})
        if len(findings) > self.settings.most_redactions:
            return Scrubbed(result=_dropped(document, "too-many-redactions", str(len(findings))), redacted={})
        counts: dict[str, int] = {}
        for finding in findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + 1
        return Scrubbed(result=replace(document, text=_redacted(document.text, findings)), redacted=counts)

    def findings(self, document: Document) -> list[Finding]:
        """What is found and not kept, in the text's order; findings that overlap become one."""
        found = _apart(self._all(document))
        again = list(_repeated(document.text, found))
        return _apart([*found, *again]) if again else found

    def _all(self, document: Document) -> Iterator[Finding]:
        views, keep = Views(document.text), self.settings.keep_examples
        if any(self._action(kind) != "keep" for kind in SECRETS):
            for finding in self._search.findings(views, path=document.path, keep_examples=keep):
                if self._action(finding.kind) != "keep":
                    yield finding
        if self._action("email") != "keep":
            yield from personal_data.emails(views, keep_examples=keep)
        if self._action("ip") != "keep":
            yield from personal_data.ip_addresses(views, keep_examples=keep)
        if self._action("phone") != "keep":
            yield from personal_data.phones(views, keep_examples=keep, region=self.settings.region)

    def _action(self, kind: str) -> Action:
        return self.settings.actions.get(kind, "redact")


def _apart(findings: Iterable[Finding]) -> list[Finding]:
    best: list[Finding] = []
    for finding in sorted(findings, key=lambda found: (found.start, -found.end)):
        if not best or finding.start >= best[-1].end:
            best.append(finding)
        elif finding.end > best[-1].end:
            best[-1] = replace(best[-1], end=finding.end)
    return best


def _repeated(text: str, findings: list[Finding]) -> Iterator[Finding]:
    """Other places of the same secrets: a test's expected output has no name that tells what it is."""
    values = {text[found.start : found.end]: found for found in findings if found.kind in SECRETS}
    known = {found.start for found in findings}
    for value, finding in values.items():
        position = text.find(value) if len(value) >= _REPEATED_CHARS else -1
        while position >= 0:
            if position not in known:
                yield replace(finding, start=position, end=position + len(value))
            position = text.find(value, position + len(value))


_REPEATED_CHARS = 16
"""Shorter passwords may be words."""


def _redacted(text: str, findings: list[Finding]) -> str:
    pieces, position = [], 0
    for finding in findings:
        value = text[finding.start : finding.end]
        pieces += [text[position : finding.start], _placeholder(finding.kind, value)]
        position = finding.end
    return "".join([*pieces, text[position:]])


def _placeholder(kind: str, value: str) -> str:
    if kind == "ip" and isinstance(ipaddress.ip_address(value), ipaddress.IPv6Address):
        return IPV6_PLACEHOLDER
    return PLACEHOLDERS[kind]


def _dropped(document: Document, reason: str, detail: str) -> Dropped:
    return Dropped(
        document_id=document.id,
        repository=document.repository,
        path=document.path,
        language=document.language,
        licence=document.licence,
        size_bytes=document.size_bytes,
        stage="safety",
        reason=reason,
        detail=detail,
    )
