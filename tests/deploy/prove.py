"""What the manifests, the overlays, the compose file and the templates say, beyond their schemas."""

import pathlib
import re
import subprocess
import sys

import rules
import yaml
from pycep import BicepParser

BINARY, WORK = sys.argv[1:3]
OVERLAYS = [f"{WORK}/example.yaml", f"{WORK}/example-proxy.yaml"]
MANIFESTS = ["deploy/manifests/sidecar.yaml", "deploy/manifests/proxy.yaml"]


def documents(name):
    with open(name, encoding="utf-8") as file:
        return [found for found in yaml.safe_load_all(file) if found]


def shapes():
    """Every pod is restricted, and every Service of a pod with the proxy leads to the proxy."""
    pods = services = 0
    for name in OVERLAYS + MANIFESTS:
        found = documents(name)
        assert not [port for one in found for port in rules.ports_by_name(one)], name
        for workload in (one for one in found if one["kind"] == "Deployment"):
            pod = rules.pod_spec(workload)
            containers = rules.containers(pod)
            assert not list(rules.breaches(pod)), f"{name}: {list(rules.breaches(pod))}"
            pods += 1
            assert "vestibule" in [container["name"] for container in containers], name
            assert not any("subPath" in mount for one in containers for mount in one.get("volumeMounts", [])), name
            # preStop of the app is longer than the drain, and all of it fits.
            sleeps = [one["lifecycle"]["preStop"]["sleep"]["seconds"] for one in pod["containers"] if one["name"] != "vestibule"]
            assert all(15 < seconds for seconds in sleeps), name
            assert pod["terminationGracePeriodSeconds"] >= max(sleeps, default=15) + 30, name
            labels = workload["spec"]["template"]["metadata"]["labels"].items()
            policies = [one["spec"] for one in found if one["kind"] == "NetworkPolicy"]
            ours = [policy for policy in policies if policy["podSelector"]["matchLabels"].items() <= labels]
            assert [port["port"] for policy in ours for rule in policy["ingress"] for port in rule["ports"]] == [4180, 4191], name
        for service in (one for one in found if one["kind"] == "Service"):
            assert [port["targetPort"] for port in service["spec"]["ports"]] == [4180], f"{name}: {service}"
            services += 1
    print(f"{pods} pods under PodSecurity restricted, {services} Services that lead to 4180, policies for both ports")


def same_proxy():
    """The plain manifest of the proxy is the overlay's."""
    assert documents(MANIFESTS[1]) == documents(OVERLAYS[1]), "deploy/manifests/proxy.yaml is not the overlay example-proxy"
    print("manifests/proxy.yaml is what the overlay example-proxy builds")


def check(place, text, variables=None):
    """`vestibule check` with files where the configuration says that they are."""
    secrets = pathlib.Path(WORK, "secrets")
    if not secrets.exists():
        secrets.mkdir()
        made = subprocess.run([BINARY, "keygen"], capture_output=True, check=True)
        (secrets / "session-keys").write_bytes(made.stdout)
        (secrets / "client-secret").write_text("a secret of this proof\n")
    moved = re.compile(r"(/etc/vestibule|/run/secrets|%d)/(?=client-secret|session-keys)")
    file = pathlib.Path(WORK, "checked.toml")
    file.write_text(moved.sub(f"{secrets}/", text))
    variables = {key: moved.sub(f"{secrets}/", value) for key, value in (variables or {}).items()}
    told = subprocess.run([BINARY, "check", "--config", file], env=variables, capture_output=True, text=True)
    assert told.returncode == 0, f"{place}:\n{told.stderr}"


def configurations():
    """Every configuration is one that the proxy takes."""
    places = 0
    for name in [*OVERLAYS, *MANIFESTS, f"{WORK}/configmap.yaml"]:
        for found in (one for one in documents(name) if one["kind"] == "ConfigMap"):
            check(name, found["data"]["proxy.toml"])
            places += 1
    check("compose", pathlib.Path("deploy/compose/proxy.toml").read_text())
    unit = pathlib.Path("deploy/systemd/vestibule.service").read_text()
    variables = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.M))
    assert len(variables) == 2, variables
    # The page's configuration of a machine, whose secrets come from the unit.
    page = pathlib.Path("deploy/README.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    check("deploy/README.md", text, variables)
    print(f"{places + 2} configurations: `vestibule check` takes each")


# What a deployment would put in place of the templates' parameters.
ANSWERS = {
    "SERVER__PUBLIC_URL": "https://app.contoso.com",
    "ENTRA__TENANT": "contoso.onmicrosoft.com",
    "ENTRA__CLIENT_ID": "00001111-aaaa-2222-bbbb-3333cccc4444",
    "ENTRA__CLIENT_SECRET": "a secret of this proof",
    "UPSTREAM__URL": "http://127.0.0.1:8080",
}


def templates():
    """The bicep files parse, and their variables are a whole configuration."""
    key = subprocess.run([BINARY, "keygen"], capture_output=True, check=True, text=True).stdout.strip()
    for name, lists in (
        ("container-apps", lambda found: found["app"]["config"]["properties"]["template"]["containers"][0]["env"]),
        ("app-service", lambda found: found["proxy"]["config"]["properties"]["environmentVariables"]),
    ):
        template = BicepParser().parse(text=pathlib.Path(f"deploy/azure/{name}.bicep").read_text())
        variables = {}
        for entry in lists(template["resources"]):
            known = ANSWERS | {"SESSION__KEYS": f'["{key}"]'}
            variables[entry["name"]] = known.get(entry["name"].removeprefix("VESTIBULE__"), entry["value"])
        check(name, "", variables)
        assert "redirectUri" in template["outputs"], name
        print(f"{name}.bicep parses; its {len(variables)} variables are a configuration that `vestibule check` takes")


shapes()
same_proxy()
configurations()
templates()
