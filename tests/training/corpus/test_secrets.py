"""Planted secrets and personal data are found and redacted; code around them stays code."""

import ast
import re
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from types import MappingProxyType

import pytest
from detect_secrets.plugins import keyword
from detect_secrets.plugins.keyword import KeywordDetector
from detect_secrets.util.filetype import determine_file_type
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.training.corpus import planted
from training.corpus import secret_rules
from training.corpus.document import Document, Dropped
from training.corpus.secret_search import SecretSearch
from training.corpus.secrets import KINDS, PLACEHOLDERS, Scrubber, ScrubSettings
from training.corpus.text_views import WINDOW_CHARS, Views

LEAST_RECALL = 0.95
SCRUBBER = Scrubber()


def document(text: str, path: str = "a.py") -> Document:
    return Document(repository="r", path=path, revision="1", licence="MIT", language="python", text=text)


def scrubbed(text: str, path: str = "a.py", **chosen: object) -> str:
    result = Scrubber(ScrubSettings(**chosen))(document(text, path))
    assert isinstance(result, Document)
    return result.text


def kinds(text: str, path: str = "a.py", **chosen: object) -> list[str]:
    return [finding.kind for finding in Scrubber(ScrubSettings(**chosen)).findings(document(text, path))]


@pytest.mark.parametrize("seed", range(5))
def test_recall_of_what_was_planted(seed: int):
    """Of each kind, and of each form of token but one in twenty places."""
    found, total = Counter(), Counter()
    missed = defaultdict(list)
    for plant in planted.everything(seed):
        result = SCRUBBER.scrub(document(plant.text, plant.path)).result
        assert isinstance(result, Document)
        total[plant.kind] += 1
        if plant.secret in result.text:
            missed[plant.kind].append(plant)
        else:
            found[plant.kind] += 1
    assert set(total) == set(KINDS)
    assert {kind: missed[kind] for kind in KINDS if found[kind] < LEAST_RECALL * total[kind]} == {}


def test_surroundings_stay_as_they_are():
    for plant in planted.everything(11):
        if plant.kind == "private-key":
            continue
        result = SCRUBBER.scrub(document(plant.text, plant.path)).result
        assert isinstance(result, Document)
        before, _, after = plant.text.partition(plant.secret)
        if plant.secret not in result.text:
            assert result.text.startswith(before[:-1].rstrip("+(1- "))
            assert result.text.endswith(after)


def test_redacted_python_still_parses():
    for plant in planted.everything(12):
        if plant.path == "a.py":
            ast.parse(plant.text)
            ast.parse(scrubbed(plant.text, plant.path))


def test_redacting_twice_changes_nothing_more():
    for plant in planted.everything(13):
        once = scrubbed(plant.text, plant.path)
        assert scrubbed(once, plant.path) == once


LEFT = """
    user@example.com noreply@github.com you@your.example git@github.com:a/b.git root@localhost jane@doe.test
    127.0.0.1 10.1.2.3 192.168.1.77 192.0.2.44 198.51.100.7 8.8.8.8 0.0.0.0 255.255.255.255 ::1 fe80::1 2001:db8::7
    (212) 555-0123 +1 415-555-2671 123-456-7890
    version 4.15.233.40  Chrome/99.0.4844.51  OID 1.3.6.1.4.1  2.5.29.37  id@password-script.py  1.2.3.4  pkg==60.2.10.4
    x@y.T  a @ b.conj  q@k.transpose(1)  @app.route("/")  foo@2.1.0  ssh-ed25519@openssh.com
    password = os.environ["PASSWORD"]   password = getpass("Password: ")   token = "<token>"   secret = "${SECRET}"
    password = "changeme"  api_key = "your-api-key"  secret = "xxxxxxxx"  password: str = "password"
    url = "postgres://user:password@localhost/db"   AKIAIOSFODNN7EXAMPLE  key="{api_key}"
    if line.startswith("-----BEGIN RSA PRIVATE KEY-----"):
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    commit 356a192b7913b04c54574d18c28d46e6395428ab   uuid = "123e4567-e89b-12d3-a456-426614174000"
    d="M1.08.58 1.23.82.72"  1.0.0.127.in-addr.arpa  http://user:pass@google.com/mail  http://[user[:pass]]@host.domain/
    tel: 42  phone = 5  3.14159 1999-12-31 2024-01-02 555-1234
"""


@pytest.mark.parametrize("line", [line.strip() for line in LEFT.strip().splitlines()])
def test_examples_and_look_alikes_are_left(line: str):
    assert scrubbed(line + "\n") == line + "\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("mail user@example.com now", "email"),
        ("call (212) 555-0123 now", "phone"),
        ("host 8.8.8.8 up", "ip"),
        ('password = "test-pass-1"', "password"),
        ("AKIAIOSFODNN7EXAMPLE", "key"),
        ("AKIA" + 16 * "Z", "key"),
        ("https://username:password@yelp.com", "password"),
    ],
)
def test_examples_are_taken_too_when_asked(text: str, kind: str):
    assert kinds(text) == []
    assert kinds(text, keep_examples=False) == [kind]


def test_each_kind_has_its_placeholder():
    rng = Random(0)
    samples = {
        "key": planted.tokens(rng)[0],
        "password": planted.passwords(rng)[0],
        "private-key": planted.private_keys(rng)[0],
        "email": planted.emails(rng)[0],
        "phone": planted.phones(rng)[0],
        "ip": planted.addresses(rng)[0],
    }
    assert set(samples) == set(KINDS) == set(PLACEHOLDERS)
    for kind, plant in samples.items():
        scrub = SCRUBBER.scrub(document(plant.text, plant.path))
        assert isinstance(scrub.result, Document)
        assert PLACEHOLDERS[kind] in scrub.result.text
        assert set(scrub.redacted) == {kind}


def test_an_address_of_version_6_stays_one():
    assert scrubbed('HOST = "2a00:1450:4001:81b::200e"\n') == 'HOST = "2001:db8::1"\n'


@pytest.mark.parametrize("seed", range(5))
def test_decoys_stay_as_they_are(seed: int):
    for plant in planted.decoys(Random(seed)):
        assert scrubbed(plant.text, plant.path) == plant.text


def test_names_behind_the_head_of_a_private_key_are_no_part_of_it():
    code = 'x = "-----BEGIN RSA PRIVATE KEY-----"\n\ndef displayPublicKey():\n    raise UnsupportedKeyFormat(x)\n'
    assert scrubbed(code) == code


def test_a_private_key_in_one_string_keeps_its_escapes():
    head, foot = r'k = "-----BEGIN PRIVATE KEY-----\n', r'-----END PRIVATE KEY-----\n"'
    text = head + r"MIGkAgEBBDBDdO8IXvlLJgM7\nnQLMyx5EvcHbzXyZ0+/9\n" + foot
    assert scrubbed(text) == head + r"REDACTED_PRIVATE_KEY\nREDACTED_PRIVATE_KEY\n" + foot


def test_a_secret_is_taken_wherever_it_stands():
    value = planted.passwords(Random(5))[0].secret
    text = f'password = "{value}"\nassert shown == ["{value}"]\n'
    assert value not in scrubbed(text)
    assert kinds(text) == ["password", "password"]


def test_counts_are_by_kind():
    text = "a.b@gmail.com c.d@gmail.com\nHOST = '93.184.216.34'\n"
    assert SCRUBBER.scrub(document(text)).redacted == {"email": 2, "ip": 1}
    assert SCRUBBER.scrub(document("x = 1\n")).redacted == {}


def test_a_clean_document_is_given_back_itself():
    clean = document("x = 1\n")
    assert SCRUBBER(clean) is clean


def test_kept_kinds_stay_and_others_go():
    text = "a.b@gmail.com at 93.184.216.34\n"
    assert scrubbed(text, actions={"email": "keep"}) == "a.b@gmail.com at 192.0.2.1\n"
    assert scrubbed(text, actions=dict.fromkeys(KINDS, "keep")) == text


@pytest.mark.parametrize(("kind", "reason"), [("key", "secret"), ("email", "personal-data")])
def test_a_file_is_dropped_when_its_kind_says_so(kind: str, reason: str):
    makers = {"key": planted.tokens, "email": planted.emails}
    dropped = Scrubber(ScrubSettings(actions={kind: "drop"}))(document(makers[kind](Random(0))[0].text))
    assert isinstance(dropped, Dropped)
    assert (dropped.stage, dropped.reason) == ("safety", reason)
    assert dropped.detail.startswith(f"{kind}: ")


def test_a_list_of_personal_data_is_dropped():
    text = "".join(f"p{number}@gmail.com\n" for number in range(101))
    dropped = SCRUBBER(document(text))
    assert isinstance(dropped, Dropped)
    assert (dropped.reason, dropped.detail) == ("too-many-redactions", "101")


def test_a_key_behind_a_long_line_is_found():
    key = planted.TOKENS["GitHub personal"](Random(1))
    for offset in (WINDOW_CHARS - 20, 3 * WINDOW_CHARS - 2, 100_000):
        text = "x " * (offset // 2) + key + " y" * 3000
        assert key not in scrubbed(text, "a.md")


def test_letters_that_grow_in_lower_case_move_nothing():
    text = 'İİİİ password = "Tr0ub4dor&3x"\n'
    assert scrubbed(text) == 'İİİİ password = "REDACTED_PASSWORD"\n'


def _code() -> str:
    root = Path(keyword.__file__).parents[1]
    return "\n".join(path.read_text("utf-8") for path in sorted(root.rglob("*.py")))


def _planted_text() -> str:
    return _code() + "\n".join(plant.text for plant in planted.everything(3))


def _covered(value: str, spans: list[tuple[int, int]], text: str, start: int, end: int) -> bool:
    """Whether a span within the line holds the value, or is held by it (a group of the match)."""
    inside = [text[a:b] for a, b in spans if start <= a and b <= end]
    return any(value in found or found in value for found in inside)


def test_hints_lose_nothing_of_what_detect_secrets_finds():
    """Every plugin, run on every line of real code and of planted secrets, finds nothing that is not a candidate."""
    text = _planted_text()
    spans = [(found.start, found.end) for found, _ in SecretSearch().candidates(Views(text), path="a.py")]
    by_start: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for start, end in spans:
        by_start[text.rfind("\n", 0, start) + 1].append((start, end))
    plugins = [plugin() for plugin, _ in secret_rules._PLUGINS] + [KeywordDetector()]
    offset = compared = 0
    for line in text.split("\n"):
        for plugin in plugins:
            for value in plugin.analyze_string(line):
                compared += 1
                assert _covered(value, by_start[offset], text, offset, offset + len(line)), (plugin, value, line)
        offset += len(line) + 1
    assert compared > 200


@pytest.mark.parametrize("rule", secret_rules.all_rules(), ids=lambda rule: f"{rule.name} {rule.hints[0][:12]!r}")
def test_every_match_has_a_hint(rule: secret_rules.Rule):
    """Matches made from the expressions themselves."""

    @settings(max_examples=30, suppress_health_check=list(HealthCheck), deadline=None, database=None)
    @given(st.from_regex(rule.pattern, alphabet=st.characters(max_codepoint=127)))
    def check(text: str) -> None:
        match = rule.pattern.search(text)
        if match is None or "\n" in match[0]:
            return
        views = Views(match[0])
        assert any(hint in getattr(views, rule.view) for hint in rule.hints)
        assert rule.also in match[0]
        assert views.has_run(rule.run_chars, 0, len(match[0]))

    check()


@pytest.mark.parametrize("path", ["a.go", "a.yaml", "a.cpp", "a.cs", "a.ini", "a.java"])
def test_passwords_are_looked_for_as_the_file_type_writes_them(path: str):
    patterns = keyword.REGEX_BY_FILETYPE[determine_file_type(path)]
    text = _planted_text()
    ours = {found.start for found, _ in SecretSearch().candidates(Views(text), path=path)}
    offset = 0
    for line in text.split("\n"):
        for pattern, group in patterns.items():
            if match := pattern.search(line):
                assert offset + match.start(group) in ours
        offset += len(line) + 1


@given(st.text(max_size=300), st.sampled_from(["a.py", "a.yaml", "a.md"]))
def test_any_text_is_scrubbed_without_an_error(text: str, path: str):
    result = SCRUBBER(document(text, path))
    assert isinstance(result, Document)


PIECES = (*"eyJ.:/@+-0123456789=\"'aA_ \n", "password=", "aws", "://", "BEGIN PRIVATE KEY", "a@b.de", "tel:", "2001:")


@given(st.lists(st.sampled_from(PIECES), max_size=80))
def test_any_text_of_telling_pieces_is_scrubbed_without_an_error(pieces: list[str]):
    assert isinstance(SCRUBBER(document("".join(pieces))), Document)


def test_hints_of_a_new_detect_secrets_must_be_complete(monkeypatch: pytest.MonkeyPatch):
    longer = MappingProxyType({"denylist": [re.compile("a"), re.compile("b")]})["denylist"]
    monkeypatch.setattr(secret_rules.StripeDetector, "denylist", longer)
    with pytest.raises(RuntimeError, match="Every expression of detect-secrets has hints; got 2 of StripeDetector"):
        secret_rules.all_rules()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"actions": {"name": "drop"}}, "got name=drop. Correct the name."),
        ({"actions": {"key": "erase"}}, "got key=erase. Correct the name."),
        ({"most_redactions": 0}, "most_redactions is at least 1; got 0. Give a larger one."),
    ],
)
def test_settings_are_checked(chosen: dict[str, object], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        ScrubSettings(**chosen)


def test_a_long_text_without_a_line_end_takes_seconds_at_most():
    for piece in ("eyJ", "password=", "1.1.", "+1", "@a.", "BEGIN PRIVATE KEY", "://a:@", "aws key", "2001:", "415-"):
        assert isinstance(SCRUBBER(document((piece * (1 << 18))[: 1 << 18], "a.md")), Document | Dropped)
