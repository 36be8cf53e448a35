"""A browser of a hundred lines: cookies and redirects, no pages. It signs in at every peer."""

import http.client
import urllib.parse


class Browser:
    """One visitor of one peer. `hint` is the account that it picks at the emulator."""

    def __init__(self, hint: str) -> None:
        self.hint = hint
        self.cookies: dict[str, dict[str, str]] = {}

    def sign_in(self, url: str) -> dict[str, str]:
        """Follows redirects from `url` to its page; returns the cookies of that origin."""
        origin = _origin(url)
        for _ in range(12):
            status, location = self._fetch(url)
            if location is None:
                if status != 200 or _origin(url) != origin:
                    raise RuntimeError(f"signing in ended at {url.split('?')[0]} with {status}")
                return self.cookies.get(origin, {})
            url = urllib.parse.urljoin(url, location)
            if "/oauth2/v2.0/authorize" in url:
                url = self._hinted(url)
        raise RuntimeError("signing in goes round in circles")

    def _hinted(self, url: str) -> str:
        """The account is picked without a click, whatever prompt the peer asked for."""
        parts = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        query.pop("prompt", None)
        query["login_hint"] = self.hint
        return urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(query)))

    def _fetch(self, url: str) -> tuple[int, str | None]:
        parts = urllib.parse.urlsplit(url)
        jar = self.cookies.setdefault(_origin(url), {})
        connection = http.client.HTTPConnection(parts.netloc, timeout=20)
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        headers = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        if jar:
            headers["Cookie"] = cookie_header(jar)
        try:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            answer.read()
            for line in answer.headers.get_all("Set-Cookie") or []:
                _store(jar, line)
            redirect = answer.status in (301, 302, 303, 307, 308)
            return answer.status, answer.headers.get("Location") if redirect else None
        finally:
            connection.close()


def cookie_header(cookies: dict[str, str]) -> str:
    """The `Cookie` field of these cookies."""
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def _store(jar: dict[str, str], line: str) -> None:
    """Keeps or forgets one cookie. `Secure` is ignored: loopback stands for TLS here."""
    pair, _, attributes = line.partition(";")
    name, _, value = pair.strip().partition("=")
    gone = "max-age=0" in attributes.lower() or "1970" in attributes
    if gone or not value:
        jar.pop(name, None)
    else:
        jar[name] = value


def _origin(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
