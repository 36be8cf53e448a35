"""A browser that signs in, clients that keep their connections, and a WebSocket."""

import base64
import http.client
import itertools
import os
import socket
import ssl
import threading
import time
import urllib.parse

HOST = "app.contoso.com"
NAVIGATE = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FETCH = {"Accept": "*/*", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
# The certificate is compared by its bytes; whether it is trusted is another test's question.
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE


def connect(pod, port=None):
    raw = socket.create_connection((pod.ip, port or pod.port), timeout=30)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return TLS.wrap_socket(raw, server_hostname=HOST)


def certificate(pod, port=None):
    """What a new connection is shown, as PEM."""
    with connect(pod, port) as stream:
        return ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True))


class Browser:
    """One visitor: follows redirects, keeps cookies, picks `user` at the emulator."""

    def __init__(self, pod, user):
        self.pod, self.user, self.cookies = pod, user, {}

    def get(self, path, headers=NAVIGATE):
        """One request to the app; status, headers, text."""
        return self._ask(f"https://{HOST}{path}", headers)

    def navigate(self, path):
        """Follows redirects to the end, signing in on the way."""
        url = f"https://{HOST}{path}"
        for _ in range(12):
            status, headers, text = self._ask(url, NAVIGATE)
            if status not in (302, 303):
                return status, headers, text
            url = urllib.parse.urljoin(url, headers["Location"])
            if "/authorize" in url:
                url += "&" + urllib.parse.urlencode({"login_hint": self.user})
        raise AssertionError("signing in goes round in circles")

    def _ask(self, url, headers):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        ours = parts.hostname == HOST
        if ours:
            connection.sock = connect(self.pod)
        else:
            connection.sock = self.pod.connect_inside((parts.hostname, parts.port))
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        cookies = {"Cookie": self.cookie_header()} if ours and self.cookies else {}
        try:
            connection.request("GET", target, headers={**headers, **cookies})
            answer = connection.getresponse()
            text = answer.read().decode()
            if ours:
                self._keep(answer.headers.get_all("Set-Cookie") or [])
            return answer.status, answer.headers, text
        finally:
            connection.close()

    def _keep(self, lines):
        for line in lines:
            pair, _, attributes = line.partition(";")
            name, _, value = pair.partition("=")
            if "max-age=0" in attributes.lower() or not value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value

    def cookie_header(self):
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())


class Load:
    """Clients with kept connections, as an ingress has them. Every request has a number."""

    NUMBERS = itertools.count(1)

    def __init__(self, browser, clients=4):
        self.headers = {**FETCH, "Cookie": browser.cookie_header()}
        self.pod = browser.pod
        self.answered, self.failed, self.resent, self.unsent = 0, [], 0, []
        self.lock = threading.Lock()
        self.elsewhere, self.over = threading.Event(), threading.Event()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def go_elsewhere(self):
        """The endpoint is gone: no new connections, those that are open are used to their end."""
        self.elsewhere.set()

    def end(self):
        """Stops, and gives how many requests were answered."""
        self.over.set()
        self.join()
        return self.answered

    def join(self):
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs"

    def _run(self):
        connection, used = None, False
        while not self.over.is_set():
            if connection is None:
                if self.elsewhere.is_set():
                    return
                connection, used = http.client.HTTPConnection(HOST, timeout=30), False
                try:
                    connection.sock = connect(self.pod)
                except OSError as error:
                    self._fail(f"connecting: {error!r}")
                    return
            number = next(self.NUMBERS)
            try:
                connection.request("GET", f"/load?n={number}", headers=self.headers)
                answer = connection.getresponse()
                text = answer.read().decode()
            except (OSError, http.client.HTTPException) as error:
                connection = None
                if not used:
                    self._fail(f"request {number}: {error!r}")
                    return
                # A kept connection was closed before a byte of an answer: every client sends the
                # request again, here or at another replica. The app must not have seen it.
                with self.lock:
                    self.resent += 1
                    self.unsent.append(str(number))
                continue
            used = True
            if answer.status != 200 or not text.startswith("hello from the app"):
                self._fail(f"request {number}: {answer.status} {text[:80]}")
            with self.lock:
                self.answered += 1
            if answer.will_close:
                connection.close()
                connection = None
            time.sleep(0.01)
        if connection:
            connection.close()

    def _fail(self, what):
        with self.lock:
            self.failed.append(what)


class WebSocket:
    """One open socket through the proxy."""

    def __init__(self, browser):
        self.stream = connect(browser.pod)
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET /socket HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nOrigin: https://{HOST}\r\n"
            f"Cookie: {browser.cookie_header()}\r\n\r\n"
        )
        self.stream.sendall(head.encode())
        self.file = self.stream.makefile("rb")
        status = self.file.readline().decode().strip()
        assert " 101 " in status, status
        while self.file.readline().strip():
            pass

    def echo(self, text):
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(text.encode()))
        self.stream.sendall(bytes([0x81, 0x80 | len(text)]) + mask + masked)
        opcode, payload = self.frame()
        assert (opcode, payload) == (1, text.encode()), (opcode, payload)

    def frame(self):
        head = self.file.read(2)
        assert len(head) == 2, "the socket ended without a close frame"
        assert head[1] < 126, "a longer frame than any of this test"
        return head[0] & 0x0F, self.file.read(head[1])

    def close_code(self):
        """Waits for the close frame; its code (RFC 6455 §7.4)."""
        opcode, payload = self.frame()
        assert opcode == 8, f"opcode {opcode} instead of a close frame"
        return int.from_bytes(payload[:2], "big")
