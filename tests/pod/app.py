"""A legacy app without a sign-in of its own: slow pages, none at all, and a WebSocket that echoes."""

import base64
import hashlib
import http.server
import json
import sys
import time
import urllib.parse

SEEN = []


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if "n" in query:
            SEEN.append(query["n"])
        if url.path == "/socket":
            return self.socket()
        if url.path == "/seen":
            return self.send(json.dumps(SEEN))
        if url.path == "/close":
            self.close_connection = True
            return None
        if url.path == "/slow":
            time.sleep(float(query["seconds"]))
            return self.send("slow, and whole")
        return self.send(f"hello from the app; {self.headers.get('X-User', 'nobody')}")

    def send(self, text):
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def socket(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        while chunk := self.rfile.read1(65536):
            if chunk[0] == 0x81:
                payload = bytes(b ^ chunk[2 + i % 4] for i, b in enumerate(chunk[6:]))
                self.wfile.write(bytes([0x81, len(payload)]) + payload)
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Clients come and go."""

    request_queue_size = 128


Server((sys.argv[1], int(sys.argv[2])), App).serve_forever()
