"""Strict schemas of three Kubernetes versions, PodSecurity "restricted", ports as numbers only."""

import sys

import kubernetes_validate
import yaml

VERSIONS = ["1.29", "1.33", "1.37"]


def objects(document):
    """The objects of a document: itself, or the items of a List."""
    if isinstance(document, dict):
        if document.get("kind") == "List":
            for item in document["items"]:
                yield from objects(item)
        elif "kind" in document:
            yield document


def pod_spec(found):
    """The pod spec of an object, if it has one that Kubernetes itself runs."""
    spec = found.get("spec", {})
    group = found["apiVersion"].split("/")[0]
    if found["kind"] == "Pod":
        return spec
    if group == "batch" and found["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]["spec"] if group in ("apps", "batch") else None


def is_restricted(container):
    """What PodSecurity "restricted" asks of one container."""
    context = container["securityContext"]
    return (
        context["allowPrivilegeEscalation"] is False
        and context["runAsNonRoot"] is True
        and context["runAsUser"] > 0
        and context["capabilities"]["drop"] == ["ALL"]
        and "add" not in context["capabilities"]
        and context["seccompProfile"]["type"] == "RuntimeDefault"
    )


def main(reference, files):
    with open(reference, encoding="utf-8") as file:
        (expected,) = yaml.safe_load(file)["spec"]["initContainers"]
    checked = sidecars = 0
    for name in files:
        with open(name, encoding="utf-8", newline="") as file:
            documents = list(yaml.safe_load_all(file))
        for found in (found for document in documents for found in objects(document)):
            where = f"{name}: {found['kind']} {found['metadata']['name']}"
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(found, version, strict=True)
                    checked += 1
                except kubernetes_validate.SchemaNotFoundError:
                    pass
            spec = pod_spec(found)
            if spec is None:
                continue
            containers = spec.get("initContainers", []) + spec["containers"]
            ours = [container for container in containers if container["name"] == "vestibule"]
            for container in ours:
                assert is_restricted(container), where
                same = dict(container, image=expected["image"], restartPolicy="Always")
                assert same == expected, f"{where}: not the one definition"
                sidecars += 1
            for container in containers:
                # A name is looked up in the probe's own container; no schema sees that.
                names = [port.get("name") for port in container.get("ports", [])]
                for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                    port = container.get(kind, {}).get("httpGet", {}).get("port", 0)
                    assert isinstance(port, int) or port in names, f"{where}: {kind}"
    assert sidecars, "no sidecar in any of them"
    print(f"{checked} validations, {sidecars} sidecars")


main(sys.argv[1], sys.argv[2:])
