"""Finds e-mail addresses, telephone numbers and public IP addresses; example values can be left."""

import ipaddress
import re
from collections.abc import Iterable, Iterator

import phonenumbers

from training.corpus.secret_search import Finding
from training.corpus.text_views import Views

_EMAIL = re.compile(
    r"(?<![\w.+%/@-])([A-Za-z0-9][\w.+%-]{0,63})@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,18})"
    r"(?![\w@(=-]|\.\w)"
)
_USER_OF_URL = re.compile(r"://[^\s/@]*$")
_AT_CHARS = 72
_TOP_LEVEL = frozenset(
    {
        *("com", "org", "net", "edu", "gov", "mil", "int", "info", "biz", "name", "pro", "mobi", "aero", "coop"),
        *("museum", "jobs", "cat", "tel", "asia", "xyz", "online", "app", "dev", "tech", "site", "shop", "cloud"),
        *("email", "blog", "wiki", "world", "live", "club", "software", "systems", "solutions", "academy"),
        *("network", "digital", "agency", "berlin", "hamburg", "london", "paris", "moscow", "tokyo", "nyc"),
        *("space", "store", "news", "group", "team", "today", "codes", "engineering", "consulting", "foundation"),
    }
)
"""Besides all of two letters, which are countries'."""
_EXAMPLE_DOMAIN = re.compile(
    r"(.*\.)?((example|test|invalid|localhost|local)(\.\w+)?|(domain|foo|bar|foobar|baz|acme|mail|email|host|server|"
    r"site|somewhere|yourdomain|mydomain|company|xyz|abc|a|b|x|y|z)\.(com|org|net|edu))"
)
_NO_ADDRESSES = frozenset({"openssh.com", "libssh.org", "lysator.liu.se"})
"""Domains in names of SSH algorithms (RFC 4251, section 6). Paraguay's names are left out too: ".py" ends files."""
_ROLE = frozenset({"git", "hg", "svn", "noreply", "no-reply", "donotreply", "do-not-reply", "user", "username", "you"})


def emails(views: Views, *, keep_examples: bool = True) -> Iterator[Finding]:
    """E-mail addresses. Examples are the reserved domains of RFC 2606 and their like, and senders that are no one."""
    text = views.text
    position = text.find("@")
    done = 0
    while position >= 0:
        match = _EMAIL.search(text, max(done, position - _AT_CHARS), position + 400)
        if match and match.start() < position < match.end():
            done = match.end()
            if not _USER_OF_URL.search(text, max(0, match.start() - 80), match.start()) and _is_email(
                match[1], match[2], keep_examples=keep_examples
            ):
                yield Finding(start=match.start(), end=match.end(), kind="email", rule="e-mail")
        position = text.find("@", max(done, position + 1))


def _is_email(local: str, domain: str, *, keep_examples: bool) -> bool:
    top = domain.rpartition(".")[2]
    if not (top.islower() or domain.isupper()) or (len(top) > 2 and top.lower() not in _TOP_LEVEL):
        return False
    if local.endswith(".") or ".." in local or domain in _NO_ADDRESSES or domain.endswith(".py"):
        return False
    example = local.lower() in _ROLE or _EXAMPLE_DOMAIN.fullmatch(domain.lower())
    return not (keep_examples and example)


_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{1,4}(?![\w:.])")
_IPV4_SHAPE = re.compile(rb"0\.0{1,3}\.0{1,3}\.0")
_IPV6_SHAPE = re.compile(rb":[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]")
_VERSION = re.compile(
    r"(version|release|\bv|\brev|firmware|build|oid|section|chapter|chrome/|safari/|firefox/|[=<>~!]=)[\w\s\"'=:(,/]{0,20}$",
    re.IGNORECASE,
)
_EXAMPLE_ADDRESSES = frozenset({"8.8.8.8", "8.8.4.4", "1.1.1.1", "1.0.0.1", "9.9.9.9"})
"""Public resolvers, which stand for "some address" in examples."""


def ip_addresses(views: Views, *, keep_examples: bool = True) -> Iterator[Finding]:
    """Public addresses; private, loopback and documentation ranges are no one's.

    Four small numbers are a version or an object identifier more often than an address: at least one number is above
    31, no number has a leading zero, and the text before must not speak of a version.
    """
    text = views.text
    for match in _around(_IPV4, views, _IPV4_SHAPE.finditer(views.digits), before=3, after=4):
        address = match[0]
        if text.startswith(".in-addr.arpa", match.end()):
            address = ".".join(reversed(address.split(".")))
        if _is_public_ipv4(address, before=text[max(0, match.start() - 30) : match.start()]) and not (
            keep_examples and address in _EXAMPLE_ADDRESSES
        ):
            yield Finding(start=match.start(), end=match.end(), kind="ip", rule="IPv4")
    for match in _around(_IPV6, views, _IPV6_SHAPE.finditer(views.plain), before=5, after=40):
        if _is_global(match[0]):
            yield Finding(start=match.start(), end=match.end(), kind="ip", rule="IPv6")


def _around(
    pattern: re.Pattern[str], views: Views, places: Iterable[re.Match[bytes]], *, before: int, after: int
) -> Iterator[re.Match[str]]:
    """Matches of `pattern` that begin at most `before` characters ahead of a place, each once."""
    done = 0
    for place in places:
        match = pattern.search(views.text, max(done, place.start() - before), place.end() + after)
        if match and match.start() <= place.start():
            done = match.end()
            yield match


def _is_public_ipv4(address: str, *, before: str) -> bool:
    numbers = [int(part) for part in address.split(".")]
    if _NUMBER_BEFORE.search(before) or address.startswith(_OBJECT_IDENTIFIERS):
        return False
    if max(numbers) <= _LEAST_IN_ADDRESS or numbers[-1] in (0, 255) or len(set(numbers)) == 1:
        return address in _EXAMPLE_ADDRESSES
    return _is_global(address) and not _VERSION.search(before)


_LEAST_IN_ADDRESS = 31
_OBJECT_IDENTIFIERS = ("1.3.6.", "2.5.")
"""Arcs of X.500 and the internet, whose members have four numbers too."""
_NUMBER_BEFORE = re.compile(r"\d $")
"""Paths of drawings in SVG are written as "1.08.58 1.23.82.72"."""


def _is_global(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast


_INTERNATIONAL = re.compile(r"(?<![\w+)\].])\+[1-9](?:[ ().\-/]{0,2}\d){7,14}(?![\w.]?\d|\w)")
_INTERNATIONAL_SHAPE = re.compile(rb"\+0")
_NORTH_AMERICAN = re.compile(
    r"(?<![\w.+\-/])(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}(?![\w\-/]|\.\d)"
)
_NORTH_AMERICAN_SHAPE = re.compile(rb"000[-. ]0000")
_TELEPHONE = re.compile(
    r"(?i:\b(?:tel|phone|telephone|fax|mobile|telefon)\b[^\d\n+]{0,12})(\(?0?[\d(][\d ()./-]{6,18}\d)(?![\w-])"
)
_TELEPHONE_HINTS = (b"tel", b"phone", b"fax", b"mobile")


def phones(views: Views, *, keep_examples: bool = True, region: str = "US") -> Iterator[Finding]:
    """Telephone numbers that the numbering plans know (phonenumbers): with "+", North American, or after "tel:".

    Args:
        views: of a file's text.
        keep_examples: whether numbers with 555 and rows such as 123456 are left.
        region: for numbers after "tel:", "phone" and the like that have no country.
    """
    places = _INTERNATIONAL_SHAPE.finditer(views.digits)
    for match in _around(_INTERNATIONAL, views, places, before=0, after=45):
        if _is_phone(match[0], region=None, keep_examples=keep_examples):
            yield Finding(start=match.start(), end=match.end(), kind="phone", rule="international")
    places = _NORTH_AMERICAN_SHAPE.finditer(views.digits)
    for match in _around(_NORTH_AMERICAN, views, places, before=8, after=2):
        if _is_phone(match[0], region="US", keep_examples=keep_examples):
            yield Finding(start=match.start(), end=match.end(), kind="phone", rule="North American")
    for offset, line in views.windows("lower", _TELEPHONE_HINTS):
        for match in _TELEPHONE.finditer(line):
            if _is_phone(match[1], region=region, keep_examples=keep_examples):
                yield Finding(start=offset + match.start(1), end=offset + match.end(1), kind="phone", rule="named")


def _is_phone(written: str, *, region: str | None, keep_examples: bool) -> bool:
    try:
        number = phonenumbers.parse(written, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(number) and not (keep_examples and _is_example(number))


def _is_example(number: phonenumbers.PhoneNumber) -> bool:
    digits = str(number.national_number)
    fictional = number.country_code == 1 and (digits[3:6] == "555" or digits.startswith("555"))
    return fictional or "123456" in digits or "000000" in digits or len(set(digits)) <= 2
