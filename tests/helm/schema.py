"""values.schema.json of a chart: the shape of values.yaml, and in `config` the proxy's own schema."""

import json
import subprocess

# What the default of a value does not tell.
INTEGER = {"type": "integer", "minimum": 0}
OPTIONAL = {"type": ["integer", "null"], "minimum": 0}
SHARE = {"type": ["integer", "string", "null"]}
PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
OPTIONAL_PORT = {"type": ["integer", "null"], "minimum": 1, "maximum": 65535}
DIGEST = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
NAMES = {"type": "object", "additionalProperties": {"type": "string"}}
SPECIAL = {
    "image.digest": DIGEST,
    "image.pullPolicy": {"enum": ["", "Always", "IfNotPresent", "Never"]},
    "mode": {"enum": ["native", "container"]},
    "terminationGracePeriodSeconds": OPTIONAL,
    "autoscaling.minReplicas": {"type": "integer", "minimum": 1},
    "autoscaling.maxReplicas": {"type": "integer", "minimum": 1},
    "podDisruptionBudget.maxUnavailable": SHARE,
    "podDisruptionBudget.minAvailable": SHARE,
    "podDisruptionBudget.unhealthyPodEvictionPolicy": {"enum": ["AlwaysAllow", "IfHealthyBudget"]},
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.port": OPTIONAL_PORT,
    "service.nodePort": OPTIONAL_PORT,
    "service.externalTrafficPolicy": {"enum": ["", "Cluster", "Local"]},
    "networkPolicy.app.port": PORT,
    "dnsPolicy": {"enum": ["", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]},
}
# Maps from names to texts, in which Kubernetes takes nothing else.
NAMED = (
    "labels", "annotations", "podLabels", "podAnnotations", "commonLabels", "commonAnnotations", "nodeSelector",
)
LISTS_OF_TEXTS = ("extraArgs", "hosts", "hostnames", "loadBalancerSourceRanges")
# Values that Kubernetes knows better than we do.
OPEN = ("resources", "securityContext", "podSecurityContext", "updateStrategy", "behavior")


def proxy(binary):
    """The schema of the configuration as Helm 3 reads it too (draft 7): enumerations as such."""
    schema = json.loads(subprocess.run([binary, "schema"], check=True, capture_output=True).stdout)
    for key in ("$schema", "title", "description"):
        schema.pop(key, None)
    return plain(schema)


def plain(node):
    if isinstance(node, list):
        return [plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: plain(value) for key, value in node.items() if key != "format" or isinstance(value, dict)}
    if all("const" in one for one in node.get("oneOf", [{}])):
        node["enum"] = [one["const"] for one in node.pop("oneOf")]
    return node


def shape(tree, documented, config, path=()):
    """The schema of one part of the values."""
    properties = {}
    for key, value in tree.items():
        here = (*path, key)
        name = ".".join(here)
        if name == "config":
            node = dict(config)
        elif name in SPECIAL:
            node = dict(SPECIAL[name])
        elif key in NAMED:
            node = dict(NAMES)
        elif key in OPEN or value == {}:
            node = {"type": "object"}
        elif isinstance(value, dict):
            properties[key] = shape(value, documented, config, here)
            continue
        elif isinstance(value, list):
            node = {"type": "array"}
            if key in LISTS_OF_TEXTS:
                node["items"] = {"type": "string"}
            elif key != "extraObjects":
                node["items"] = {"type": "object"}
        elif isinstance(value, bool):
            node = {"type": "boolean"}
        elif isinstance(value, int):
            node = dict(INTEGER)
        else:
            assert isinstance(value, str), f"{name}: say its type in SPECIAL"
            node = {"type": "string"}
        properties[key] = {"description": documented[name], **node}
    closed = {"type": "object", "additionalProperties": False, "properties": properties}
    if path == ("global",):
        # Other charts of the release put theirs here too.
        del closed["additionalProperties"]
    return closed


def schema(tree, documented, config):
    """values.schema.json as text."""
    texts = {value.name: value.text for value in documented}
    body = shape(tree, texts, config)
    body["properties"].setdefault("global", {"type": "object"})
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **body}, indent=2, ensure_ascii=False) + "\n"
