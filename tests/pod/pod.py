"""A pod made of a network namespace, and folders that change as the kubelet changes them."""

import ctypes
import itertools
import os
import signal
import socket
import subprocess
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HERE = os.open("/proc/self/ns/net", os.O_RDONLY)


def enter(namespace):
    """Moves the calling thread into a network namespace."""
    if LIBC.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Pod:
    """One network namespace with a loopback of its own, and an address that the node reaches."""

    port = 4180

    def __init__(self):
        number = os.getpid()
        self.name = f"vestibule-pod-{number}"
        self.node_end, self.pod_end = f"vh{number}", f"vp{number}"
        pod_end = self.pod_end
        network = f"198.18.{number % 250}"
        self.ip = f"{network}.2"
        self.processes = []
        ip("netns", "add", self.name)
        self.namespace = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        ip("link", "add", self.node_end, "type", "veth", "peer", "name", pod_end, "netns", self.name)
        ip("addr", "add", f"{network}.1/30", "dev", self.node_end)
        ip("link", "set", self.node_end, "up")
        ip("-n", self.name, "addr", "add", f"{self.ip}/30", "dev", pod_end)
        ip("-n", self.name, "link", "set", pod_end, "up")
        ip("-n", self.name, "link", "set", "lo", "up")

    def start(self, *command, log=None, **options):
        """Starts a process inside. Standard error goes to the file `log`."""
        errors = open(log, "ab") if log else None
        process = subprocess.Popen(
            command, preexec_fn=lambda: enter(self.namespace), stderr=errors, text=True, **options
        )
        if errors:
            errors.close()
        self.processes.append(process)
        return process

    def add_ipv6(self, prefix):
        """Addresses of version 6 at both ends; the pod's."""
        ip("addr", "add", f"{prefix}::1/64", "dev", self.node_end, "nodad")
        ip("-n", self.name, "addr", "add", f"{prefix}::2/64", "dev", self.pod_end, "nodad")
        return f"{prefix}::2"

    def connect_inside(self, address):
        """A connection from within the pod, as another container of it would make it."""
        found = []

        def connect():
            enter(self.namespace)
            try:
                found.append(socket.create_connection(address, timeout=20))
            except OSError as error:
                found.append(error)

        # On a thread of its own: a thread is in one namespace.
        thread = threading.Thread(target=connect)
        thread.start()
        thread.join()
        if isinstance(found[0], OSError):
            raise found[0]
        return found[0]

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        os.close(self.namespace)
        ip("link", "del", self.node_end)
        ip("netns", "del", self.name)


def ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Volume:
    """A mounted ConfigMap or Secret: `name -> ..data/name`, `..data -> ..<version>`."""

    VERSIONS = itertools.count(1)

    def __init__(self, folder, **files):
        self.folder = folder
        os.mkdir(folder)
        self.files = {}
        self.publish(**files)

    def path(self, name):
        return os.path.join(self.folder, name)

    def publish(self, **files):
        """Writes a new version beside the old one and swaps the link, then deletes the old one."""
        self.files.update({name.replace("__", "."): text for name, text in files.items()})
        version = f"..2026_11_24_{next(self.VERSIONS):09d}"
        os.mkdir(self.path(version))
        for name, text in self.files.items():
            with open(self.path(f"{version}/{name}"), "w") as file:
                file.write(text)
        old = os.readlink(self.path("..data")) if os.path.islink(self.path("..data")) else None
        os.symlink(version, self.path("..data_tmp"))
        os.rename(self.path("..data_tmp"), self.path("..data"))
        for name in self.files:
            if not os.path.islink(self.path(name)):
                os.symlink(f"..data/{name}", self.path(name))
        if old:
            subprocess.run(["rm", "-r", self.path(old)], check=True)


def until(what, condition, seconds=30):
    """Waits for something that another process does."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.02)
    return value


def resident_kib(process):
    with open(f"/proc/{process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def terminate(process, seconds=60):
    process.send_signal(signal.SIGTERM)
    return process.wait(seconds)
