"""The load: wrk, with what the server spent meanwhile; and connections that do nothing."""

import json
import resource
import select
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from peers import Target

SUMMARY = """
done = function(summary, latency)
  io.write(string.format('{"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"failed":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
    + summary.errors.timeout))
end
"""


@dataclass(frozen=True)
class Run:
    """One run of the load against one target. Times in microseconds."""

    rate: float
    p50: float
    p99: float
    cpu: float
    resident: int
    failed: int


def run(wrk: str, folder: Path, target: Target, size: str, connections: int, seconds: int) -> Run:
    """Loads one target. `cpu` is microseconds of the server's CPU per request."""
    script = folder / "summary.lua"
    script.write_text(SUMMARY)
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s",
               str(script)]
    for name, value in target.headers.items():
        command += ["-H", f"{name}: {value}"]
    command.append(target.url(size))
    watch = Watch(target)
    before = target.process.cpu_seconds() if target.process else 0
    with watch:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    spent = (target.process.cpu_seconds() if target.process else 0) - before
    summary = json.loads(done.stdout.strip().splitlines()[-1])
    requests = max(summary["requests"], 1)
    return Run(
        rate=requests / summary["seconds"],
        p50=summary["p50"],
        p99=summary["p99"],
        cpu=spent / requests * 1e6,
        resident=watch.most,
        failed=summary["failed"],
    )


class Watch:
    """Looks at a server's memory five times a second and keeps the highest."""

    def __init__(self, target: Target) -> None:
        self.process = target.process
        self.most = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        if self.process:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        if self.process:
            self.thread.join()

    def _look(self) -> None:
        while not self.done.wait(0.2):
            self.most = max(self.most, self.process.resident_bytes())


def resident_with_idle(target: Target, count: int) -> tuple[int, int]:
    """The server's memory while `count` clients keep a connection on which they asked once, and
    how many connections there were."""
    head = [f"GET {target.prefix}/1k HTTP/1.1", f"Host: 127.0.0.1:{target.port}"]
    head += [f"{name}: {value}" for name, value in target.headers.items()]
    request = ("\r\n".join(head) + "\r\n\r\n").encode()
    clients: list[socket.socket] = []
    answered = 0
    try:
        for _ in range(count // 50):
            batch = [socket.create_connection(("127.0.0.1", target.port), 10) for _ in range(50)]
            for client in batch:
                client.sendall(request)
            for client in batch:
                answered += client.recv(65536).startswith(b"HTTP/1.1 200")
                client.setblocking(False)
            clients += batch
        time.sleep(3)
        open_still = answered - sum(map(_is_closed, clients))
        return target.process.resident_bytes(), open_still
    finally:
        for client in clients:
            client.close()


def _is_closed(client: socket.socket) -> bool:
    poll = select.poll()
    poll.register(client, select.POLLIN)
    while poll.poll(0):
        try:
            if not client.recv(65536):
                return True
        except OSError:
            return True
    return False


def raise_limit() -> None:
    """As many descriptors as the machine allows; ten thousand clients need them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
