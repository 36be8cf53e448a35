"""A small browser: cookies by origin, redirects, Sec-Fetch headers, forms."""

import http.client
import re
import urllib.parse

NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
}
SCRIPT = {
    "Accept": "*/*",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Site": "same-origin",
}
FORM = "application/x-www-form-urlencoded"


class Page:
    """Where a request ended."""

    def __init__(self, url, status, headers, body, hops):
        self.url, self.status, self.headers, self.hops = url, status, headers, hops
        self.text = body.decode("utf-8", "replace")

    def element(self, name):
        """The text of the element with this id."""
        found = re.search(rf'id="?{name}"?[^>]*>([^<]*)<', self.text)
        return found and found[1].strip()

    @property
    def path(self):
        """The path of the last URL."""
        return urllib.parse.urlsplit(self.url).path

    def signed_in_on_the_way(self):
        """Whether Microsoft was asked."""
        return any("/oauth2/v2.0/authorize" in hop for hop in self.hops)


class Browser:
    """One visitor. Signs in as `user` when Microsoft asks; `extra` goes to the app's origin."""

    def __init__(self, origin, user=None, extra=()):
        self.origin, self.user, self.extra = origin, user, dict(extra)
        self.cookies = {}

    def open(self, place="/"):
        """What the address bar does."""
        return self._follow("GET", self._url(place), NAVIGATION | {"Sec-Fetch-Site": "none"})

    def submit(self, place, **fields):
        """A form of one of the app's own pages."""
        headers = NAVIGATION | {"Sec-Fetch-Site": "same-origin", "Content-Type": FORM, "Origin": self.origin}
        return self._follow("POST", self._url(place), headers, urllib.parse.urlencode(fields))

    def fetch(self, place, method="GET", headers=()):
        """A script of one of the app's own pages; redirects are not followed."""
        return self._request(method, self._url(place), SCRIPT | dict(headers))

    def hop(self, place="/", headers=NAVIGATION):
        """A navigation that stays at its first answer."""
        return self._request("GET", self._url(place), headers | {"Sec-Fetch-Site": "none"})

    def cookie_header(self):
        """The `Cookie` field for the app's origin."""
        return "; ".join(f"{name}={value}" for name, value in self._jar(self.origin).items())

    def session(self):
        """Our session cookies, which say that somebody is signed in."""
        names = self._jar(self.origin)
        return [name for name in names if name.startswith("__Host-vestibule") and not name.endswith("-flow")]

    def _url(self, place):
        return urllib.parse.urljoin(self.origin, place)

    def _jar(self, url):
        return self.cookies.setdefault(origin_of(url), {})

    def _follow(self, method, url, headers, body=None):
        hops = []
        while True:
            page = self._request(method, url, headers, body)
            page.hops = hops
            location = page.headers.get("Location")
            if page.status not in (301, 302, 303, 307, 308) or location is None:
                return page
            hops.append(url)
            assert len(hops) < 15, f"redirected for ever: {hops}"
            if page.status not in (307, 308):
                method, body = "GET", None
                headers = {name: value for name, value in headers.items() if name not in ("Content-Type", "Origin")}
            url = self._choose_account(urllib.parse.urljoin(url, location))

    def _choose_account(self, url):
        """The account picker takes a hint instead of a click."""
        parts = urllib.parse.urlsplit(url)
        query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        if parts.path.endswith("/oauth2/v2.0/authorize") and self.user and "login_hint" not in query:
            return f"{url}&{urllib.parse.urlencode({'login_hint': self.user})}"
        return url

    def _request(self, method, url, headers, body=None):
        parts = urllib.parse.urlsplit(url)
        jar = self._jar(url)
        headers = dict(headers)
        if origin_of(url) == self.origin:
            headers |= self.extra
        if jar:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        try:
            target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie") or []:
            store(jar, line)
        return Page(url, answer.status, answer.headers, content, [])


def store(jar, line):
    """Keeps or forgets one cookie. `Secure` holds on loopback, as in Chromium and Firefox."""
    pair, _, attributes = line.partition(";")
    name, _, value = pair.strip().partition("=")
    assert len(name) + len(value) <= 4096, f"a browser drops the cookie {name}"
    if "max-age=0" in attributes.lower():
        jar.pop(name, None)
    else:
        jar[name] = value


def origin_of(url):
    """Scheme, host and port."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
