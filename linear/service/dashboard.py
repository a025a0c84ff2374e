"""The page at /: a file of HTML with today's numbers filled in, its script and style, and a way to sign in.

A browser cannot send a token with a page or a stream, so the sign-in puts it into a cookie, which counts for reading only.
Nothing on the page comes from elsewhere, and no script or style stands in the page itself: its policy forbids both.
"""
import re
from html import escape
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs

from linear.service.web import Refused, read_body, respond, shape

FOLDER = Path(__file__).parent / "page"
TYPES = {".html": b"text/html; charset=utf-8", ".js": b"text/javascript; charset=utf-8", ".css": b"text/css; charset=utf-8",
         ".svg": b"image/svg+xml", ".txt": b"text/plain; charset=utf-8"}
COOKIE = "linear-token"
FORM = b"application/x-www-form-urlencoded"
POLICY = (b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
          b"base-uri 'none'; frame-ancestors 'none'")
HEADERS = [(b"content-security-policy", POLICY), (b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
NOT_KEPT = [*HEADERS, (b"cache-control", b"no-store")]


def routes(service, stream):
    """Starlette's routes of the page, its files, the sign-in and `stream`."""
    from starlette.routing import Route
    files = {"/page/" + path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.suffix in TYPES}
    files["/favicon.ico"] = FOLDER / "favicon.svg"
    return [Route("/", _Home(service, stream), methods=["GET"]), Route("/sign-in", _SignIn(service), methods=["POST"]),
            Route("/v1/stream", _Readable(service, stream), methods=["GET"]),
            *(Route(url, _File(service, path), methods=["GET"]) for url, path in files.items())]


def filled(page, values):
    """A page with each {{name}} replaced by its value as text, and each {{{name}}} by its value as HTML.

    >>> filled("<b>{{who}}</b> {{{what}}}", {"who": "<i>", "what": "<hr>"})
    '<b>&lt;i&gt;</b> <hr>'
    """
    page = re.sub(r"\{\{\{(\w+)\}\}\}", lambda found: values[found[1]], page)
    return re.sub(r"\{\{(\w+)\}\}", lambda found: escape(str(values[found[1]])), page)


def weight_rows(weights):
    """Rows of the table of weights: [(name, weight, whether it is a name)].

    >>> weight_rows([("user=<b>", -0.25, True)])
    '<tr><td>user=&lt;b&gt;</td><td></td><td>−0.250</td></tr>'
    """
    return "".join(f"<tr><td>{escape(name)}</td><td></td><td>{_signed(weight)}</td></tr>" for name, weight, _ in weights)


def _signed(number):
    return f"{number:+.3f}".replace("-", "−")


class _Readable:
    """An ASGI application for those who may read."""

    def __init__(self, service, application=None):
        self.service, self.application = service, application

    async def __call__(self, scope, receive, send):
        try:
            self.admit(scope)
            await self.application(scope, receive, send)
        except Refused as error:
            await respond(send, error.status, shape(error.status, str(error)), headers=error.headers)

    def admit(self, scope, role="predict"):
        headers = dict(scope["headers"])
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            cookies = {}
        if COOKIE in cookies and b"authorization" not in headers:
            headers[b"authorization"] = b"Bearer " + cookies[COOKIE].value.encode("latin-1", "replace")
        self.service.guard.admit(role, scope, headers)


class _Home(_Readable):
    """The page, or the sign-in for those who have to."""

    async def __call__(self, scope, receive, send):
        try:
            self.admit(scope)
        except Refused as error:
            if error.status not in (401, 403) or not self.service.guard.tokens:
                return await respond(send, error.status, shape(error.status, str(error)), headers=error.headers)
            return await _sign_in_page(send, error.status, "")
        stream = self.application
        await stream.look()
        now = stream.now()
        values = {**now["texts"], "weight_rows": weight_rows(now["weights"]), "phase": now["phase"]}
        await respond(send, 200, filled((FOLDER / "index.html").read_text(encoding="utf-8"), values).encode(), TYPES[".html"], NOT_KEPT)


class _File(_Readable):
    """One of the page's own files, which hold nothing of the service."""

    def __init__(self, service, path):
        super().__init__(service)
        self.type, self.body = TYPES[path.suffix], path.read_bytes()

    async def __call__(self, scope, receive, send):
        try:
            self.admit(scope, "")
        except Refused as error:
            return await respond(send, error.status, shape(error.status, str(error)))
        await respond(send, 200, self.body, self.type, [*HEADERS, (b"cache-control", b"no-cache")])


class _SignIn(_Readable):
    """Takes a token from the form and gives it back as a cookie that no script can read."""

    async def __call__(self, scope, receive, send):
        try:
            self.admit(scope, "")
            body = await read_body(dict(scope["headers"]), receive, 4096, FORM)
        except Refused as error:
            return await respond(send, error.status, shape(error.status, str(error)), headers=error.headers)
        token, = parse_qs(body.decode("latin-1")).get("token", [""])[:1]
        if self.service.guard.role_of(token.strip().encode()) is None:
            return await _sign_in_page(send, 401, "This is no token of this service.")
        cookie = f"{COOKIE}={token.strip()}; Path=/; HttpOnly; SameSite=Strict".encode()
        await respond(send, 303, b"", TYPES[".txt"], [(b"location", b"/"), (b"set-cookie", cookie)])


async def _sign_in_page(send, status, problem):
    page = (FOLDER / "sign-in.html").read_text(encoding="utf-8")
    await respond(send, status, filled(page, {"problem": problem}).encode(), TYPES[".html"], NOT_KEPT)
