"""Server-sent events reach the browser when the app sends them, not when a buffer is full."""

import socket
import statistics
import struct
import sys
import time

import stack

EVENTS = 100


def app(stream: socket.socket, file) -> None:
    stack.read_head(file)
    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(EVENTS):
        # CLOCK_MONOTONIC is the same in all processes of a machine.
        event = b"data: " + struct.pack(">d", time.monotonic()).hex().encode() + b"\n\n"
        stream.sendall(b"%x\r\n%s\r\n" % (len(event), event))
        time.sleep(0.01)
    stream.sendall(b"0\r\n\r\n")


def delays(port: int, host: str) -> list[float]:
    """How long each event was on its way, in milliseconds."""
    found, rest = [], b""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        while len(found) < EVENTS:
            rest += stream.recv(65536)
            now = time.monotonic()
            *lines, rest = rest.split(b"\n\n")
            for line in lines:
                if (at := line.rpartition(b"data: ")[2]) and len(at) == 16:
                    found.append((now - struct.unpack(">d", bytes.fromhex(at.decode()))[0]) * 1000)
    return found


def main() -> None:
    app_port, port = stack.serve(app), stack.free_port()
    emulator = stack.Emulator()
    text = stack.configuration(emulator, f"http://localhost:{port}", app_port, stack.anybody())
    proxy = stack.Proxy(sys.argv[1], text, port)
    direct, through = delays(app_port, "app"), delays(proxy.port, f"localhost:{port}")
    proxy.stop()
    emulator.stop()
    price = statistics.median(through) - statistics.median(direct)
    if price > 5 or max(through[:1]) > 100:
        raise SystemExit(f"expected events within 5 ms of the app's, not {price:.1f} ms; the first took {through[0]:.1f}")
    print(f"{EVENTS} events came {price:.2f} ms later than without the proxy (median), the first after {through[0]:.1f} ms")


main()
