"""A browser of a page: redirects and cookies, over plain HTTP, as a person's navigation."""

import http.client
import http.cookies
import urllib.parse

NAVIGATION = {
    "Accept": "text/html",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Sec-Fetch-Dest": "document",
}


class Browser:
    """Keeps each host's cookies, as browsers do on loopback, also those that are Secure."""

    def __init__(self, hint=None):
        self.hint = hint
        self.jar = {}
        self.places = []

    def get(self, url, headers=NAVIGATION, limit=10):
        """Follows redirects to their end; answers status, headers and body."""
        for _ in range(limit):
            status, answer, body = self.once(url, headers)
            location = answer.get("location")
            if status not in (302, 303) or location is None:
                return status, answer, body
            url = urllib.parse.urljoin(url, location)
        raise AssertionError(f"more than {limit} redirects: {self.places}")

    def once(self, url, headers=NAVIGATION):
        """One request, without following anything."""
        parts = urllib.parse.urlsplit(url)
        query = parts.query
        # What a person does on the page that picks an account.
        if self.hint and parts.path.endswith("/oauth2/v2.0/authorize") and "login_hint" not in query:
            query += "&login_hint=" + urllib.parse.quote(self.hint)
        self.places.append(f"{parts.netloc}{parts.path}")
        cookies = self.jar.setdefault(parts.netloc, {})
        lines = dict(headers)
        if cookies:
            lines["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        connection.request("GET", (parts.path or "/") + (f"?{query}" if query else ""), headers=lines)
        answer = connection.getresponse()
        body = answer.read().decode(errors="replace")
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in http.cookies.SimpleCookie(line).items():
                if morsel["max-age"] == "0":
                    cookies.pop(name, None)
                else:
                    cookies[name] = morsel.value
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, body
