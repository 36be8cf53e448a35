"""The smallest cluster there is: pods on addresses of their own, a Service, and a rolling update.

Each pod is the app and the proxy beside it, as `vestibule inject` puts them. The Service passes
connections to pods that are ready, in turn. Lines on standard input say what to do:
`roll` replaces the pods one by one, `rotate` puts a new session key on top, `retire` drops the
old keys.
"""

import itertools
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

VESTIBULE, KEYS = sys.argv[1], pathlib.Path(sys.argv[2])
PORT, APP_PORT, ADMIN_PORT = (os.environ[name] for name in ("PORT", "APP_PORT", "ADMIN_PORT"))
# In the manifest it is 15 s and 20 s, since a cluster takes its time to hear of a pod's end.
DRAIN, SLEEP = 2, 3


class Pod:
    """One replica. `number` makes its name and its address."""

    def __init__(self, number):
        self.name, self.address = f"guestbook-{number}", f"127.0.1.{number}"
        self.admin = f"http://{self.address}:{ADMIN_PORT}"
        app = {"HOSTNAME": self.name, "BIND": self.address, "PORT": APP_PORT}
        proxy = {
            "VESTIBULE__SERVER__LISTEN": f"{self.address}:{PORT}",
            "VESTIBULE__ADMIN__LISTEN": f"{self.address}:{ADMIN_PORT}",
            "VESTIBULE__UPSTREAM__URL": f"http://{self.address}:{APP_PORT}",
            "VESTIBULE__SERVER__DRAIN_TIMEOUT": "6s",
        }
        self.app = subprocess.Popen([sys.executable, "app.py"], env=os.environ | app)
        self.proxy = subprocess.Popen([VESTIBULE, "run"], env=os.environ | proxy)

    def is_ready(self):
        """The proxy's readiness, and the app's probe, which goes through the proxy."""
        host = {"Host": f"localhost:{PORT}"}
        probe = urllib.request.Request(f"http://{self.address}:{PORT}/healthz", headers=host)
        try:
            for asked in (f"{self.admin}/readyz", probe):
                urllib.request.urlopen(asked, timeout=2).close()
        except OSError:
            return False
        return True

    def reloads(self):
        """How often the proxy has taken over changed files."""
        with urllib.request.urlopen(f"{self.admin}/metrics", timeout=2) as answer:
            lines = answer.read().decode().splitlines()
        name = 'vestibule_configuration_reloads_total{outcome="applied"}'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def end(self, service):
        """What the kubelet does: both preStop hooks at once, then the app, then the proxy."""
        drain = [VESTIBULE, "drain", "--admin", self.admin, "--wait", f"{DRAIN}s"]
        with subprocess.Popen(drain, stdout=subprocess.DEVNULL):
            time.sleep(SLEEP)
        while self in service.endpoints:   # on a machine that is very busy
            time.sleep(0.05)
        self.app.terminate()
        self.app.wait()
        self.proxy.terminate()
        return self.proxy.wait()


class Service:
    """Connections on PORT go to the pods that were ready a moment ago, in turn."""

    def __init__(self):
        self.pods, self.endpoints, self.turn = [], [], itertools.count()
        self.listener = socket.create_server(("127.0.0.1", int(PORT)))
        for work in (self.probe, self.accept):
            threading.Thread(target=work, daemon=True).start()

    def probe(self):
        """Readiness probes, for ever."""
        while True:
            self.endpoints = [pod for pod in list(self.pods) if pod.is_ready()]
            time.sleep(0.2)

    def accept(self):
        """One thread for each direction of each connection."""
        while True:
            client, _ = self.listener.accept()
            endpoints = self.endpoints
            try:
                pod = endpoints[next(self.turn) % len(endpoints)]
                server = socket.create_connection((pod.address, int(PORT)))
            except (ZeroDivisionError, OSError):
                client.close()
                continue
            for pair in ((client, server), (server, client)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    def start(self, number):
        """Another pod; returns when it gets connections."""
        pod = Pod(number)
        self.pods.append(pod)
        while pod not in self.endpoints:
            if pod.proxy.poll() is not None or pod.app.poll() is not None:
                raise SystemExit(f"{pod.name} ended")
            time.sleep(0.05)
        print(f"{pod.name} is ready", flush=True)

    def roll(self, numbers):
        """A rolling update with maxSurge 1, maxUnavailable 0."""
        for old in list(self.pods):
            self.start(next(numbers))
            status = old.end(self)
            self.pods.remove(old)
            print(f"{old.name} has ended, exit code {status}", flush=True)

    def write_keys(self, keys):
        """Exchanges the file of keys, and waits until each replica reads the new one."""
        before = {pod: pod.reloads() for pod in self.pods}
        fresh = KEYS.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text("".join(f"{key}\n" for key in keys), encoding="ascii")
        fresh.rename(KEYS)
        while any(pod.reloads() == before[pod] for pod in self.pods):
            time.sleep(0.2)


def pump(source, sink):
    """Bytes from one socket to the other, and its end."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for side in (source, sink):
            side.close()


def main():
    """Two pods, then whatever the lines say."""
    numbers = itertools.count(1)
    service = Service()
    service.start(next(numbers))
    service.start(next(numbers))
    print(f"open http://localhost:{PORT}/   (roll, rotate or retire, then Enter; Ctrl-C ends everything)", flush=True)
    try:
        for line in sys.stdin:
            keys = KEYS.read_text(encoding="ascii").split()
            if line.strip() == "roll":
                service.roll(numbers)
            elif line.strip() == "rotate":
                new = subprocess.run([VESTIBULE, "keygen"], capture_output=True, text=True, check=True)
                service.write_keys([new.stdout.strip(), *keys])
            elif line.strip() == "retire":
                service.write_keys(keys[:1])
            else:
                print("roll, rotate or retire?", flush=True)
                continue
            print("done", flush=True)
        signal.pause()
    finally:
        programs = [program for pod in service.pods for program in (pod.app, pod.proxy)]
        for program in programs:
            program.terminate()
        for program in programs:
            program.wait()


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
main()
