"""No request fails through ten reloads and a rolling restart of two replicas.

Two replicas with the same session keys and certificate serve one public origin over TLS. Clients on
HTTP/1.1 and HTTP/2 keep their connections, and choose a replica for each new one as a Service does:
among those whose readiness was seen last. They ask for the user's own page, and never ask twice.
"""

import os
import socket
import ssl
import subprocess
import sys
import threading
import time

import hpack
import hyperframe.frame as frames

import stack

REQUESTS = int(os.environ.get("REQUESTS", "50000"))
LOOK = 0.5  # Between two looks at a replica's readiness; seconds.
STREAMS = 8  # At a time on one HTTP/2 connection.


def app(stream: socket.socket, file) -> None:
    """Answers with the target and whether a user came along."""
    while True:
        line, fields = stack.read_head(file)
        signed_in = fields.get("authorization", "").startswith("Bearer ")
        body = f"{line.split(' ')[1]} {signed_in} {fields.get('x-who')}".encode()
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


class Service:
    """Chooses among the replicas that were ready when they were looked at last."""

    def __init__(self, replicas: list[stack.Proxy]) -> None:
        self.replicas, self.ready, self.next = replicas, list(replicas), 0
        threading.Thread(target=self.look, daemon=True).start()

    def look(self) -> None:
        while True:
            time.sleep(LOOK)
            self.ready = [replica for replica in self.replicas if self.answers(replica)]

    @staticmethod
    def answers(replica: stack.Proxy) -> bool:
        try:
            return replica.ask("/readyz")[0] == 200
        except OSError:
            return False

    def connect(self, protocol: str) -> ssl.SSLSocket:
        self.next += 1
        replica = self.ready[self.next % len(self.ready)]
        return connect(replica.port, protocol)


def connect(port: int, protocol: str = "http/1.1") -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    stream = socket.create_connection(("127.0.0.1", port), timeout=30)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(stream, server_hostname="localhost")


class Load:
    """What the clients share."""

    def __init__(self, service: Service, host: str, cookie: str) -> None:
        self.service, self.host, self.cookie = service, host, cookie
        self.lock, self.asked, self.served = threading.Lock(), 0, {"http/1.1": 0, "h2": 0}
        self.connections, self.elsewhere = 0, 0
        self.failures: list[str] = []
        self.over = False

    def target(self) -> str:
        with self.lock:
            self.asked += 1
            return f"/page/{self.asked}"

    def answered(self, protocol: str, target: str, status: str, body: bytes) -> None:
        right = body.startswith(f"{target} True ".encode()) and not body.endswith(b"None")
        with self.lock:
            self.served[protocol] += 1
            if status != "200" or not right:
                self.failures.append(f"{protocol} {target}: {status} {body[:200]!r}")

    def failed(self, protocol: str, target: str, error: object) -> None:
        with self.lock:
            self.failures.append(f"{protocol} {target}: {error!r}")

    def connect(self, protocol: str) -> ssl.SSLSocket:
        with self.lock:
            self.connections += 1
        return self.service.connect(protocol)

    def http1(self) -> None:
        stream = file = None
        while not self.over:
            target = self.target()
            try:
                if stream is None:
                    stream = self.connect("http/1.1")
                    file = stream.makefile("rb")
                stream.sendall(
                    f"GET {target} HTTP/1.1\r\nHost: {self.host}\r\nCookie: {self.cookie}\r\n\r\n".encode()
                )
                status = file.readline().split(b" ")[1].decode()
                length, close = 0, False
                while (line := file.readline().strip().lower()):
                    if line.startswith(b"content-length:"):
                        length = int(line[15:])
                    close |= line == b"connection: close"
                self.answered("http/1.1", target, status, file.read(length))
                if close:
                    stream = stream.close()
            except (OSError, IndexError) as error:
                self.failed("http/1.1", target, error)
                stream = None

    def http2(self) -> None:
        while not self.over:
            try:
                stream = self.connect("h2")
            except OSError as error:
                self.failed("h2", "a connection", error)
                continue
            with stream:
                Conversation(self, stream).run()


class Conversation:
    """One HTTP/2 connection, until the proxy says GOAWAY and has answered what it has.

    The frames are written here, since the h2 package takes GOAWAY for the end of everything, and
    RFC 9113 (6.8) says that what came before it is still answered."""

    def __init__(self, load: Load, stream: ssl.SSLSocket) -> None:
        self.load, self.stream, self.leaving, self.number = load, stream, False, 1
        self.open: dict[int, list] = {}
        self.encoder, self.decoder, self.rest, self.out = hpack.Encoder(), hpack.Decoder(), b"", b""

    def run(self) -> None:
        self.out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames.SettingsFrame(0).serialize()
        try:
            while self.open or not (self.leaving or self.load.over):
                while len(self.open) < STREAMS and not (self.leaving or self.load.over):
                    self.ask()
                self.stream.sendall(self.out)
                self.out = b""
                data = self.stream.recv(65536)
                if not data:
                    break
                self.rest += data
                while (frame := self.frame()) is not None:
                    self.hear(frame)
            for target, *_ in self.open.values():
                self.load.failed("h2", target, "the connection ended before the answer")
        except OSError as error:
            for target, *_ in self.open.values():
                self.load.failed("h2", target, error)

    def ask(self) -> None:
        target, number = self.load.target(), self.number
        fields = [
            (":method", "GET"), (":scheme", "https"), (":authority", self.load.host), (":path", target),
            ("cookie", self.load.cookie),
        ]
        frame = frames.HeadersFrame(number, self.encoder.encode(fields), flags=["END_HEADERS", "END_STREAM"])
        self.out += frame.serialize()
        self.open[number] = [target, "", b""]
        self.number += 2

    def frame(self) -> frames.Frame | None:
        if len(self.rest) < 9:
            return None
        frame, length = frames.Frame.parse_frame_header(memoryview(self.rest[:9]))
        if len(self.rest) < 9 + length:
            return None
        frame.parse_body(memoryview(self.rest[9 : 9 + length]))
        self.rest = self.rest[9 + length :]
        return frame

    def hear(self, frame: frames.Frame) -> None:
        number = frame.stream_id
        match frame:
            case frames.SettingsFrame() if "ACK" not in frame.flags:
                self.out += frames.SettingsFrame(0, flags=["ACK"]).serialize()
            case frames.PingFrame() if "ACK" not in frame.flags:
                self.out += frames.PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize()
            case frames.HeadersFrame():
                self.open[number][1] = dict(self.decoder.decode(frame.data))[":status"]
            case frames.DataFrame():
                self.open[number][2] += frame.data
                if frame.data:
                    self.out += frames.WindowUpdateFrame(0, window_increment=len(frame.data)).serialize()
            case frames.RstStreamFrame():
                self.load.failed("h2", self.open.pop(number)[0], f"reset with {frame.error_code}")
            case frames.GoAwayFrame():
                self.leaving = True
                if frame.error_code:
                    self.load.failed("h2", "a connection", f"GOAWAY with {frame.error_code}")
                # What came after the last stream that the proxy looked at may be asked elsewhere.
                for late in [number for number in self.open if number > frame.last_stream_id]:
                    self.open.pop(late)
                    self.load.elsewhere += 1
        if "END_STREAM" in frame.flags and number in self.open:
            self.load.answered("h2", *self.open.pop(number))


class Files:
    """The certificate and the keys that both replicas read, and how they change."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.certificate, self.key = os.path.join(folder, "tls.pem"), os.path.join(folder, "tls.key")
        self.keys_file, self.keys = os.path.join(folder, "session-keys"), [stack.key()]
        self.new_certificate()
        self.write(self.keys_file, "\n".join(self.keys) + "\n")

    @staticmethod
    def write(path: str, text: str) -> None:
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def new_certificate(self) -> None:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2",
             "-keyout", self.key + ".new", "-out", self.certificate + ".new"],
            check=True, capture_output=True,
        )
        os.rename(self.key + ".new", self.key)
        os.rename(self.certificate + ".new", self.certificate)

    def new_key(self) -> None:
        """The new one seals, the former one still opens what it sealed."""
        self.keys = [stack.key(), *self.keys]
        self.write(self.keys_file, "\n".join(self.keys) + "\n")


APPLIED = 'vestibule_configuration_reloads_total{outcome="applied"}'


def main() -> None:
    folder = sys.argv[1]
    files, emulator, app_port = Files(folder), stack.Emulator(), stack.serve(app)
    ports = [stack.free_port(), stack.free_port()]
    host = f"localhost:{ports[0]}"

    def text(who: str) -> str:
        more = (
            f'[server.tls]\ncertificate_file = "{files.certificate}"\nprivate_key_file = "{files.key}"\n'
            f'[session]\nkeys_file = "{files.keys_file}"\n[identity.headers]\n"X-Who" = "{who}"\n'
        )
        return stack.configuration(emulator, f"https://{host}", app_port, more)

    claims = ["oid", "preferred_username"]
    replicas = [stack.Proxy(folder, text(claims[0]), port) for port in ports]
    cookie = stack.sign_in(lambda: connect(ports[0]), f"https://{host}")
    load = Load(Service(replicas), host, cookie)
    began = time.monotonic()
    clients = [threading.Thread(target=client) for client in [load.http1] * 6 + [load.http2] * 2]
    for client in clients:
        client.start()

    def shown(replica: stack.Proxy) -> bytes:
        with connect(replica.port) as stream:
            return stream.getpeercert(binary_form=True)

    def reload(number: int) -> None:
        before = [replica.metric(APPLIED) for replica in replicas]
        kind = number % 4
        if kind == 0:
            files.new_certificate()
        elif kind == 1:
            files.new_key()
        else:
            claims.reverse()
            for replica in replicas:
                replica.write(text(claims[0]))
        if kind in (0, 3):  # The others are found out without a word.
            for replica in replicas:
                replica.hang_up()
        for replica, count in zip(replicas, before):
            stack.until(f"reload {number} on port {replica.port}", lambda: replica.metric(APPLIED) > count)
        if kind == 0:
            with open(files.certificate, encoding="ascii") as file:
                wanted = ssl.PEM_cert_to_DER_cert(file.read())
            if any(shown(replica) != wanted for replica in replicas):
                raise SystemExit("expected the new certificate on new connections")

    def restart(replica: stack.Proxy, drains: bool) -> None:
        if drains:  # As a pod's preStop does; without it SIGTERM is the first that the replica hears.
            command = [stack.VESTIBULE, "drain", "--admin", f"http://127.0.0.1:{replica.admin}", "--wait", "3s"]
            subprocess.run(command, check=True, capture_output=True)
        if code := replica.stop():
            raise SystemExit(f"expected exit code 0 after SIGTERM, not {code}")
        replica.start()
        time.sleep(2 * LOOK)  # Until the Service has seen it.

    try:
        for number in range(5):
            reload(number)
        for replica, drains in zip(replicas, [True, False]):
            restart(replica, drains)
        for number in range(5, 10):
            reload(number)
        stack.until(f"{REQUESTS} requests", lambda: sum(load.served.values()) >= REQUESTS or load.failures, 600)
    finally:
        load.over = True
        for client in clients:
            client.join()
        seconds = time.monotonic() - began
        served = sum(load.served.values())
        print(
            f"{served} requests in {seconds:.0f} s ({load.served}) on {load.connections} connections through"
            f" 10 reloads and a rolling restart of 2 replicas: {len(load.failures)} failed,"
            f" {load.elsewhere} were sent elsewhere after GOAWAY"
        )
        print("\n".join(load.failures[:20]), end="")
        for replica in replicas:
            replica.stop()
        emulator.stop()
    if load.failures:
        raise SystemExit("expected that none fails")


main()
