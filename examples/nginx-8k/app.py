"""A report page as it was before anybody thought of tokens. WSGI, nothing installed."""

import os
from html import escape
from wsgiref.simple_server import make_server

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Reports</title>
<style>body {{ font: 16px sans-serif; margin: 2em }}</style>
<h1>Reports</h1>
<p>Hello <b id="user">{user}</b>. Roles: <span id="roles">{roles}</span>.
   Your Authorization header has <span id="size">{size}</span> bytes.
   <a href="/.auth/logout">Sign out</a></p>
"""


def app(environ, start_response):
    """Any path: the page."""
    page = PAGE.format(
        user=escape(environ.get("HTTP_X_USER", "nobody")),
        roles=escape(environ.get("HTTP_X_ROLES", "none")),
        size=len(environ.get("HTTP_AUTHORIZATION", "")),
    )
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [page.encode()]


make_server("127.0.0.1", int(os.environ.get("PORT", "9000")), app).serve_forever()
