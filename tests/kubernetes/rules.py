"""What no schema says: PodSecurity "restricted", and ports as numbers."""

import kubernetes_validate

VERSIONS = ["1.29", "1.33", "1.37"]
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def objects(document):
    """The objects of a document: itself, or the items of a List."""
    if isinstance(document, dict):
        if document.get("kind") == "List":
            for item in document["items"]:
                yield from objects(item)
        elif "kind" in document:
            yield document


def validated(found):
    """Checks an object against the strict schema of each version; how many there were."""
    checked = 0
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(found, version, strict=True)
            checked += 1
        except kubernetes_validate.SchemaNotFoundError:
            pass
    return checked


def pod_spec(found):
    """The pod spec of an object, if it has one that Kubernetes itself runs."""
    spec = found.get("spec", {})
    group = found["apiVersion"].split("/")[0]
    if found["kind"] == "Pod":
        return spec
    if group == "batch" and found["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"]["spec"] if group in ("apps", "batch") else None


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


def is_restricted(container, pod=None):
    """What PodSecurity "restricted" asks of one container; the pod's context may say part of it."""
    context = {**(pod or {}), **container.get("securityContext", {})}
    return (
        context.get("allowPrivilegeEscalation") is False
        and context.get("runAsNonRoot") is True
        and context.get("runAsUser", 1) > 0
        and context.get("capabilities", {}).get("drop") == ["ALL"]
        and set(context["capabilities"].get("add", [])) <= {"NET_BIND_SERVICE"}
        and context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost")
        and not context.get("privileged")
        and context.get("procMount", "Default") == "Default"
    )


def breaches(spec):
    """Where a whole pod falls short of "restricted", in words."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key):
            yield key
    pod = spec.get("securityContext", {})
    if pod.get("sysctls"):
        yield "sysctls"
    for volume in spec.get("volumes", []):
        for kind in set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {kind}"
    for container in containers(spec):
        if not is_restricted(container, pod):
            yield f"container {container['name']} is not restricted"
        if any("hostPort" in port for port in container.get("ports", [])):
            yield f"container {container['name']} takes a port of the node"


def named_ports(container):
    """Probes whose port is a name that the container itself does not declare: no schema sees that."""
    names = [port.get("name") for port in container.get("ports", [])]
    for kind in PROBES:
        port = container.get(kind, {}).get("httpGet", {}).get("port", 0)
        if not isinstance(port, int) and port not in names:
            yield f"{kind} of container {container['name']} asks port {port!r}"


def ports_by_name(found):
    """Ports of our own objects that are referred to by a name."""
    spec = pod_spec(found)
    for container in containers(spec) if spec else []:
        for kind in PROBES:
            port = container.get(kind, {}).get("httpGet", {}).get("port", 0)
            if not isinstance(port, int):
                yield f"{kind} of container {container['name']} asks port {port!r}"
    if found["kind"] == "Service":
        for port in found["spec"]["ports"]:
            if not isinstance(port.get("targetPort"), int):
                yield f"targetPort {port.get('targetPort')!r}"
    if found["kind"] == "NetworkPolicy":
        rules = found["spec"].get("ingress", []) + found["spec"].get("egress", [])
        for port in (port for rule in rules for port in rule.get("ports", [])):
            if not isinstance(port["port"], int):
                yield f"port {port['port']!r}"
    if found["kind"] == "Ingress":
        for path in (path for rule in found["spec"]["rules"] for path in rule["http"]["paths"]):
            if "number" not in path["backend"]["service"]["port"]:
                yield f"backend {path['backend']}"
