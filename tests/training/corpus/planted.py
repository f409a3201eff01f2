"""Secrets and personal data made up in the forms that public detectors test with, and code to plant them in.

Every value is drawn at random from a seed: none ever opened anything, and none stands in this file, where a scanner
would find it.
"""

import base64
import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

ALNUM = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
UPPER = string.ascii_uppercase + string.digits
URL_SAFE = ALNUM + "_-"


@dataclass(frozen=True, kw_only=True)
class Plant:
    """One secret in a file.

    Attributes:
        name: of its form.
        kind: that a finding should have.
        path: of the file.
        text: of the file.
        secret: the part that must be gone afterwards.
    """

    name: str
    kind: str
    path: str
    text: str
    secret: str


def _draw(rng: Random, alphabet: str, count: int) -> str:
    """At random, with a letter and a digit where the alphabet has them."""
    value = [rng.choice(alphabet) for _ in range(count)]
    value[0] = rng.choice([c for c in alphabet if c.isalpha()] or alphabet)
    value[-1] = rng.choice([c for c in alphabet if c.isdigit()] or alphabet)
    return "".join(value)


def _jwt(rng: Random) -> str:
    def part(data: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    header, payload = {"alg": "HS256", "typ": "JWT"}, {"sub": _draw(rng, HEX, 10), "iat": rng.randrange(10**9)}
    return f"{part(header)}.{part(payload)}.{base64.urlsafe_b64encode(rng.randbytes(32)).rstrip(b'=').decode()}"


TOKENS: dict[str, Callable[[Random], str]] = {
    "AWS access key": lambda rng: "AKIA" + _draw(rng, UPPER, 16),
    "AWS session key": lambda rng: "ASIA" + _draw(rng, UPPER, 16),
    "GitHub personal": lambda rng: "ghp_" + _draw(rng, ALNUM, 36),
    "GitHub server": lambda rng: "ghs_" + _draw(rng, ALNUM, 36),
    "GitHub fine-grained": lambda rng: "github_pat_" + _draw(rng, ALNUM, 22) + "_" + _draw(rng, ALNUM, 59),
    "GitLab personal": lambda rng: "glpat-" + _draw(rng, URL_SAFE, 20),
    "GitLab runner": lambda rng: "glrt-" + _draw(rng, URL_SAFE, 20),
    "Slack bot": lambda rng: f"xoxb-{rng.randrange(10**11)}-{rng.randrange(10**11)}-" + _draw(rng, ALNUM, 24),
    "Slack app": lambda rng: "xapp-1-A" + _draw(rng, UPPER, 10) + "-" + _draw(rng, HEX, 64),
    "Slack webhook": lambda rng: (
        f"https://hooks.slack.com/services/T{_draw(rng, UPPER, 8)}/B{_draw(rng, UPPER, 8)}/{_draw(rng, ALNUM, 24)}"
    ),
    "Stripe live": lambda rng: "sk_live_" + _draw(rng, ALNUM, 24),
    "Stripe restricted": lambda rng: "rk_live_" + _draw(rng, ALNUM, 24),
    "OpenAI": lambda rng: "sk-" + _draw(rng, ALNUM, 20) + "T3BlbkFJ" + _draw(rng, ALNUM, 20),
    "OpenAI project": lambda rng: "sk-proj-" + _draw(rng, URL_SAFE, 64),
    "Anthropic": lambda rng: "sk-ant-api03-" + _draw(rng, URL_SAFE, 93),
    "Google API": lambda rng: "AIza" + _draw(rng, URL_SAFE, 35),
    "Google OAuth": lambda rng: "GOCSPX-" + _draw(rng, URL_SAFE, 28),
    "Hugging Face": lambda rng: "hf_" + _draw(rng, ALNUM, 34),
    "npm": lambda rng: "npm_" + _draw(rng, ALNUM, 36),
    "PyPI": lambda rng: "pypi-AgEIcHlwaS5vcmc" + _draw(rng, URL_SAFE, 80),
    "SendGrid": lambda rng: "SG." + _draw(rng, URL_SAFE, 22) + "." + _draw(rng, URL_SAFE, 43),
    "Mailchimp": lambda rng: _draw(rng, HEX, 32) + "-us" + str(rng.randrange(1, 20)),
    "Mailgun": lambda rng: "key-" + _draw(rng, HEX, 32),
    "Twilio": lambda rng: "SK" + _draw(rng, HEX, 32),
    "Telegram": lambda rng: f"{rng.randrange(10**8, 10**10)}:AA" + _draw(rng, URL_SAFE, 33),
    "Discord": lambda rng: "M" + _draw(rng, ALNUM, 23) + "." + _draw(rng, ALNUM, 6) + "." + _draw(rng, URL_SAFE, 27),
    "Square": lambda rng: "sq0csp-" + _draw(rng, URL_SAFE, 43),
    "DigitalOcean": lambda rng: "dop_v1_" + _draw(rng, HEX, 64),
    "Shopify": lambda rng: "shpat_" + _draw(rng, HEX, 32),
    "Databricks": lambda rng: "dapi" + _draw(rng, HEX, 32),
    "JWT": _jwt,
    "Artifactory": lambda rng: "AKC" + _draw(rng, ALNUM, 40),
}
"""Documented forms of keys and tokens."""

TOKEN_PLACES = (
    ("a.py", 'client = Client("{}")\n'),
    ("a.js", "const token = '{}';\n"),
    ("a.go", '\tkey := "{}"\n'),
    ("a.yaml", "auth:\n  value: {} \n"),
    ("a.sh", 'export VALUE="{}"\n'),
    ("a.md", "Use \n {} \n to connect.\n"),
)

PASSWORD_PLACES = (
    ("a.py", 'password = "{}"\n'),
    ("a.py", "login(user, password='{}')\n"),
    ("a.py", 'settings = {{"db_password": "{}"}}\n'),
    ("a.py", 'if secret == "{}":\n    pass\n'),
    ("a.py", 'url = "postgres://admin:{}@db.internal:5432/app"\n'),
    ("a.js", 'const config = {{ apiKey: "{}" }};\n'),
    ("a.js", "const client_secret = '{}';\n"),
    ("a.ts", 'this.privateKey = "{}";\n'),
    ("a.go", 'dbPassword := "{}"\n'),
    ("A.java", 'String password = "{}";\n'),
    ("a.cs", 'var connection = "Server=db;User Id=app;Password={};";\n'),
    ("a.cs", 'string secret = "{}";\n'),
    ("a.cpp", 'std::string secret("{}");\n'),
    ("a.yaml", "db_password: {}\n"),
    ("a.yaml", "database_url: mysql://root:{}@mysql.internal/shop\n"),
    ("a.toml", 'api_key = "{}"\n'),
    ("a.rb", "config.secret_key = '{}'\n"),
    ("a.sh", 'export DB_PASSWORD="{}"\n'),
    ("a.rs", 'let password = "{}";\n'),
    ("a.kt", 'val clientSecret = "{}"\n'),
)


def tokens(rng: Random) -> list[Plant]:
    """Every form of token in every place."""
    return [
        Plant(name=name, kind="key", path=path, text=code.format(value), secret=value)
        for name, make in TOKENS.items()
        for path, code in TOKEN_PLACES
        for value in [make(rng)]
    ]


def aws_secrets(rng: Random) -> list[Plant]:
    """Secret access keys, which have no form but 40 characters, by the names they are given."""
    places = (
        ("a.py", "aws_secret_access_key = '{}'\n"),
        ("a.py", "client('s3', aws_secret_access_key=\"{}\")\n"),
        ("credentials.cfg", "aws_secret_access_key = {}\n"),
        ("a.sh", "export AWS_SECRET_ACCESS_KEY={}\n"),
        ("a.js", 'secretAccessKey: "{}",\n'),
        ("a.tf.toml", 'secret_key = "{}"\n'),
    )
    values = [(path, code, _draw(rng, ALNUM + "/+", 40)) for path, code in places]
    return [Plant(name="AWS secret", kind="key", path=p, text=code.format(v), secret=v) for p, code, v in values]


def passwords(rng: Random) -> list[Plant]:
    """Passwords in assignments, URLs and connection strings: random, and as people make them."""
    plants = []
    for path, code in PASSWORD_PLACES:
        in_url = "://" in code
        signs = "!_-." if in_url else "!#%*+_-."
        word = rng.choice(["Winter", "monkey", "Orange", "correct", "Hunter", "qwerty"])
        for value in (_draw(rng, ALNUM, 16), _draw(rng, ALNUM + signs, 12), f"{word}{rng.randrange(10, 9999)}!"):
            plants.append(Plant(name="password", kind="password", path=path, text=code.format(value), secret=value))
    return plants


def private_keys(rng: Random) -> list[Plant]:
    """Private keys as files, and as strings of several languages."""
    plants = []
    for label in ("RSA ", "EC ", "DSA ", "OPENSSH ", "", "ENCRYPTED "):
        body = base64.b64encode(rng.randbytes(600)).decode()
        lines = [body[start : start + 64] for start in range(0, len(body), 64)]
        head, foot = f"-----BEGIN {label}PRIVATE KEY-----", f"-----END {label}PRIVATE KEY-----"
        for path, text in (
            ("key.txt", "\n".join([head, *lines, foot, ""])),
            ("a.py", 'KEY = """' + "\n".join([head, *lines, foot]) + '"""\n'),
            ("A.java", "String k = " + " +\n  ".join(f'"{line}\\n"' for line in [head, *lines, foot]) + ";\n"),
            ("a.js", 'const k = "' + "\\n".join([head, *lines, foot]) + '";\n'),
            ("a.yaml", '"private_key": "' + "\\n".join([head, *lines, foot]) + '"\n'),
        ):
            plants.append(Plant(name="private key", kind="private-key", path=path, text=text, secret=lines[3][:40]))
    return plants


def emails(rng: Random) -> list[Plant]:
    """E-mail addresses where code has them."""
    people = ("jane.doe", "j_smith", "r2d2", "anna-maria", "lee+lists", "o.brien", "k")
    hosts = ("gmail.com", "uni-bonn.de", "cs.stanford.edu", "proton.me", "mail.ru", "hey.co.uk", "kernel.org")
    places = (
        ("a.py", "# Copyright 2019 Jane Doe <{}>\n"),
        ("a.py", '__author__ = "{}"\n'),
        ("a.js", " * @author {} (Jane)\n"),
        ("a.md", "Write to [me](mailto:{}).\n"),
        ("a.toml", 'authors = [{{ name = "J", email = "{}" }}]\n'),
        ("a.txt", "{}\n"),
    )
    plants = []
    for path, code in places:
        for person in people:
            value = f"{person}@{rng.choice(hosts)}"
            plants.append(Plant(name="e-mail", kind="email", path=path, text=code.format(value), secret=value))
    return plants


def phones(rng: Random) -> list[Plant]:
    """Telephone numbers of valid ranges in the ways people write them."""
    last = [f"{rng.randrange(2000, 9000)}" for _ in range(12)]
    written = (
        f"+1 212 736 {last[0]}",
        f"(415) 623-{last[1]}",
        f"415-623-{last[2]}",
        f"+1-650-253-{last[3]}",
        f"1-800-692-{last[4]}",
        f"+44 20 7946 {last[5]}",
        f"+49 89 3603{last[6]}",
        f"+49 (0)30 2270{last[7]}",
        f"+33 1 42 68 {last[8][:2]} {last[8][2:]}",
        f"+91 98765 4{last[9]}",
        f"+81-3-3224-{last[10]}",
        f"212.736.{last[11]}",
    )
    places = (("a.py", "# Call {} for help\n"), ("a.js", 'const phone = "{}";\n'), ("a.md", "Tel: {}\n"))
    return [
        Plant(name="telephone", kind="phone", path=path, text=code.format(value), secret=value)
        for path, code in places
        for value in written
    ]


def addresses(rng: Random) -> list[Plant]:
    """Public addresses."""
    values = [
        f"{rng.choice([52, 93, 133, 185, 203])}.{rng.randrange(1, 255)}.{rng.randrange(1, 255)}.{n}"
        for n in range(33, 45)
    ]
    values = [value for value in values if not value.startswith("203.0.113.")]
    values += ["2a00:1450:4001:81b::200e", "2606:2800:220:1:248:1893:25c8:1946", "2001:41d0:8:e8ad::1"]
    places = (
        ("a.py", 'HOST = "{}"\n'),
        ("a.yaml", "server: {}\n"),
        ("a.txt", "ssh root@{} now\n"),
        ("a.sh", "curl http://{}/x\n"),
    )
    return [
        Plant(
            name="address",
            kind="ip",
            path=path,
            text=code.format(f"[{v}]" if ":" in v and "http" in code else v),
            secret=v,
        )
        for path, code in places
        for v in values
    ]


def decoys(rng: Random) -> list[Plant]:
    """What has the form of a secret or of personal data and is none; `secret` is the part that must stay."""
    sha, md5 = _draw(rng, HEX, 40), _draw(rng, HEX, 32)
    uuid = "-".join(_draw(rng, HEX, count) for count in (8, 4, 4, 4, 12))
    packed = base64.b64encode(rng.randbytes(48)).decode()
    name = f"parse_{_draw(rng, string.ascii_lowercase, 8)}"
    lines = (
        ("a.py", 'REVISION = "{}"\n', sha),
        ("a.py", 'assert digest == "{}"\n', md5),
        ("a.json", '"integrity": "sha512-{}"\n', packed),
        ("a.py", 'ID = uuid.UUID("{}")\n', uuid),
        ("a.md", "Fixed in commit {}.\n", sha),
        ("a.css", "background: url(data:image/png;base64,{});\n", packed),
        ("a.py", "password = {}\n", f"get_{name}()"),
        ("a.py", 'password = os.environ["{}"]\n', name.upper()),
        ("a.py", 'password = "{}"\n', "changeme"),
        ("a.py", 'api_key = "{}"\n', "YOUR_API_KEY"),
        ("a.yaml", "password: {}\n", "${DB_PASSWORD}"),
        ("a.js", "const token = {};\n", f"await {name}(request)"),
        ("a.ts", "private readonly secretKey: {};\n", "SecretKeyProvider"),
        ("a.java", "String password = {};\n", f"config.{name}()"),
        ("a.py", 'if "BEGIN RSA PRIVATE KEY" in text:\n    raise {}(text)\n', "UnsupportedKeyFormatError"),
        ("a.py", 'url = "https://{}/x"\n', "user:password@example.com"),
        ("a.md", "Write to {}.\n", "someone@example.com"),
        ("a.py", "@{}\n", "functools.cache"),
        ("a.py", "x = a @ {}\n", f"{name}.weights"),
        ("a.sh", "git clone {}\n", "git@github.com:org/repo.git"),
        ("a.md", "See `{}`.\n", "left@right"),
        ("a.py", 'HOST = "{}"\n', f"10.{rng.randrange(256)}.{rng.randrange(256)}.7"),
        ("a.py", 'HOST = "{}"\n', "127.0.0.1"),
        ("a.py", 'HOST = "{}"\n', f"192.0.2.{rng.randrange(1, 255)}"),
        ("a.py", '__version__ = "{}"\n', f"{rng.randrange(1, 30)}.{rng.randrange(9)}.{rng.randrange(9)}.0"),
        ("a.toml", 'version = "{}"\n', f"4.{rng.randrange(9)}.{rng.randrange(20)}.2"),
        ("a.cs", '[assembly: AssemblyVersion("{}")]\n', f"6.0.{rng.randrange(9)}.0"),
        ("a.py", "address = a[{}]\n", "1::2"),
        ("a.cpp", "using {};\n", "std::abc::def"),
        ("a.py", "started = {}\n", f"16{rng.randrange(10**8):08d}"),
        ("a.py", "numbers = [{}]\n", "415, 623, 1234"),
        ("a.md", "ISBN {}\n", f"978-3-16-14{rng.randrange(10, 99)}10-0"),
        ("a.md", "Call {} (a made-up number).\n", "212-555-0123"),
        ("a.py", 'day = "{}"\n', "2024-03-17 12:30:45"),
    )
    return [
        Plant(name="decoy", kind="decoy", path=path, text=code.replace("{}", value), secret=value)
        for path, code, value in lines
    ]


def everything(seed: int) -> list[Plant]:
    """All of the above."""
    rng = Random(seed)
    makers = (tokens, aws_secrets, passwords, private_keys, emails, phones, addresses)
    return [plant for make in makers for plant in make(rng)]
