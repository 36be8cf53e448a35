"""Runs an example as a person would: its `run`, on free ports."""

import os
import pathlib
import signal
import socket
import subprocess
import tempfile

FOLDER = pathlib.Path(os.environ["EXAMPLES"])


class Example:
    """A running example; `with` ends it. `lines` go to its standard input later."""

    def __init__(self, name, *arguments):
        ports = free_ports(4)
        self.origin = f"http://localhost:{ports[0]}"
        self.app_origin = f"http://127.0.0.1:{ports[1]}"
        names = ("PORT", "APP_PORT", "ADMIN_PORT", "WSGI_PORT")
        environment = os.environ | {name: str(port) for name, port in zip(names, ports, strict=True)}
        self.log = tempfile.TemporaryFile("a+", encoding="utf-8")
        self.process = subprocess.Popen(
            [FOLDER / name / "run", *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        self.said = []
        self.wait_for("open ")

    def wait_for(self, start):
        """Reads what `run` says until a line that starts so."""
        for line in self.process.stdout:
            self.said.append(line.rstrip())
            if line.startswith(start):
                return
        self._fail(f"`run` ended before it said {start!r}")

    def type(self, line):
        """A line on its standard input; returns when `run` says that it is done."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        self.wait_for("done")

    def end_proxy(self):
        """SIGTERM to the proxy alone, as when its pod ends before the app has."""
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                ours = f"\nPPid:\t{self.process.pid}\n" in (process / "status").read_text()
                if ours and (process / "cmdline").read_bytes().endswith(b"vestibule\0run\0"):
                    os.kill(int(process.name), signal.SIGTERM)
                    return
            except OSError:
                continue   # it has ended since
        self._fail("the proxy is not there")

    def _fail(self, why):
        self.log.seek(0)
        raise AssertionError("\n".join([why, *self.said, self.log.read()]))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate()
        self.log.seek(0)
        if error is not None:
            print("\n".join([*self.said, self.log.read()]))
        self.log.close()


def free_ports(count):
    """Ports of 127.0.0.1 that nobody uses."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
