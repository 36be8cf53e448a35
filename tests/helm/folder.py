"""/etc/vestibule as the kubelet would fill it from a rendered pod, and `vestibule check` on it."""

import base64
import json
import os
import subprocess
import tempfile

import rules

WHERE = "/etc/vestibule"
# What the workload identity webhook sets.
WEBHOOK = {
    "AZURE_CLIENT_ID": "00001111-aaaa-2222-bbbb-3333cccc4444",
    "AZURE_TENANT_ID": "11112222-bbbb-3333-cccc-4444dddd5555",
    "AZURE_AUTHORITY_HOST": "https://login.microsoftonline.com/",
}
CERTIFICATE = "tests/data/emulator/client-certificate.pem"
KEY = "tests/data/emulator/client-key.pem"


def content(binary, file):
    """What a file of a Secret of this name would hold."""
    name = os.path.basename(file)
    if name.endswith(".crt"):
        with open(CERTIFICATE, encoding="utf-8") as source:
            return source.read()
    if name.endswith(".key"):
        with open(KEY, encoding="utf-8") as source:
            return source.read()
    if "redis" in name:
        return "rediss://:a-password@redis.example:6380/0\n"
    # A session key; as a client secret it is as good as any.
    return subprocess.run([binary, "keygen"], check=True, capture_output=True, text=True).stdout


def federated_token():
    """What the webhook mounts looks like this; nobody checks a signature here."""
    parts = {"alg": "RS256"}, {"sub": "system:serviceaccount:default:demo-vestibule", "exp": 4102444800}, "signature"
    encode = lambda part: base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
    return ".".join(encode(part) for part in parts)


def put(root, path, text):
    file = os.path.join(root, path)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "w", encoding="utf-8") as out:
        out.write(text)


def fill(binary, root, spec, maps, keys):
    """The projected volume; false where its ConfigMap is not ours to see."""
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "vestibule"]
    seen = False
    for source in volume["projected"]["sources"]:
        ((kind, named),) = source.items()
        if "items" in named:
            for item in named["items"]:
                put(root, item["path"], content(binary, item["path"]))
        elif kind == "configMap":
            seen = named["name"] in maps
            for name, text in maps.get(named["name"], {}).items():
                put(root, name, text)
        else:
            # A Secret that has no more than the keys that the values name.
            for key in keys:
                put(root, key, content(binary, key))
    return seen


def check(binary, found, values, where, work):
    """How many configurations were checked."""
    maps = {one["metadata"]["name"]: one.get("data", {}) for one in found if one["kind"] == "ConfigMap"}
    keys = {"clientSecret": "client-secret", "sessionKeys": "session-keys", "redisUrl": "redis-url"}
    keys = {**keys, **values.get("secretKeys", {})}.values()
    checked = 0
    for one in found:
        spec = rules.pod_spec(one)
        if spec is None or one["kind"] == "Pod":
            continue
        (container,) = [each for each in rules.containers(spec) if each["name"] == "vestibule"]
        with tempfile.TemporaryDirectory(dir=work) as root:
            if not fill(binary, root, spec, maps, keys):
                continue
            env = {each["name"]: each["value"] for each in container["env"]}
            labels = one["spec"]["template"]["metadata"]["labels"]
            if labels.get("azure.workload.identity/use") == "true":
                put(root, "token", federated_token())
                env |= {**WEBHOOK, "AZURE_FEDERATED_TOKEN_FILE": os.path.join(root, "token")}
            for mount in container["volumeMounts"]:
                if mount["name"] != "vestibule":
                    for name in ("client-secret", "session-keys"):
                        put(root, f"mounted{mount['mountPath']}/{name}", content(binary, name))
            file = os.path.join(root, "proxy.toml")
            with open(file, encoding="utf-8") as source:
                text = source.read()
            text = text.replace('"/mnt/', f'"{root}/mounted/mnt/').replace(f'"{WHERE}/', f'"{root}/')
            put(root, "proxy.toml", text)
            told = subprocess.run([binary, "check", "--config", file], env=env, capture_output=True, text=True)
            assert told.returncode == 0, f"{where}: {told.stderr}\n{text}"
            # In front of a Service the app is on another machine, and the proxy says so.
            elsewhere = "leaves this machine" if where.startswith("helm/vestibule ") else None
            warnings = [line for line in told.stderr.splitlines() if line.startswith("warning")]
            warnings = [line for line in warnings if elsewhere is None or elsewhere not in line]
            assert not warnings, f"{where}: {warnings}"
            checked += 1
    return checked
