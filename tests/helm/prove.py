"""The charts: rendered in every mode, valid, restricted, with a configuration that the proxy takes."""

import glob
import json
import os
import re
import subprocess
import sys
import tomllib

import helm_python
import yaml

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../kubernetes"))
import charts
import equality
import folder
import rules

APP = "helm/vestibule"
EXAMPLE = "helm/examples/legacy-app"
CUSTOM = {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}


def load(file):
    with open(file, encoding="utf-8") as source:
        return yaml.safe_load(source)


def lint(path, values):
    report = helm_python.lint(path, values, strict=True, namespace="default", with_subcharts=True)
    # 1 is a hint, 2 a warning, 3 an error.
    worst = [message for message in report["messages"] if message["severity"] > 1]
    assert not worst and not report.get("errors"), f"{path}: {worst} {report.get('errors')}"


def named_once(found, where):
    names = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, f"{where}: {twice}"


def belongs_together(found, where):
    """Services, budgets, policies and monitors pick the pods that there are, and no test pod."""
    pods = [one["spec"]["template"]["metadata"]["labels"] for one in found if one["kind"] == "Deployment"]
    tests = [one["metadata"]["labels"] for one in found if one["kind"] == "Pod"]
    picks = lambda selector, labels: selector.items() <= labels.items()
    for one in found:
        spec = one.get("spec", {})
        selector = {
            "Service": lambda: spec["selector"],
            "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
            "Deployment": lambda: spec["selector"]["matchLabels"],
        }.get(one["kind"], lambda: None)()
        if selector is not None:
            assert any(picks(selector, labels) for labels in pods), f"{where}: {one['kind']} picks no pod"
            assert not any(picks(selector, labels) for labels in tests), f"{where}: {one['kind']} picks the test"
        if one["kind"] == "ServiceMonitor":
            wanted = spec["selector"]["matchLabels"]
            services = [other for other in found if other["kind"] == "Service"]
            picked = [other for other in services if picks(wanted, other["metadata"]["labels"])]
            assert [port["name"] for other in picked for port in other["spec"]["ports"]] == ["admin"], where


def check_objects(found, where):
    """How many schema validations passed."""
    checked = 0
    for one in found:
        place = f"{where}: {one['kind']} {one['metadata']['name']}"
        if one["kind"] not in CUSTOM:
            checked += rules.validated(one)
        wrong = list(rules.ports_by_name(one))
        spec = rules.pod_spec(one)
        if spec is not None:
            wrong += rules.breaches(spec)
            wrong += [text for container in rules.containers(spec) for text in rules.named_ports(container)]
            mounts = [mount for container in rules.containers(spec) for mount in container.get("volumeMounts", [])]
            wrong += [f"{mount['mountPath']} is a subPath" for mount in mounts if "subPath" in mount]
            if spec.get("enableServiceLinks") is not False:
                wrong.append("enableServiceLinks")
        assert not wrong, f"{place}: {', '.join(wrong)}"
    named_once(found, where)
    belongs_together(found, where)
    return checked


def modes(binary, work):
    """Every values file; gives back the custom resources."""
    checked, custom, configurations = 0, [], 0
    files = sorted(glob.glob(f"{APP}/ci/*-values.yaml"))
    assert len(files) >= 12, len(files)
    jobs = [(APP, file, load(file)) for file in files] + [(EXAMPLE, "its values.yaml", {})]
    for chart, file, values in jobs:
        path = charts.prepared(chart, work) if chart == EXAMPLE else chart
        where = f"{chart} with {os.path.basename(file)}"
        lint(path, values)
        found, notes = charts.render(path, values)
        checked += check_objects(found, where)
        custom += [one for one in found if one["kind"] in CUSTOM]
        configurations += folder.check(binary, found, values, where, work)
        public_url = values.get("config", {}).get("server", {}).get("public_url", "<public_url>")
        if chart == APP and "{{" not in public_url:
            assert f"{public_url}/.auth/login/aad/callback" in notes, f"{where}: no redirect URI in the notes"
    print(f"{len(jobs)} sets of values: {checked} strict validations at {', '.join(rules.VERSIONS)}, all restricted, none of them with a word from helm lint --strict")
    print(f"{configurations} rendered configurations pass vestibule check with their secrets mounted")
    return custom


def carried_over():
    """Whatever a value is, proxy.toml says the same: numbers whole, texts bit for bit, tables in place."""
    odd = {
        "entra": {"tenant": 'a "quoted" \\ text\twith é, ü, <tags> & 日本', "client_id": "{{ .Release.Name | quote }}"},
        "server": {"limits": {"connections": 16384, "streams": 1000000}, "workers": 0, "proxy_protocol": True},
        "session": {"cookie_budget": 3},
        "identity": {"headers": {"X.Dotted": "a", 'X "Quoted"': "b", "x-plain": "c"}},
        "rules": [{"path": "/a", "roles": ["x", "y # z"]}, {"path": "/b", "users": []}],
    }
    plain = load(f"{APP}/ci/secret-values.yaml")
    values = charts.overlay(plain, {"config": odd})
    found, _ = charts.render(APP, values)
    (text,) = [one["data"]["proxy.toml"] for one in found if one["kind"] == "ConfigMap"]
    expected = charts.overlay(values["config"], {
        "entra": {"client_id": '"demo"', "client_secret_file": "/etc/vestibule/client-secret"},
        "session": {"keys_file": "/etc/vestibule/session-keys"},
    })
    wrong = list(equality.differences(expected, tomllib.loads(text), "config"))
    assert not wrong, "\n".join(wrong)
    assert " = 3\n" in text and "16384\n" in text, text
    print("config becomes proxy.toml value by value, whole numbers too")


def stable():
    """Labels never reach a selector, and a second version keeps it."""
    plain = load(f"{APP}/ci/secret-values.yaml")
    taken = load(f"{APP}/ci/names-values.yaml")
    selectors = []
    for values in (plain, {**plain, **{key: taken[key] for key in ("commonLabels", "podLabels")}}):
        found, _ = charts.render(APP, values)
        selectors += [one["spec"]["selector"] for one in found if one["kind"] == "Deployment"]
    assert selectors[0] == selectors[1], selectors
    assert "version" not in json.dumps(selectors[0]), selectors
    print("labels of the user never change what a Deployment selects")


def wrong(work):
    """Wrong values fail, and say what is wrong."""
    plain = load(f"{APP}/ci/secret-values.yaml")
    cases = load("tests/helm/wrong.yaml")
    example = charts.prepared(EXAMPLE, work)
    failures = []
    for case in cases:
        path, values = (example, case["values"]) if case.get("library") else (APP, charts.overlay(plain, case["values"]))
        try:
            charts.render(path, values)
        except (helm_python.HelmValuesError, helm_python.HelmRenderError) as error:
            said = re.sub(r"\s+", " ", str(error))
            if case["words"] not in said:
                failures.append(f"{case['values']}: expected {case['words']!r} in: {said}")
        else:
            failures.append(f"accepted: {case['values']}")
    assert not failures, "\n".join(failures)
    print(f"{len(cases)} wrong sets of values fail, each with its words")


def documented():
    """The command of the README, as far as it can be run here."""
    with open(f"{APP}/README.md", encoding="utf-8") as file:
        settings = re.findall(r"--set (\S+)", file.read().split("## Configuration")[0])
    values = {}
    for setting in settings:
        values = charts.overlay(values, helm_python.parse_set_string(setting))
    found, notes = charts.render(APP, values)
    kinds = {one["kind"] for one in found}
    assert {"Deployment", "Ingress", "NetworkPolicy"} <= kinds and "is still open" not in notes, notes
    print(f"the README's installation renders: {len(settings)} settings, {len(found)} objects")


def defaults_pass():
    for path in (APP, "helm/vestibule-lib"):
        with helm_python.Chart.load(path) as chart:
            chart.validate_schema(load(f"{path}/values.yaml"))
    print("values.yaml of both charts passes its schema")


def versions(binary, work):
    """One version everywhere, and a package that holds what a user needs."""
    told = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]
    for path in (APP, "helm/vestibule-lib"):
        chart = load(f"{path}/Chart.yaml")
        assert chart["appVersion"] == told, f"{path}: appVersion {chart['appVersion']}, the program is {told}"
        helm_python.package(path, destination=work)
    assert load("helm/vestibule-lib/values.yaml")["image"]["tag"] == told
    (archive,) = glob.glob(f"{work}/vestibule-[0-9]*.tgz")
    with helm_python.Chart.load(archive) as chart:
        texts = chart.render(load(f"{APP}/ci/monitoring-values.yaml"), name="demo", namespace="default")
    assert any("VestibuleDown" in text for text in texts.values()), "the package has no alerts"
    print(f"both charts are packaged, for version {told}")


def main(binary, work, out):
    defaults_pass()
    custom = modes(binary, work)
    carried_over()
    documented()
    stable()
    wrong(work)
    versions(binary, work)
    equality.prove(binary, work)
    with open(out, "w", encoding="utf-8") as file:
        json.dump(custom, file)


main(*sys.argv[1:])
