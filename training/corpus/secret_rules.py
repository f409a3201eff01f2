"""What keys and tokens look like: detect-secrets' regular expressions, and those of services that it lacks.

Every rule comes with hints, pieces of text of which any match has one. Looking for hints is fast, so expressions run on
few lines; a test holds the result against detect-secrets on every line of real code.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from detect_secrets.plugins.artifactory import ArtifactoryDetector
from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.cloudant import CloudantDetector
from detect_secrets.plugins.discord import DiscordBotTokenDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.ibm_cloud_iam import IbmCloudIamDetector
from detect_secrets.plugins.ibm_cos_hmac import IbmCosHmacDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.mailchimp import MailchimpDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector
from detect_secrets.plugins.softlayer import SoftlayerDetector
from detect_secrets.plugins.square_oauth import SquareOAuthDetector
from detect_secrets.plugins.stripe import StripeDetector
from detect_secrets.plugins.telegram_token import TelegramBotTokenDetector
from detect_secrets.plugins.twilio import TwilioKeyDetector

from training.corpus.text_views import LONG_RUN_CHARS


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of secret.

    Attributes:
        name: for reports.
        kind: "key" or "password".
        pattern: run on lines.
        group: of the match that is the secret.
        hints: of which a line with a match has one.
        view: in which they are looked for, of `text_views.Views`.
        also: a text that such a line has besides.
        run_chars: such a line has so many letters, digits, "_" and "-" in a row.
        delimiters: characters that the match may have at its ends and that are no part of the secret.
    """

    name: str
    kind: str
    pattern: re.Pattern[str]
    group: int = 0
    hints: tuple[bytes, ...]
    view: str
    also: str = ""
    run_chars: int = 0
    delimiters: str = ""


_Hints = tuple[str, ...]
_ASSIGNED = ("key", "pw", "pass", "token")
_PLUGINS: tuple[tuple[type[RegexBasedDetector], tuple[_Hints, ...]], ...] = (
    (ArtifactoryDetector, (("AKC",), ("AP",))),
    (AWSKeyDetector, (("A3T", "ABIA", "ACCA", "AKIA", "ASIA"), ("aws",))),
    (AzureStorageKeyDetector, (("AccountKey=",),)),
    (BasicAuthDetector, (("://",),)),
    (CloudantDetector, (_ASSIGNED, _ASSIGNED, ("cloudant.com",), ("cloudant.com",))),
    (DiscordBotTokenDetector, ((f".{6 * 'a'}.{27 * 'a'}",),)),
    (GitHubTokenDetector, (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),)),
    (
        GitLabTokenDetector,
        (
            ("glpat-", "gldt-", "glft-", "glsoat-", "glrt-"),
            *(("GR1348941",), ("glcbt-",), ("glimt-",), ("glptt-",), ("glagent-",), ("gloas-",)),
        ),
    ),
    (IbmCloudIamDetector, (_ASSIGNED,)),
    (IbmCosHmacDetector, (("secret",),)),
    (JwtTokenDetector, (("eyJ",),)),
    (MailchimpDetector, (("-us",),)),
    (NpmDetector, ((":_authToken",),)),
    (OpenAIDetector, (("T3BlbkFJ",),)),
    (PypiTokenDetector, (("pypi-AgE",), ("pypi-AgE",))),
    (SendGridDetector, (("SG.",),)),
    (SlackDetector, (("xoxa-", "xoxb-", "xoxp-", "xoxo-", "xoxs-", "xoxr-"), ("hooks.slack.com",))),
    (SoftlayerDetector, (_ASSIGNED, ("softlayer",))),
    (SquareOAuthDetector, (("sq0csp-",),)),
    (StripeDetector, (("k_live_",),)),
    (TelegramBotTokenDetector, (("00000000:",),)),
    (TwilioKeyDetector, ((34 * "a",), (34 * "a",))),
)
"""Each plugin with the hints of each of its expressions. Left out: private keys, keywords and addresses, which are
looked for elsewhere, and the two plugins for high entropy, which find hashes (see `secrets`)."""

_FIRST_GROUP = frozenset(
    {AWSKeyDetector, BasicAuthDetector, CloudantDetector, IbmCloudIamDetector, IbmCosHmacDetector, NpmDetector}
    | {SoftlayerDetector}
)
_PASSWORDS = frozenset({BasicAuthDetector, CloudantDetector})
_RUN_CHARS: dict[type[RegexBasedDetector], tuple[int, ...]] = {
    AWSKeyDetector: (20, 0),
    CloudantDetector: (64, 24, 64, 24),
    GitHubTokenDetector: (40,),
    GitLabTokenDetector: (25, 25, 26, 31, 46, 58, 70),
    IbmCloudIamDetector: (44,),
    IbmCosHmacDetector: (48,),
    MailchimpDetector: (35,),
    OpenAIDetector: (48,),
    PypiTokenDetector: (80, 80),
    SendGridDetector: (43,),
    SoftlayerDetector: (64, 64),
    StripeDetector: (32,),
}
"""Of each expression; 0 for those not named, whose secrets may be short or have other signs."""
_VIEWS = {DiscordBotTokenDetector: "runs", TelegramBotTokenDetector: "digits", TwilioKeyDetector: "runs"}
"""Plugins without a fixed piece of text, with the view in which their matches have one."""


def of_detect_secrets() -> Iterator[Rule]:
    """The rules of detect-secrets."""
    for plugin, hints in _PLUGINS:
        patterns = list(plugin().denylist)
        if len(patterns) != len(hints):
            raise RuntimeError(
                f"Every expression of detect-secrets has hints; got {len(patterns)} of {plugin.__name__} and "
                f"{len(hints)} hints. Complete the table in {__name__}."
            )
        runs = _RUN_CHARS.get(plugin, (0,) * len(patterns))
        for pattern, some, run_chars in zip(patterns, hints, runs, strict=True):
            yield Rule(
                name=plugin.secret_type,  # type: ignore[arg-type]
                kind="password" if plugin in _PASSWORDS else "key",
                pattern=pattern,
                group=1 if plugin in _FIRST_GROUP and pattern.groups else 0,
                hints=tuple(hint.encode() for hint in some),
                view=_VIEWS.get(plugin, _view(pattern)),
                also="@" if plugin is BasicAuthDetector else "",
                run_chars=run_chars,
                delimiters=' \t\r\n=:"' if plugin is ArtifactoryDetector else "",
            )


def _own(
    name: str, pattern: str, *hints: str, group: int = 0, kind: str = "key", run: int = LONG_RUN_CHARS, also: str = ""
) -> Rule:
    compiled = re.compile(pattern, re.ASCII)
    found_by = tuple(hint.encode() for hint in hints)
    return Rule(
        name=name,
        kind=kind,
        pattern=compiled,
        group=group,
        hints=found_by,
        view=_view(compiled),
        also=also,
        run_chars=run,
    )


def _view(pattern: re.Pattern[str]) -> str:
    ignores_case = pattern.flags & re.IGNORECASE or "(?i" in pattern.pattern
    return "lower" if ignores_case else "plain"


_VALUE = r"[\"']?([^\s\"';,&<>{}()\[\]]{4,200})"
_OTHERS: tuple[Rule, ...] = (
    _own("Age", r"AGE-SECRET-KEY-1[0-9A-Z]{58}", "AGE-SECRET-KEY-1"),
    _own("Anthropic", r"\bsk-ant-[\w-]{20,}", "sk-ant-"),
    _own("Artifactory", r"\bAKC[a-zA-Z0-9]{40,}", "AKC"),
    _own("Atlassian", r"\bATATT3[\w=-]{60,}", "ATATT3", run=0),
    _own(
        "AWS secret key",
        r"(?i:aws|secret).{0,30}?(?i:key|secret|token)\W{1,6}(?<![\w/+])([A-Za-z0-9/+]{40})(?![\w/+=])",
        *("aws", "secret"),
        group=1,
        run=0,
    ),
    _own("Azure", r"(?:SharedAccessKey|AccountKey)=([\w+/]{40,}={0,2})", "AccessKey=", "AccountKey=", group=1, run=0),
    _own("Authorization", r"(?i:bearer)\s+([\w~+/.-]{20,}=*)", "bearer", group=1, run=0),
    _own(
        "Authorization",
        r"(?i:authorization)\W{1,6}(?i:basic)\s+([A-Za-z0-9+/]{12,}=*)",
        "authorization",
        group=1,
        run=0,
    ),
    _own("Databricks", r"\bdapi[0-9a-f]{32}", "dapi"),
    _own("DigitalOcean", r"\bdo[opr]_v1_[0-9a-f]{64}", "_v1_"),
    _own("Discord webhook", r"discord(?:app)?\.com/api/webhooks/(\d+/[\w-]{60,})", "/api/webhooks/", group=1),
    _own("Docker Hub", r"\bdckr_pat_[\w-]{20,}", "dckr_pat_"),
    _own("Doppler", r"\bdp\.(?:pt|st|ct|sa)\.\w{40,}", "dp."),
    _own("Figma", r"\bfigd_[\w-]{30,}", "figd_"),
    _own("GitHub fine-grained", r"\bgithub_pat_\w{36,}", "github_pat_"),
    _own("GitLab", r"\bglpat-[\w.-]{20,}", "glpat-", run=0),
    _own("Google API", r"\bAIza[\w-]{35}(?![\w-])", "AIza"),
    _own("Google OAuth", r"\bGOCSPX-[\w-]{28}|\bya29\.[\w-]{20,}", "GOCSPX-", "ya29."),
    _own("Hashicorp Vault", r"\bhv[sb]\.[\w-]{24,}", "hvs.", "hvb."),
    _own("Hugging Face", r"\bhf_[A-Za-z0-9]{30,}", "hf_"),
    _own("Linear", r"\blin_api_\w{40}", "lin_api_"),
    _own("Mailgun", r"\bkey-[0-9a-f]{32}\b", "key-"),
    _own("New Relic", r"\bNRAK-[A-Z0-9]{27}", "NRAK-"),
    _own("npm", r"\bnpm_[A-Za-z0-9]{36}", "npm_"),
    _own("OpenAI", r"\bsk-(?:proj|svcacct|admin|or-v1)-[\w-]{20,}|\bsk-[A-Za-z0-9]{48}\b", "sk-"),
    _own("Postman", r"\bPMAK-[0-9a-f]{24}-[0-9a-f]{34}", "PMAK-"),
    _own("PyPI", r"\bpypi-AgE[\w-]{50,}", "pypi-AgE"),
    _own("Shopify", r"\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}", "shpat_", "shpca_", "shppa_", "shpss_"),
    _own("Slack", r"\bxox[a-z]-[\w-]{10,}|\bxapp-\d-[\w-]{10,}", "xox", "xapp-", run=0),
    _own("Square", r"\bsq0(?:atp|csp|idp)-[\w-]{22,43}", "sq0"),
    _own("Stripe", r"\b[rs]k_(?:live|test)_[0-9a-zA-Z]{16,}", "k_live_", "k_test_"),
    _own("Stripe webhook", r"\bwhsec_[\w+/]{24,}", "whsec_", run=0),
    _own("Twitter", r"\bAAAAAAAAAAAAAAAAAAAAA[\w%]{30,}", 21 * "A"),
    _own(
        "URL with password",
        r"://[^\s/:@\"'<>{}$]{0,64}:([^\s/:@\"'<>{}\[\]]{3,128})@[\w\[]",
        "://",
        group=1,
        kind="password",
        run=0,
        also="@",
    ),
    _own(
        "Connection string",
        r"(?i)(?:server|data source|host|user id|uid|user|username|database|dbname)\s*=[^\n,()]{1,300}?[;\s]"
        rf"(?:password|pwd)\s*=\s*{_VALUE}",
        *("password", "pwd"),
        group=1,
        kind="password",
        run=0,
    ),
    _own(
        "Connection string",
        rf"(?i)[\"'\s;](?:password|pwd)\s*=\s*{_VALUE};[^\n]{{0,300}}?(?:server|data source|user id|uid|database)\s*=",
        *("password", "pwd"),
        group=1,
        kind="password",
        run=0,
    ),
)
"""By the prefixes that the services document for their keys."""


def all_rules() -> tuple[Rule, ...]:
    """Every rule."""
    return (*of_detect_secrets(), *_OTHERS)
