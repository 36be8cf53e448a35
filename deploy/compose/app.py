"""A small app that has never heard of OAuth: it believes a header, and calls an API with a token it is given."""

import html
import json
import os
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GRAPH = os.environ.get("GRAPH", "https://graph.microsoft.com")


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/healthz":
            return self.answer(200, "ok\n", "text/plain")
        user = self.headers.get("X-User", "nobody")
        page = f"<!doctype html><title>Legacy</title><h1>Hello, {html.escape(user)}</h1>\n"
        # The user's own token: what the API returns is what this user may see.
        token = self.headers.get("Authorization")
        if token:
            call = urllib.request.Request(f"{GRAPH}/v1.0/me", headers={"Authorization": token})
            with urllib.request.urlopen(call, timeout=5) as answer:
                name = json.load(answer)["displayName"]
            page += f"<p>Microsoft Graph calls you {html.escape(name)}.</p>\n"
        return self.answer(200, page + '<p><a href="/.auth/logout">Sign out</a></p>\n', "text/html")

    def answer(self, status, text, kind):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    listen = (os.environ.get("BIND", "127.0.0.1"), int(os.environ.get("PORT", "8080")))
    ThreadingHTTPServer(listen, App).serve_forever()
