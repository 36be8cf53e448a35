"""One container everywhere: inject, its other forms, the Kustomize component, both charts."""

import os
import subprocess

import yaml

import charts

APP = "helm/vestibule"
LIBRARY_VALUES = {"vestibule": {"existingConfigMap": "vestibule", "existingSecret": "vestibule"}}


def emitted(binary, *arguments):
    told = subprocess.run([binary, "inject", *arguments], check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(told.stdout))


def differences(expected, found, path="container"):
    """Every difference, in words."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected | found:
            if key not in found:
                yield f"{path}.{key} is missing"
            elif key not in expected:
                yield f"{path}.{key} is added: {found[key]!r}"
            else:
                yield from differences(expected[key], found[key], f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found)):
            yield from differences(one, other, f"{path}[{index}]")
    elif expected != found:
        yield f"{path} is {found!r}, expected is {expected!r}"


def same(expected, found, where, path="container"):
    wrong = list(differences(expected, found, path))
    assert not wrong, f"{where}:\n  " + "\n  ".join(wrong)


def component(document, kind):
    """The pod spec in the component's patch of one kind."""
    (patch,) = [patch for patch in document["patches"] if patch["target"]["kind"] == kind]
    return yaml.safe_load(patch["patch"])["spec"]["template"]["spec"]


def library(work, mode):
    path = charts.prepared("tests/helm/parts", work)
    values = charts.overlay(LIBRARY_VALUES, {"vestibule": {"mode": mode}})
    with charts.helm_python.Chart.load(path) as chart:
        texts = chart.render(values, name="demo", namespace="legacy")
    (text,) = [text for text in texts.values() if text.strip()]
    return yaml.safe_load(text)


def prove(binary, work):
    for mode, key, hook in (("native", "initContainers", "initContainers"), ("container", "containers", "extraContainers")):
        flag = f"--sidecar-mode={mode}"
        (spec,) = [document["spec"] for document in emitted(binary, "--emit=container", flag)]
        expected, volume, grace = spec[key], spec["volumes"], spec["terminationGracePeriodSeconds"]

        (values,) = emitted(binary, "--emit=helm-values", flag)
        same(expected, values[hook], f"inject --emit helm-values {flag}")
        same(volume, values["extraVolumes"], f"inject --emit helm-values {flag}", "volumes")

        (document,) = emitted(binary, "--emit=kustomize", flag)
        for kind in ("Deployment", "StatefulSet", "DaemonSet"):
            patch = component(document, kind)
            same(expected, patch[key], f"inject --emit kustomize {flag}, {kind}")
            same(volume, patch["volumes"], f"inject --emit kustomize {flag}, {kind}", "volumes")
            assert patch["terminationGracePeriodSeconds"] == grace

        parts = library(work, mode)
        same(expected, parts["container"], f"the library chart, {mode}")
        same(volume, parts["volumes"], f"the library chart, {mode}", "volumes")
        assert parts["terminationGracePeriodSeconds"] == grace

        # What inject does around the container.
        deployment, service, policy = emitted(binary, flag, "--public-url=https://app.contoso.com", "tests/helm/parts/app.yaml")
        template = deployment["spec"]["template"]
        app = template["spec"]["containers"][-1]
        same(expected, [each for each in template["spec"][key] if each["name"] == "vestibule"], f"inject {flag}")
        same(app["lifecycle"]["preStop"], parts["preStop"], "the library chart", "preStop")
        same(app["readinessProbe"]["httpGet"], parts["probe"], "the library chart", "the app's probe")
        same(service["spec"]["ports"][0]["targetPort"], parts["targetPort"], "the library chart", "targetPort")
        same(policy["spec"], parts["policy"]["spec"], "the library chart", "NetworkPolicy")
        same(policy["metadata"]["name"], parts["policy"]["metadata"]["name"], "the library chart", "NetworkPolicy")
        notes = {name: text for name, text in template["metadata"]["annotations"].items() if not name.startswith("vestibule/")}
        same(notes, parts["meta"]["annotations"], "the library chart", "pod annotations")

        if mode == "container":
            with open(f"{APP}/ci/secret-values.yaml", encoding="utf-8") as file:
                found, _ = charts.render(APP, yaml.safe_load(file))
            (pod,) = [one["spec"]["template"]["spec"] for one in found if one["kind"] == "Deployment"]
            same(expected, pod["containers"], "the application chart")
            assert pod["terminationGracePeriodSeconds"] == grace
            assert [list(source) for source in pod["volumes"][0]["projected"]["sources"]] == [["configMap"], ["secret"]]

    checked_in = "deploy/kustomize/components/sidecar/kustomization.yaml"
    if os.path.exists(checked_in):
        (document,) = emitted(binary, "--emit=kustomize")
        with open(checked_in, encoding="utf-8") as file:
            same(document, yaml.safe_load(file), checked_in, "component")
    print("one container in inject, its three other forms, the Kustomize component and both charts")
