"""Runs deploy/compose/compose.yaml without a container engine.

Each service gets the network, the mounts and the command that the file gives it: a network namespace
on one bridge, services that share a network share it here, the image through buildah, ports published
on loopback by forwarding as an engine does it. What is not done: `read_only`, `cap_drop`,
`security_opt` and `restart`; and the app runs on this machine's Python instead of its image's.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import yaml
from processes import in_container, innermost, running, text, until

WORK = sys.argv[1]
CONTAINERS = dict(zip(("proxy", "emulator"), sys.argv[2:4], strict=True))
HERE = pathlib.Path("deploy/compose")
FOLDER = pathlib.Path(WORK, "compose")
OURS = "vestibule:0.1.0"
MARK = f"v{os.getpid()}"
OUTSIDE = f"{MARK}-outside"
# The system's own, which the app's user may run.
PYTHON = "/usr/bin/python3"

# The person in front of the screen: what the forwarder publishes, and the browser, live here.
FORWARD = """
import socket, sys, threading
def pour(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
while True:
    client = listener.accept()[0]
    try:
        server = socket.create_connection((sys.argv[3], int(sys.argv[4])))
    except OSError:
        client.close()
        continue
    for pair in ((client, server), (server, client)):
        threading.Thread(target=pour, args=pair, daemon=True).start()
"""


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def inside(namespace, *command):
    return ["ip", "netns", "exec", namespace, *command]


@contextlib.contextmanager
def networks(services):
    """One namespace for each service with a network of its own, all on one bridge of OUTSIDE."""
    names = {name: f"{MARK}-{name}" for name, found in services.items() if "network_mode" not in found}
    addresses = {name: f"198.18.0.{number}" for number, name in enumerate(names, 2)}
    hosts = FOLDER / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in addresses.items()))
    made = []
    try:
        for namespace in (OUTSIDE, *names.values()):
            ip("netns", "add", namespace)
            made.append(namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", OUTSIDE, "link", "add", "bridge", "type", "bridge")
        ip("-n", OUTSIDE, "address", "add", "198.18.0.1/24", "dev", "bridge")
        ip("-n", OUTSIDE, "link", "set", "bridge", "up")
        for name, namespace in names.items():
            ip("-n", OUTSIDE, "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
            ip("-n", OUTSIDE, "link", "set", f"to-{name}", "master", "bridge", "up")
            ip("-n", namespace, "address", "add", f"{addresses[name]}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
            # `ip netns exec` shows a program this file as /etc/hosts.
            files = pathlib.Path("/etc/netns", namespace)
            files.mkdir(parents=True)
            shutil.copy(hosts, files / "hosts")
        yield names, addresses, hosts
    finally:
        for namespace in made:
            ip("netns", "delete", namespace)
            shutil.rmtree(f"/etc/netns/{namespace}", ignore_errors=True)


def mounts(service, compose):
    """Where each file of the service is to be seen."""
    for config in service.get("configs", []):
        yield HERE / compose["configs"][config["source"]]["file"], config["target"]
    for secret in service.get("secrets", []):
        file = HERE / compose["secrets"][secret]["file"]
        yield FOLDER / file.name if file.name == "session-keys" else file, f"/run/secrets/{secret}"


def command_of(name, service, compose, image, hosts):
    """What an engine would start, as this machine can."""
    files = dict((target, file.resolve()) for file, target in mounts(service, compose))
    if service["image"] == OURS:
        volumes = [f"{file}:{target}:ro" for target, file in files.items()]
        words = service.get("command", image["Cmd"])
        return in_container(CONTAINERS[name], *image["Entrypoint"], *words, mounts=[*volumes, f"{hosts}:/etc/hosts:ro"])
    program, *words = service["command"]
    assert program == "python", program
    user, group = service["user"].split(":")
    words = [str(shutil.copy(files[word], FOLDER)) if word in files else word for word in words]
    environment = [f"{key}={value}" for key, value in service["environment"].items()]
    drop = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
    return [*drop, "env", "--ignore-environment", *environment, PYTHON, *words]


VISIT = """
import time
from browser import Browser
end = time.monotonic() + 20
while Browser().once("http://localhost:4180/healthz")[::2] != (200, "ok\\n"):
    assert time.monotonic() < end, "the app does not answer"
    time.sleep(0.05)
alice = Browser("alice@contoso.test")
status, _, body = alice.get("http://localhost:4180/reports?year=2026")
assert status == 200 and "Hello, alice@contoso.test" in body, (status, body, alice.places)
assert "Microsoft Graph calls you Alice" in body, body
assert any(place.startswith("localhost:8443/") for place in alice.places), alice.places
status, headers, body = alice.get("http://localhost:4180/.auth/logout")
assert status == 200, (status, body, alice.places)
status, headers, _ = alice.once("http://localhost:4180/")
assert status == 302 and headers["location"].startswith("http://localhost:8443/"), (status, headers)
try:
    Browser().once("http://localhost:8080/")
except ConnectionRefusedError:
    pass
else:
    raise AssertionError("the app is published")
"""


def main():
    FOLDER.mkdir()
    compose = yaml.safe_load(text(HERE / "compose.yaml"))
    services = compose["services"]
    image = json.loads(text(f"{WORK}/first.json"))["Docker"]["config"]
    made = subprocess.run([*in_container(CONTAINERS["proxy"], "/vestibule", "keygen")], capture_output=True, check=True)
    (FOLDER / "session-keys").write_bytes(made.stdout)
    with networks(services) as (names, addresses, hosts), contextlib.ExitStack() as stack:
        started = {}
        for name, service in services.items():
            home = service.get("network_mode", f"service:{name}").removeprefix("service:")
            command = command_of(name, service, compose, image, hosts)
            log = f"{WORK}/compose-{name}.log"
            started[name] = stack.enter_context(running(inside(names[home], *command), log))
            for published in service.get("ports", []):
                address, port, target = published.split(":")
                forward = [sys.executable, "-c", FORWARD, address, port, addresses[home], target]
                stack.enter_context(running(inside(OUTSIDE, *forward), f"{WORK}/forward-{port}.log"))
        log = f"{WORK}/compose-proxy.log"
        try:
            until(lambda: "ready: Microsoft's metadata is known" in text(log), "readiness")
            check = inside(names["proxy"], *in_container(CONTAINERS["proxy"], *image["Healthcheck"]["Test"][1:]))
            subprocess.run(check, check=True, capture_output=True)
            subprocess.run(inside(OUTSIDE, sys.executable, "-c", VISIT), check=True)
        except (AssertionError, subprocess.CalledProcessError):
            for name in services:
                print(f"--- {name}\n{text(f'{WORK}/compose-{name}.log')}", file=sys.stderr)
            raise
        os.kill(innermost(started["proxy"].pid), signal.SIGINT)
        assert started["proxy"].wait(10) == 0, started["proxy"].returncode
    print("compose.yaml: signed in, Graph called, signed out; the app answers nobody on the host")


main()
