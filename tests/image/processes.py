"""Programs that a proof starts, and their end."""

import contextlib
import glob
import os
import signal
import socket
import subprocess
import time

BUILDAH = os.environ["BUILDAH"].split()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def in_container(container, *command, mounts=()):
    """The command line that runs `command` in the image, as the user that the image names."""
    volumes = [part for mount in mounts for part in ("--volume", mount)]
    return [*BUILDAH, "run", *volumes, container, "--", *command]


@contextlib.contextmanager
def running(command, log, **options):
    """A child whose output goes to the file `log`. It is gone at the end, whatever happened."""
    with open(log, "wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, **options)
    try:
        yield child
    finally:
        if child.poll() is None:
            # A helper such as buildah may not pass it on.
            for found in [*descendants(child.pid)[::-1], child.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found, signal.SIGKILL)
            child.wait()


def descendants(pid):
    """Children, their children and so on; any thread may have them."""
    children = []
    for file in glob.glob(f"/proc/{pid}/task/*/children"):
        # A thread may end meanwhile.
        with contextlib.suppress(FileNotFoundError):
            children += map(int, text(file).split())
    return [found for child in children for found in [child, *descendants(child)]]


def innermost(pid):
    """The program at the end of a chain of helpers, such as buildah's."""
    return (descendants(pid) or [pid])[-1]


def until(found, what, patience=20):
    """Waits until `found()` answers something true."""
    end = time.monotonic() + patience
    while not (answer := found()):
        assert time.monotonic() < end, f"{what} did not happen within {patience} s"
        time.sleep(0.01)
    return answer


def text(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
