"""Holds the dashboard and the alert rules against scrapes of running proxies."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, f"{HERE}/../pod")
from pod import until
from visitor import FETCH, HOST, NAVIGATE, Browser, WebSocket

BINARY, WORK, PROMTOOL = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3]
MONITORING = "deploy/monitoring"
CLIENT = "e0e0e0e0-0000-4000-8000-0000000000a2"
SECRET = "the-secret~of-this-test"
NAME = re.compile(r"\bvestibule_[a-z_]+")
# What this machine cannot show, and why.
ABSENT = {"vestibule_memory_limit_bytes": "there is no memory limit here"}


class Proxy:
    """A proxy on loopback, as visitor.py knows a pod."""

    ip = "127.0.0.1"

    def __init__(self, name, client, app, session):
        self.port, self.admin = free_port(), free_port()
        self.file = f"{WORK}/{name}.toml"
        self.text = f"""
[server]
listen = "127.0.0.1:{self.port}"
public_url = "https://{HOST}"
workers = 1
[server.tls]
certificate_file = "{WORK}/tls.crt"
private_key_file = "{WORK}/tls.key"
[admin]
listen = "127.0.0.1:{self.admin}"
[entra]
authority = "{client['authority']}"
tenant = "{client['tenant']}"
client_id = "{CLIENT}"
client_secret = "{SECRET}"
[session]
keys_file = "{WORK}/session-keys"
{session}
[upstream]
url = "http://127.0.0.1:{app}"
[log]
level = "warn"
"""
        self.write(self.text)
        command = [BINARY, "run", "--config", self.file]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until("ready", self.is_ready)

    def write(self, text):
        with open(self.file + ".new", "w") as file:
            file.write(text)
        os.rename(self.file + ".new", self.file)

    def is_ready(self):
        assert self.process.poll() is None, "the proxy has ended"
        try:
            return self.ask("/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, path, accept="application/openmetrics-text"):
        connection = http.client.HTTPConnection(self.ip, self.admin, timeout=20)
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def scrape(self, accept="application/openmetrics-text"):
        return self.ask("/metrics", accept)[1]

    @staticmethod
    def connect_inside(address):
        return socket.create_connection(address, timeout=20)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def emulator():
    with open(f"{WORK}/scenario.toml", "w") as file:
        file.write(
            f'token_lifetime = "4s"\n[[apps]]\nname = "Shop"\nclient_id = "{CLIENT}"\n'
            f'client_secret = "{SECRET}"\nredirect_uris = ["https://{HOST}/.auth/login/aad/callback"]\n'
        )
    command = [BINARY, "emulator", "--listen", "127.0.0.1:0", "--config", f"{WORK}/scenario.toml"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text = ""
    while "users = " not in text:
        line = process.stdout.readline()
        assert line, "the emulator did not start"
        text += line
    return process, tomllib.loads(text)


def traffic(proxy, user):
    """Something of everything that is counted."""
    assert Browser(proxy, user).get("/page", FETCH)[0] == 401
    browser = Browser(proxy, user)
    assert browser.navigate("/page")[0] == 200
    assert browser.get("/close")[0] == 502
    assert browser.get("/a%2fb")[0] == 400
    tunnel = WebSocket(browser)
    renewed = 'vestibule_renewals_total{outcome="renewed"} 1'
    until("a renewal", lambda: browser.get("/page")[0] == 200 and renewed in proxy.scrape())
    assert browser.get("/.auth/logout", {**NAVIGATE, "Sec-Fetch-Site": "same-origin"})[0] == 302
    tunnel.close_code()
    proxy.write(proxy.text + "nonsense = 1\n")
    until("a broken configuration", lambda: "vestibule_configuration_stale 1" in proxy.scrape())


def expressions():
    """Every PromQL expression of the dashboard, with Grafana's variables filled in."""
    with open(f"{MONITORING}/dashboard.json") as file:
        dashboard = json.load(file)
    places = list(dashboard["annotations"]["list"])
    for panel in dashboard["panels"]:
        places += panel.get("targets", [])
    for place in places:
        text = place["expr"]
        for variable in ("namespace", "job", "instance"):
            text = text.replace(f"${variable}", ".*")
        yield text.replace("$__rate_interval", "5m")


def check(names, where, scraped):
    missing = sorted(names - scraped - set(ABSENT))
    assert not missing, f"{where} names metrics that no proxy has: {', '.join(missing)}"
    absent = sorted(names & set(ABSENT) - scraped)
    print(f"  {where}: {len(names) - len(absent)} metrics, each of them in a scrape")
    for name in absent:
        print(f"  {where}: {name} could not be seen, {ABSENT[name]}")


def observe():
    """Scrapes of proxies after some traffic: in the newer format, and one in the older."""
    children = []
    try:
        server, client = emulator()
        children.append(server)
        app = free_port()
        command = [sys.executable, f"{HERE}/../pod/app.py", "127.0.0.1", str(app)]
        children.append(subprocess.Popen(command))
        until("the app", lambda: listens(app))
        proxy = Proxy("cookies", client, app, "")
        children.append(proxy.process)
        traffic(proxy, client["users"][0])
        scrapes = [proxy.scrape()]
        if shutil.which("redis-server"):
            port = free_port()
            command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", WORK]
            children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            until("redis", lambda: listens(port))
            store = f'store = "redis"\nredis_url = "redis://127.0.0.1:{port}/0"'
            stored = Proxy("redis", client, app, store)
            children.append(stored.process)
            assert Browser(stored, client["users"][0]).navigate("/page")[0] == 200
            scrapes.append(stored.scrape())
        else:
            for suffix in ("bucket", "count"):
                name = f"vestibule_store_operation_duration_seconds_{suffix}"
                ABSENT[name] = "redis-server is not here"
        return scrapes, proxy.scrape("text/plain")
    finally:
        for child in reversed(children):
            child.terminate()
            child.wait(60)


def main():
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", f"{WORK}/tls.key", "-out", f"{WORK}/tls.crt", "-days", "9", "-subj", f"/CN={HOST}"],
        check=True, capture_output=True,
    )
    with open(f"{WORK}/session-keys", "w") as file:
        subprocess.run([BINARY, "keygen"], check=True, stdout=file)
    scrapes, older = observe()
    samples = [line for text in scrapes for line in text.splitlines() if not line.startswith("#")]
    scraped = {NAME.match(line).group() for line in samples}
    panels = list(expressions())
    check({name for text in panels for name in NAME.findall(text)}, "dashboard.json", scraped)
    with open(f"{MONITORING}/alerts.yaml") as file:
        # Texts for people name metrics, too: those must exist as well.
        text = "".join(line for line in file if not line.lstrip().startswith("#"))
    check(set(NAME.findall(text)), "alerts.yaml", scraped)
    if not PROMTOOL:
        return
    with open(f"{WORK}/dashboard.yaml", "w") as file:
        records = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(panels)]
        json.dump({"groups": [{"name": "dashboard", "rules": records}]}, file)
    done = subprocess.run([PROMTOOL, "check", "rules", f"{WORK}/dashboard.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, f"the dashboard has expressions that are no PromQL: {done.stderr}"
    print(f"  dashboard.json: its {len(panels)} expressions are PromQL")
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=older, text=True, capture_output=True)
    assert done.returncode == 0, f"promtool check metrics: {done.stdout}{done.stderr}"
    print("  promtool check metrics finds nothing in a scrape of the older format")


main()
