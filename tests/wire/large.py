"""Gigabytes pass in both directions, announced and in chunks, in HTTP/1.1 and HTTP/2, and the proxy's
memory does not notice."""

import os
import socket
import subprocess
import sys
import time

import hpack
import hyperframe.frame as frames

import stack

PIECE = b"x" * (1 << 20)
SIZE = int(float(os.environ.get("GIGABYTES", "2")) * 1024) * len(PIECE)
MOST = 32  # MiB more than before.


def app(stream: socket.socket, file) -> None:
    while True:
        line, fields = stack.read_head(file)
        if line.startswith(("POST", "PUT")):
            size = swallow(file, fields)
            text = str(size).encode()
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        elif "/chunked" in line:
            stream.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunk = b"%x\r\n%s\r\n" % (len(PIECE), PIECE)
            for _ in range(SIZE // len(PIECE)):
                stream.sendall(chunk)
            stream.sendall(b"0\r\n\r\n")
        else:
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
            for _ in range(SIZE // len(PIECE)):
                stream.sendall(PIECE)


def swallow(file, fields: dict[str, str]) -> int:
    """Reads a body and says how long it was."""
    size, buffer = 0, bytearray(1 << 20)
    view = memoryview(buffer)
    if "content-length" in fields:
        left = int(fields["content-length"])
        while left and (count := file.readinto(view[: min(left, len(buffer))])):
            left, size = left - count, size + count
        return size
    while length := int(file.readline(), 16):
        left = length + 2
        while left and (count := file.readinto(view[: min(left, len(buffer))])):
            left -= count
        size += length
    file.readline()
    return size


def curl(url: str, *options: str, upload: str = os.devnull) -> str:
    with open(upload, "rb") as file:
        command = ["curl", "--silent", "--show-error", "--fail", *options, url]
        answer = subprocess.run(command, stdin=file, capture_output=True, text=True)
    if answer.returncode:
        raise SystemExit(f"curl {' '.join(options)}: {answer.stderr}")
    return answer.stdout


def upload_http2(port: int, announced: bool) -> str:
    """An upload in HTTP/2, in frames of our own: curl's take a minute for a gigabyte."""
    fields = [(":method", "POST"), (":scheme", "http"), (":authority", f"localhost:{port}"), (":path", "/up")]
    if announced:
        fields.append(("content-length", str(SIZE)))
    head = frames.HeadersFrame(1, hpack.Encoder().encode(fields), flags=["END_HEADERS"]).serialize()
    piece = frames.DataFrame(1, PIECE[: 16 << 10]).serialize()
    windows, left = {0: 65_535, 1: 65_535}, SIZE
    with socket.create_connection(("127.0.0.1", port)) as stream, stream.makefile("rb") as file:
        stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames.SettingsFrame(0).serialize() + head)
        while True:
            while left and (count := min(*windows.values(), left) >> 14):
                stream.sendall(piece * count)
                left -= count << 14
                windows = {number: room - (count << 14) for number, room in windows.items()}
                if not left:
                    stream.sendall(frames.DataFrame(1, flags=["END_STREAM"]).serialize())
            frame, length = frames.Frame.parse_frame_header(memoryview(file.read(9)))
            frame.parse_body(memoryview(file.read(length)))
            match frame:
                case frames.WindowUpdateFrame():
                    windows[frame.stream_id] += frame.window_increment
                case frames.SettingsFrame() if "ACK" not in frame.flags:
                    windows[1] += frame.settings.get(frames.SettingsFrame.INITIAL_WINDOW_SIZE, 65_535) - 65_535
                    stream.sendall(frames.SettingsFrame(0, flags=["ACK"]).serialize())
                case frames.PingFrame() if "ACK" not in frame.flags:
                    stream.sendall(frames.PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize())
                case frames.DataFrame() if frame.data:
                    return frame.data.decode()
                case frames.RstStreamFrame() | frames.GoAwayFrame():
                    raise SystemExit(f"expected an answer to an upload in HTTP/2, not {frame}")


def main() -> None:
    port = stack.free_port()
    emulator = stack.Emulator()
    url = f"http://localhost:{port}"
    proxy = stack.Proxy(
        sys.argv[1], stack.configuration(emulator, url, stack.serve(app), stack.anybody()), port
    )
    upload = os.path.join(sys.argv[1], "upload")
    with open(upload, "wb") as file:
        file.truncate(SIZE)  # Zeros that take no room on the disk.
    down = ["--output", "/dev/null", "--write-out", "%{size_download}"]
    ways = {
        "down, with its length": ("/length", down),
        "down, in pieces": ("/chunked", down),
        "up, with its length": ("/up", ["--request", "POST", "--upload-file", upload]),
        "up, in pieces": ("/up", ["--request", "POST", "--upload-file", "-"]),  # Of no known length.
    }
    for version in ["--http1.1", "--http2-prior-knowledge"]:
        curl(f"{url}/small", version, "--data", "x")  # The first of anything takes memory.
        for name, (path, options) in ways.items():
            began = time.monotonic()
            with stack.Memory(proxy) as memory:
                if path == "/up" and version != "--http1.1":
                    size = upload_http2(port, announced=options[-1] == upload)
                else:
                    size = curl(url + path, version, "--header", "Expect:", *options, upload=upload)
            if int(size) != SIZE:
                raise SystemExit(f"expected {SIZE} bytes {name} ({version}), not {size}")
            grown = memory.most - memory.first
            if grown > MOST:
                raise SystemExit(f"expected at most {MOST} MiB more for {name} ({version}), not {grown:.0f}")
            rate = SIZE / (1 << 20) / (time.monotonic() - began)
            print(f"{SIZE / (1 << 30):g} GiB {name}, {version[2:]}: {grown:.1f} MiB more memory, {rate:.0f} MiB/s", flush=True)
    proxy.stop()
    emulator.stop()


main()
