"""A guest book of which two copies run. Each page says which copy made it."""

import os
import signal
import threading
import time
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

POD = os.environ.get("HOSTNAME", "?")
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Guest book</title>
<style>body {{ font: 16px sans-serif; margin: 2em }}</style>
<h1>Guest book</h1>
<p>Hello <b id="user">{user}</b>. This page was made by <b id="pod">{pod}</b>.
   <a href="/.auth/logout">Sign out</a></p>
"""


class GuestBook(BaseHTTPRequestHandler):
    """The page; `/slow` takes two seconds, `/healthz` needs nobody."""

    def do_GET(self):
        """Answers."""
        if self.path == "/healthz":
            text = "ok\n"
        else:
            if self.path == "/slow":
                time.sleep(2)
            text = PAGE.format(user=escape(self.headers.get("X-User", "nobody")), pod=escape(POD))
        page = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        """The proxy writes the access log."""


address = (os.environ.get("BIND", "0.0.0.0"), int(os.environ.get("PORT", "8080")))
server = ThreadingHTTPServer(address, GuestBook)
server.daemon_threads = False   # closing waits for the requests in progress
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
