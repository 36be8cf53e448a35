"""What tests/pod/run proves, in the order in which a pod lives."""

import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
import tomllib

from pod import Pod, Volume, resident_kib, terminate, until
from visitor import HOST, Browser, Load, WebSocket, certificate

BINARY, WORK = os.path.abspath(sys.argv[1]), sys.argv[2]
HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT = "e0e0e0e0-0000-4000-8000-0000000000a1"
FIRST_SECRET, SECOND_SECRET = "the-first-secret~of-this-test", "the-second-secret~of-this-test"
RULES = '[[rules]]\npath = "/public/*"\naccess = "anonymous"\n'
STALE = "vestibule_configuration_stale"
APPLIED = 'vestibule_configuration_reloads_total{outcome="applied"}'
FAILED = 'vestibule_configuration_reloads_total{outcome="failed"}'
# Files are looked at every five seconds, and a change has to stay for one.
TAKEN_OVER = 15


def proven(text):
    print(f"  {text}", flush=True)


def same(what, found, wanted):
    assert found == wanted, f"{what}: {found!r}, expected {wanted!r}"


def admin(pod, path, method="GET", inside=False, address=None):
    """Status and text of the admin port: from the node by the pod's address, or from inside."""
    host, port = ("127.0.0.1" if inside else address or pod.ip), 4191
    connection = http.client.HTTPConnection(host, port, timeout=20)
    if inside:
        connection.sock = pod.connect_inside((host, port))
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode().strip()
    finally:
        connection.close()


def metric(pod, name):
    status, text = admin(pod, "/metrics")
    same("/metrics", status, 200)
    return next((float(l.rsplit(" ", 1)[1]) for l in text.splitlines() if l.startswith(name + " ")), 0.0)


def refused(address):
    try:
        socket.create_connection(address, timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def alive(pod):
    try:
        return admin(pod, "/livez")[0] == 200 and not refused((pod.ip, 4180))
    except OSError:
        return False


def self_signed(name):
    """Key and certificate as PEM."""
    key, certificate = f"{WORK}/{name}.key", f"{WORK}/{name}.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        + ["-keyout", key, "-out", certificate, "-days", "90", "-subj", f"/CN={HOST}"],
        check=True, capture_output=True,
    )
    return open(key).read(), open(certificate).read()


def keygen():
    return subprocess.run([BINARY, "keygen"], check=True, capture_output=True, text=True).stdout


def emulator(pod, secret):
    """Entra, as the proxy in the pod sees it; what it prints for clients."""
    scenario = f"{WORK}/scenario.toml"
    with open(scenario, "w") as file:
        file.write(
            f'[[apps]]\nname = "Shop"\nclient_id = "{CLIENT}"\nclient_secret = "{secret}"\n'
            f'redirect_uris = ["https://{HOST}/.auth/login/aad/callback"]\n'
        )
    command = [BINARY, "emulator", "--listen", "127.0.0.1:8443", "--config", scenario]
    process = pod.start(*command, stdout=subprocess.PIPE)
    text = ""
    while "users = " not in text:
        line = process.stdout.readline()
        assert line, "the emulator did not start"
        text += line
    return process, tomllib.loads(text)


def configuration(tenant, rules=RULES):
    return f"""
[server]
public_url = "https://{HOST}"
[server.tls]
certificate_file = "{WORK}/secret/tls.crt"
private_key_file = "{WORK}/secret/tls.key"
[entra]
authority = "http://127.0.0.1:8443"
tenant = "{tenant}"
client_id = "{CLIENT}"
client_secret_file = "{WORK}/secret/client-secret"
[session]
keys_file = "{WORK}/secret/session-keys"
[upstream]
url = "http://127.0.0.1:8080"
[identity.headers]
"X-User" = "preferred_username"
{rules}"""


def proxy(pod, **variables):
    environment = {"VESTIBULE__ADMIN__LISTEN": "0.0.0.0:4191", "PATH": os.environ["PATH"], **variables}
    command = [BINARY, "run", "--config", f"{WORK}/config/proxy.toml"]
    return pod.start(*command, log=f"{WORK}/log", env=environment)


def log():
    with open(f"{WORK}/log") as file:
        return [json.loads(line) for line in file if line.startswith("{")]


def starts(pod):
    """Microsoft is out of reach: from exec to the first answer on both ports."""
    took = []
    for _ in range(9):
        begun = time.monotonic()
        process = proxy(pod)
        while not alive(pod):
            assert time.monotonic() < begun + 20, "the proxy does not start"
            time.sleep(0.001)
        took.append((time.monotonic() - begun) * 1000)
        process.kill()
        process.wait()
    # The fastest start is the program's own; the others waited for the machine, too.
    assert min(took) < 100, f"{min(took):.0f} ms from exec to /livez and an open port, expected 100 ms"
    proven(
        f"{min(took):.0f} ms from exec to /livez 200 and an open port 4180, Microsoft out of reach"
        f" (fastest of {len(took)}; median {statistics.median(took):.0f} ms, slowest {max(took):.0f} ms)"
    )


def ipv6(pod):
    """A cluster without IPv4."""
    try:
        address = pod.add_ipv6(f"fd00:{os.getpid() % 65536:x}")
    except RuntimeError as error:
        print(f"  IPv6 cannot be used here, nothing about it was proven: {error}")
        return
    listen = {"VESTIBULE__SERVER__LISTEN": "[::]:4180", "VESTIBULE__ADMIN__LISTEN": "[::]:4191"}
    process = proxy(pod, **listen)

    def answers():
        try:
            return admin(pod, "/livez", address=address)[0] == 200
        except OSError:
            return False

    until(f"http://[{address}]:4191/livez", answers)
    assert not refused((address, 4180)), f"[{address}]:4180 is refused"
    same("POST /drain from outside", admin(pod, "/drain", "POST", address=address)[0], 403)
    same("vestibule drain in the pod", inside(pod, "drain", "--wait=0s").returncode, 0)
    same("/readyz after it", admin(pod, "/readyz", address=address), (503, "not ready: draining"))
    process.kill()
    process.wait()
    proven(f'with listen = "[::]:…" both ports answer by IPv6 ([{address}]), and drain works inside alone')


def microsoft_down_at_start(pod, user):
    same("/livez", admin(pod, "/livez"), (200, "alive"))
    status, words = admin(pod, "/readyz")
    assert (status, "Microsoft's metadata" in words) == (503, True), (status, words)
    browser = Browser(pod, user)
    status, _, text = browser.get("/public/hello")
    same("an anonymous rule", (status, text), (200, "hello from the app; nobody"))
    status, headers, _ = browser.get("/private")
    assert (status, bool(headers["Retry-After"])) == (503, True), (status, headers.items())
    healthcheck = inside(pod, "healthcheck")
    same("vestibule healthcheck", healthcheck.returncode, 1)
    proven("Microsoft down at the start: /livez 200, /readyz 503 with the reason, anonymous rules are"
           f" served, a sign-in is 503 with Retry-After: {headers['Retry-After']}")


def inside(pod, *arguments):
    """A command of the binary, run in the pod as an exec hook runs it."""
    process = pod.start(BINARY, *arguments, stdout=subprocess.PIPE)
    process.wait(60)
    return process


def reachability(pod):
    assert refused((pod.ip, 8080)), f"{pod.ip}:8080 answers from outside: the app can be bypassed"
    status, _, text = Browser(pod, "").get("/private", {"Accept": "*/*"})
    same("port 4180 without a session", (status, "login_required" in text), (401, True))
    # The command of docs/kubernetes.md.
    sockets = ["grep", "-hE", ":1F90 .* 0A ", "/proc/net/tcp", "/proc/net/tcp6"]
    found = pod.start(*sockets, stdout=subprocess.PIPE).communicate()[0].splitlines()
    same("sockets that listen on port 8080", [line.split()[1] for line in found], ["0100007F:1F90"])
    proven(f"from outside {pod.ip}:8080 is refused, {pod.ip}:4180 answers 401; inside, 127.0.0.1:8080 is the"
           " only socket of that port")
    for path in ("/livez", "/readyz", "/metrics"):
        same(f"http://{pod.ip}:4191{path}", admin(pod, path)[0], 200)
    same("POST /drain from outside", admin(pod, "/drain", "POST")[0], 403)
    same("/readyz after it", admin(pod, "/readyz")[0], 200)
    proven(f"http://{pod.ip}:4191 answers /livez, /readyz and /metrics, and refuses POST /drain with 403")


def changes(pod, tenant, user, config, secret):
    """ConfigMap and Secret are swapped under load."""
    browser = Browser(pod, user)
    status, _, text = browser.navigate("/private")
    same("signing in", (status, text), (200, f"hello from the app; {user}"))
    load = Load(browser)

    same("a path without a rule", Browser(pod, "").get("/open/door")[0], 302)
    config.publish(proxy__toml=configuration(tenant, RULES + '[[rules]]\npath = "/open/*"\naccess = "anonymous"\n'))
    until("the new rule", lambda: Browser(pod, "").get("/open/door")[0] == 200, TAKEN_OVER)
    hash_was, applied = metric(pod, "vestibule_configuration_hash"), metric(pod, APPLIED)
    same("reloads that were applied", applied, 1.0)
    proven("a swapped ConfigMap brings a new rule")

    config.publish(proxy__toml=configuration(tenant, '[[rules]]\npath = "/open/*"\nacces = "anonymous"\n'))
    until(f"{STALE} 1", lambda: metric(pod, STALE) == 1.0, TAKEN_OVER)
    same("the old rule", Browser(pod, "").get("/open/door")[0], 200)
    same("the hash", metric(pod, "vestibule_configuration_hash"), hash_was)
    same("failed reloads", metric(pod, FAILED), 1.0)
    until("the log names the key", lambda: any("rules[0].acces:" in line.get("problem", "") for line in log()))
    proven("a broken ConfigMap changes nothing: stale 1, one failed reload, the log names the key")
    config.publish(proxy__toml=configuration(tenant))
    until(f"{STALE} 0", lambda: metric(pod, STALE) == 0.0, TAKEN_OVER)

    server, _ = rotate_at_microsoft(pod)
    status = Browser(pod, user).navigate("/private")[0]
    assert status >= 400, f"{status} with a secret that has ended"
    key, crt = self_signed("second")
    old_keys = secret.files["session-keys"]
    assert certificate(pod) != crt
    secret.publish(**{
        "client-secret": SECOND_SECRET + "\n", "session-keys": keygen() + old_keys,
        "tls.crt": crt, "tls.key": key,
    })
    until("the new certificate", lambda: certificate(pod) == crt, TAKEN_OVER)
    expiry = metric(pod, 'vestibule_certificate_expiry_timestamp_seconds{certificate="server.tls"}')
    assert 89 * 86400 < expiry - time.time() <= 90 * 86400, expiry
    same("signing in with the new secret", Browser(pod, user).navigate("/private")[0], 200)
    same("the session of before", browser.get("/private")[0], 200)
    proven("a swapped Secret brings certificate, client secret and session keys; sessions live on")

    answered = load.end()
    same("failed requests", load.failed, [])
    unseen(pod, load)
    assert answered > 500, f"only {answered} requests"
    proven(f"{answered} requests on kept connections meanwhile, none failed")

    secret.publish(**{"session-keys": secret.files["session-keys"].splitlines()[0] + "\n"})
    until("the old key is gone", lambda: browser.get("/private")[0] == 302, TAKEN_OVER)
    proven("without the old key its sessions end: the keys that are used are those of the Secret")
    return server


def rotate_at_microsoft(pod):
    """The registration has another secret from now on."""
    old = next(p for p in pod.processes if "emulator" in p.args and p.poll() is None)
    terminate(old)
    return emulator(pod, SECOND_SECRET)


def unseen(pod, load):
    """What a client sent again had not reached the app."""
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=20)
    connection.sock = pod.connect_inside(("127.0.0.1", 8080))
    connection.request("GET", "/seen")
    seen = set(json.loads(connection.getresponse().read()))
    connection.close()
    same("requests that the app saw and nobody answered", seen & set(load.unsent), set())


def microsoft_down_later(pod, user, server):
    browser = Browser(pod, user)
    same("signing in", browser.navigate("/private")[0], 200)
    terminate(server)
    same("a session while Microsoft is down", browser.get("/private")[0], 200)
    same("/readyz while Microsoft is down", admin(pod, "/readyz"), (200, "ready"))
    proven("Microsoft down later: the pod stays ready and sessions go on")
    return browser


def stop(pod, process, browser):
    """preStop, then SIGTERM, with people at work."""
    load = Load(browser)
    tunnel = WebSocket(browser)
    tunnel.echo("before")
    until("load", lambda: load.answered > 20)
    patient = Patient(browser)
    begun = time.monotonic()
    drain = inside(pod, "drain", "--wait=3s")
    took = time.monotonic() - begun
    same("vestibule drain", drain.returncode, 0)
    words = drain.stdout.read().strip()
    assert 2.5 < took < 6, f"the drain took {took:.1f} s"
    status, text = admin(pod, "/readyz")
    same("/readyz", (status, text), (503, "not ready: draining"))
    same("a new connection while draining", browser.get("/private")[0], 200)
    tunnel.echo("while draining")
    proven(f"vestibule drain --wait=3s: /readyz 503 at once, everybody is still served ({words})")
    # The endpoint has been gone for seconds when the kubelet sends SIGTERM.
    load.go_elsewhere()
    process.send_signal(signal.SIGTERM)
    same("the WebSocket's close code", tunnel.close_code(), 1001)
    load.join()
    same("failed requests", load.failed, [])
    unseen(pod, load)
    status, text = patient.answer()
    same("the slow request", (status, text), (200, "slow, and whole"))
    same("exit code", process.wait(60), 0)
    cut = [line["message"] for line in log() if "were cut" in line.get("message", "")]
    same("connections that were cut", cut, [])
    proven(f"SIGTERM: WebSocket closed with 1001, the request under way finished, {load.answered} requests"
           f" answered and none failed, exit 0 ({load.resent} found a kept connection closed)")


class Patient:
    """One request that takes longer than drain and SIGTERM."""

    def __init__(self, browser):
        self.result = []
        self.thread = threading.Thread(target=lambda: self.result.append(browser.get("/slow?seconds=11")))
        self.thread.start()
        time.sleep(0.3)

    def answer(self):
        self.thread.join(60)
        assert self.result, "the slow request was never answered"
        status, _, text = self.result[0]
        return status, text


def redirected(pod):
    """An app that cannot bind loopback: nftables in the pod sends its port to the proxy."""
    pod.start(sys.executable, f"{HERE}/app.py", "0.0.0.0", "8090")
    until("the second app", lambda: not refused((pod.ip, 8090)))
    connection = http.client.HTTPConnection(pod.ip, 8090, timeout=20)
    connection.request("GET", "/private")
    same("the bypass without the rule", connection.getresponse().status, 200)
    rules = (
        "add table ip vestibule; "
        "add chain ip vestibule prerouting { type nat hook prerouting priority dstnat; }; "
        "add rule ip vestibule prerouting tcp dport 8090 redirect to :4180"
    )
    nft = pod.start("nft", rules, stdout=subprocess.PIPE, log=f"{WORK}/nft")
    if nft.wait(20) != 0:
        print(f"  nftables cannot be used here, the redirect was not proven: {open(f'{WORK}/nft').read().strip()}")
        return
    connection = http.client.HTTPConnection(pod.ip, 8090, timeout=20)
    try:
        connection.request("GET", "/private")
        status = connection.getresponse().status
        assert status != 200, "the app answers around the proxy"
    except (OSError, http.client.HTTPException):
        pass
    same("who answers on port 8090", certificate(pod, 8090), certificate(pod))
    proven("an app on 0.0.0.0:8090 is reached around the proxy; with the nftables redirect it is not")


def main():
    pod = Pod()
    try:
        key, crt = self_signed("first")
        secret = Volume(f"{WORK}/secret", **{
            "client-secret": FIRST_SECRET + "\n", "session-keys": keygen(), "tls.crt": crt, "tls.key": key,
        })
        server, client = emulator(pod, FIRST_SECRET)
        terminate(server)
        user, tenant = client["users"][0], client["tenant"]
        config = Volume(f"{WORK}/config", proxy__toml=configuration(tenant))
        pod.start(sys.executable, f"{HERE}/app.py", "127.0.0.1", "8080")
        starts(pod)
        ipv6(pod)

        process = proxy(pod)
        until("the proxy", lambda: alive(pod))
        microsoft_down_at_start(pod, user)
        emulator(pod, FIRST_SECRET)
        until("/readyz 200", lambda: admin(pod, "/readyz")[0] == 200)
        same("vestibule healthcheck", inside(pod, "healthcheck").returncode, 0)
        line = next(line for line in log() if line["message"].startswith("ready"))
        proven(f"ready by itself once Microsoft answers; idle it holds {resident_kib(process) / 1024:.1f} MiB")
        reachability(pod)
        server = changes(pod, tenant, user, config, secret)
        redirected(pod)
        browser = microsoft_down_later(pod, user, server)
        stop(pod, process, browser)
    except AssertionError:
        told = [line for line in log() if line["message"] != "request"]
        sys.stderr.writelines(json.dumps(line) + "\n" for line in told[-20:])
        raise
    finally:
        pod.end()


print(f"a pod without a cluster, with {os.path.relpath(BINARY)}")
main()
