"""Who may ask: bearer tokens with roles, requests per second, and names of this host.

A token file has one line a token, `role sha256 name`; the token itself is printed once, by `python -m linear token`.
"""
import hashlib
import hmac
import ipaddress
import secrets
import time

from linear.service.web import Refused

ROLES = ("predict", "write", "admin")       # each may do what those before it may
MOST_BUCKETS = 10_000


class TokenError(ValueError):
    """A token file that cannot be used; the message names the line."""


def new_token(role, name=""):
    """(a token, its line in a token file).

    >>> token, line = new_token("write", "importer")
    >>> len(token) >= 43, line.startswith("write "), line.endswith(" importer"), token in line
    (True, True, True, False)
    """
    token = secrets.token_urlsafe(32)
    return token, f"{role} {hashlib.sha256(token.encode()).hexdigest()} {name}".strip()


def read_tokens(path):
    """[(digest, role)] of a token file."""
    found = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            parts = line.partition("#")[0].split()
            if not parts:
                continue
            if len(parts) < 2 or parts[0] not in ROLES or len(parts[1]) != 64 or set(parts[1]) - set("0123456789abcdef"):
                raise TokenError(f"{path}:{number}: expected 'role sha256 [name]' with a role of {', '.join(ROLES)}; "
                                 "`python -m linear token --role write` makes such a line")
            found.append((bytes.fromhex(parts[1]), parts[0]))
    if not found:
        raise TokenError(f"{path} holds no token; `python -m linear token --role admin` makes one")
    return found


def is_loopback(host):
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Admits a request or raises Refused: 401, 403, 429. Without tokens everybody may do everything; then only those who
    name this machine as it names itself get in, so that no page of a stranger reaches it through a browser.

    `rate` is requests a second for each token or address, twice as many at once; 0 for no limit.
    """

    def __init__(self, tokens=(), rate=0.0, hosts=()):
        self.tokens, self.rate, self.hosts = list(tokens), rate, {host.encode() for host in hosts}
        self._buckets = {}

    def role_of(self, token):
        """The role of a token (bytes), None for none of ours. Every line is compared, each in constant time."""
        digest, role = hashlib.sha256(token).digest(), None
        for known, its_role in self.tokens:
            if hmac.compare_digest(known, digest):
                role = its_role
        return role

    def admit(self, wanted, scope, headers):
        """Let this request pass, if `wanted` ("" or a role) is what it may ask for."""
        who = None
        if self.tokens:
            if wanted:
                who = headers.get(b"authorization", b"")
                role = self.role_of(who[7:]) if who[:7].lower() == b"bearer " else None
                if role is None:
                    raise Refused(401, "send Authorization: Bearer TOKEN with a token of this service",
                                  headers=[(b"www-authenticate", b"Bearer")])
                if ROLES.index(role) < ROLES.index(wanted):
                    raise Refused(403, f"this takes a token of role {wanted}, yours is of role {role}")
        elif self.hosts and _name(headers.get(b"host", b"")) not in self.hosts:
            raise Refused(403, "without tokens this service answers only to the names of its own machine, such as localhost")
        if self.rate and wanted:
            self._spend(who or (scope.get("client") or ("",))[0])

    def _spend(self, who):
        now, most = time.monotonic(), 2 * self.rate
        left, then = self._buckets.get(who, (most, now))
        left = min(most, left + (now - then) * self.rate)
        if left < 1.0:
            raise Refused(429, f"more than {self.rate:g} requests a second", retry=1)
        if len(self._buckets) >= MOST_BUCKETS:
            self._buckets = {key: value for key, value in self._buckets.items() if now - value[1] < 2.0}
        self._buckets[who] = left - 1.0, now


def _name(host):
    """The host of a Host header, without its port."""
    return host.rpartition(b"]")[0] + b"]" if host.startswith(b"[") else host.partition(b":")[0]
