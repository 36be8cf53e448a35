"""A server process of the comparison: started, watched, counted, stopped."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


class Process:
    """A program and its children, which all live in one session of the operating system."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None):
        self.log = log
        with log.open("wb") as output:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def wait_for_port(self, port: int, seconds: float = 20) -> None:
        """Returns once somebody listens on the port."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.child.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"{self.child.args[0]} does not listen:\n{self.tail()}")

    def first_line(self, seconds: float = 20) -> str:
        """The first line that the program printed."""
        return self.lines(1, seconds)[0]

    def lines(self, count: int, seconds: float = 20) -> list[str]:
        """The first lines that the program printed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            lines = self.log.read_text(errors="replace").splitlines(keepends=True)
            if len(lines) >= count and lines[count - 1].endswith("\n"):
                return [line.rstrip("\n") for line in lines[:count]]
            time.sleep(0.05)
        raise RuntimeError(f"{self.child.args[0]} says nothing:\n{self.tail()}")

    def tail(self) -> str:
        """The end of what the program printed."""
        return self.log.read_text(errors="replace")[-2000:]

    def pids(self) -> list[int]:
        """The program and its children."""
        found = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                fields = _stat(int(entry.name))
                if fields and int(fields[3]) == self.child.pid:
                    found.append(int(entry.name))
        return found

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of the program, its children, and those that have ended."""
        ticks = 0
        for pid in self.pids():
            fields = _stat(pid)
            if fields:
                ticks += sum(int(field) for field in fields[11:15])
        return ticks / TICK

    def resident_bytes(self) -> int:
        """VmRSS of one process; where there are several, the sum of their proportional shares."""
        pids = self.pids()
        if len(pids) == 1:
            return _kib(Path(f"/proc/{pids[0]}/status"), "VmRSS:")
        return sum(_kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids)

    def stop(self) -> None:
        """Ends the program and its children."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                pass
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.child.wait()


def free_port() -> int:
    """A port of loopback that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _stat(pid: int) -> list[str] | None:
    """The fields of proc(5) `stat` from the state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def _kib(path: Path, key: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)
