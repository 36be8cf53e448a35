"""Starts what the chart renders: the container's own command, environment and folder, in namespaces of
its own, with the emulator as Microsoft. Called by `unshare --mount --net`, so nothing outside changes.
"""

import os
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request

import yaml

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../kubernetes"))
import charts
import rules


def ask(url, host=None):
    """Status and Location of an answer; redirects are not followed."""
    request = urllib.request.Request(url, headers={"Accept": "text/html", **({"Host": host} if host else {})})
    opener = urllib.request.build_opener(type("Stay", (urllib.request.HTTPRedirectHandler,), {"redirect_request": lambda *_: None}))
    try:
        with opener.open(request, timeout=5) as answer:
            return answer.status, None
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers.get("Location")
    except OSError:
        return 0, None


def until(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def emulator(binary, work):
    """The emulator, and what it tells a client."""
    file = os.path.join(work, "emulator.toml")
    with open(file, "wb") as out:
        process = subprocess.Popen([binary, "emulator", "--listen", "127.0.0.1:8400"], stdout=out)
    told = lambda: open(file, encoding="utf-8").read()
    until(lambda: "users" in told(), "the emulator's settings")
    return process, tomllib.loads(told())


def etc(work, binary, toml, secret):
    """/etc with the pod's folder and the names of its Services."""
    root = os.path.join(work, "etc")
    os.makedirs(os.path.join(root, "vestibule"))
    key = subprocess.run([binary, "keygen"], check=True, capture_output=True, text=True).stdout
    files = {"proxy.toml": toml, "client-secret": f"{secret}\n", "session-keys": key}
    for name, text in files.items():
        with open(os.path.join(root, "vestibule", name), "w", encoding="utf-8") as out:
            out.write(text)
    with open(os.path.join(root, "hosts"), "w", encoding="utf-8") as out:
        out.write("127.0.0.1 localhost\n127.0.0.1 demo-vestibule-admin\n")
    with open(os.path.join(root, "nsswitch.conf"), "w", encoding="utf-8") as out:
        out.write("hosts: files\n")
    subprocess.run(["mount", "--bind", root, "/etc"], check=True)


def run(binary, command, env):
    return subprocess.run([binary, *command], env=env, capture_output=True, text=True, timeout=60)


def main(binary, work):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    process, told = emulator(binary, work)
    started = [process]
    try:
        with open("helm/vestibule/ci/secret-values.yaml", encoding="utf-8") as file:
            values = yaml.safe_load(file)
        entra = {key: told[key] for key in ("authority", "tenant", "client_id")}
        found, _ = charts.render("helm/vestibule", charts.overlay(values, {"config": {"entra": entra}}))
        by_kind = {one["kind"]: one for one in found}
        (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
        (test,) = by_kind["Pod"]["spec"]["containers"]
        etc(work, binary, by_kind["ConfigMap"]["data"]["proxy.toml"], told["client_secret"])

        env = {each["name"]: each["value"] for each in container["env"]}
        proxy = subprocess.Popen([binary, *container["args"]], env=env, cwd="/", stderr=subprocess.DEVNULL)
        started.append(proxy)
        for kind in rules.PROBES:
            probe = container[kind]["httpGet"]
            url = f"http://127.0.0.1:{probe['port']}{probe['path']}"
            until(lambda: ask(url)[0] == 200, f"{kind} {url}")
        status, location = ask("http://127.0.0.1:4180/", "app.contoso.com")
        assert status == 302 and "redirect_uri=https%3A%2F%2Fapp.contoso.com%2F.auth%2Flogin%2Faad%2Fcallback" in location, location

        healthy = run(binary, test["args"], {})
        assert healthy.returncode == 0, f"helm test: {healthy.stdout}{healthy.stderr}"
        hook = container["lifecycle"]["preStop"]["exec"]["command"]
        assert hook[0] == "/vestibule", hook
        drained = run(binary, hook[1:], {})
        assert drained.returncode == 0, f"preStop: {drained.stdout}{drained.stderr}"
        assert run(binary, test["args"], {}).returncode == 1, "ready after the drain"
        proxy.send_signal(signal.SIGTERM)
        grace = by_kind["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        assert proxy.wait(grace) == 0, f"exit code {proxy.returncode}"
        print("the rendered pod starts, its probes and helm test pass, it sends users to sign in, drains and ends")
    finally:
        for each in started:
            each.kill()


main(*sys.argv[1:])
