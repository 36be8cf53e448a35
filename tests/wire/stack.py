"""The emulator, proxies and an app, each a process of its own, and a browser that signs in."""

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request

VESTIBULE = os.environ["VESTIBULE"]
USER = "alice@contoso.test"


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what: str, happens, seconds: float = 60):
    """Waits until `happens` returns something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := happens():
            return result
        time.sleep(0.05)
    raise SystemExit(f"expected within {seconds} s: {what}")


class Emulator:
    """Entra, as far as it is needed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [VESTIBULE, "emulator", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        self.settings = ""
        for line in self.process.stdout:
            if line.startswith("users"):
                break
            self.settings += line

    def stop(self) -> None:
        self.process.kill()


def configuration(emulator: Emulator, public_url: str, app_port: int, more: str = "") -> str:
    """The text for a `Proxy`; `more` may end in tables."""
    return f"""
[server]
listen = "LISTEN"
public_url = "{public_url}"
[admin]
listen = "ADMIN"
[entra]
{emulator.settings}
[upstream]
url = "http://127.0.0.1:{app_port}"
[log]
level = "warn"
{more}
"""


def anybody() -> str:
    """A session key, and nobody who needs a session."""
    return f'[session]\nkeys = ["{key()}"]\n[[rules]]\npath = "/*"\naccess = "anonymous"\n'


class Proxy:
    """One replica. `text` is its configuration without addresses."""

    def __init__(self, folder: str, text: str, port: int | None = None) -> None:
        self.port, self.admin = port or free_port(), free_port()
        self.file = tempfile.mktemp(suffix=".toml", dir=folder)
        self.log = self.file + ".log"
        self.write(text)
        self.start()

    def write(self, text: str) -> None:
        """Replaces the configuration as editors do: nobody reads half of it."""
        text = text.replace("LISTEN", f"127.0.0.1:{self.port}").replace("ADMIN", f"127.0.0.1:{self.admin}")
        with open(self.file + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(self.file + ".new", self.file)

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([VESTIBULE, "run", "--config", self.file], stderr=log)
        until(f"a proxy that is ready (see {self.log})", self.is_ready)

    def is_ready(self) -> bool:
        if self.process.poll() is not None:
            with open(self.log, encoding="utf-8") as log:
                raise SystemExit(f"the proxy ended with {self.process.returncode}:\n{log.read()}")
        try:
            return self.ask("/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, path: str) -> tuple[int, str]:
        """Asks the admin port."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""

    def metric(self, name: str) -> float:
        for line in self.ask("/metrics")[1].splitlines():
            if line.startswith(name + " "):
                return float(line.split()[-1])
        return 0

    def resident(self) -> float:
        """Memory in MiB."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) / 1024

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(60)


class Memory:
    """The most memory that a proxy had while it was watched."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy, self.first = proxy, proxy.resident()
        self.most, self.over = self.first, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self) -> "Memory":
        self.thread.start()
        return self

    def watch(self) -> None:
        while not self.over.wait(0.05):
            self.most = max(self.most, self.proxy.resident())

    def __exit__(self, *_) -> None:
        self.over.set()
        self.thread.join()


def key() -> str:
    """A new session key."""
    return subprocess.run([VESTIBULE, "keygen"], capture_output=True, text=True, check=True).stdout.strip()


def sign_in(connect, origin: str) -> str:
    """Signs in as a browser does; the `Cookie` field of the session. `connect` opens a connection to
    a proxy, whatever its address is; `origin` is its public one."""
    host = urllib.parse.urlsplit(origin).netloc
    jar: dict[str, str] = {}

    def fetch(target: str) -> str:
        cookies = "; ".join(f"{name}={value}" for name, value in jar.items())
        head = (
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nAccept: text/html\r\n"
            f"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\nCookie: {cookies}\r\n\r\n"
        )
        with connect() as stream:
            stream.sendall(head.encode())
            answer = b""
            while piece := stream.recv(65536):
                answer += piece
        head = answer.split(b"\r\n\r\n")[0].decode()
        for line in re.findall(r"(?im)^set-cookie: ([^\r;]+)", head):
            name, _, value = line.partition("=")
            jar[name] = value
        location = re.search(r"(?im)^location: ([^\r]+)", head)
        return location[1] if location else ""

    authorize = fetch("/") + "&login_hint=" + urllib.parse.quote(USER)
    back = urllib.request.build_opener(NoRedirect).open(authorize).headers["Location"]
    fetch(back.removeprefix(origin))
    session = {name: value for name, value in jar.items() if value and "flow" not in name}
    if not session:
        raise SystemExit(f"expected a session after signing in, not {sorted(jar)}")
    return "; ".join(f"{name}={value}" for name, value in session.items())


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Shows a redirect instead of following it."""

    def http_error_302(self, req, fp, code, msg, headers):
        return fp

    http_error_303 = http_error_302


def serve(handle) -> int:
    """An app in a process of its own: `handle(stream, file)` for each connection. Its port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    if os.fork() == 0:
        def one(stream: socket.socket) -> None:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                with stream, stream.makefile("rb", 1 << 20) as file:
                    handle(stream, file)
            except OSError:
                pass  # The proxy has closed.

        parent = os.getppid()
        listener.settimeout(1)
        while os.getppid() == parent:
            try:
                stream, _ = listener.accept()
            except TimeoutError:
                continue
            stream.settimeout(None)
            threading.Thread(target=one, args=[stream], daemon=True).start()
        os._exit(0)
    return listener.getsockname()[1]


def read_head(file) -> tuple[str, dict[str, str]]:
    """The request line and the fields, in lower case."""
    line = file.readline().decode("latin-1").strip()
    if not line:
        raise ConnectionError("the proxy has closed")
    fields = {}
    while (text := file.readline().decode("latin-1").strip()):
        name, _, value = text.partition(":")
        fields[name.lower()] = value.strip()
    return line, fields
