"""Strict schemas of three Kubernetes versions, PodSecurity "restricted", ports as numbers only."""

import sys

import yaml

import rules


def main(reference, files):
    with open(reference, encoding="utf-8") as file:
        (expected,) = yaml.safe_load(file)["spec"]["initContainers"]
    checked = sidecars = 0
    for name in files:
        with open(name, encoding="utf-8", newline="") as file:
            documents = list(yaml.safe_load_all(file))
        for found in (found for document in documents for found in rules.objects(document)):
            where = f"{name}: {found['kind']} {found['metadata']['name']}"
            checked += rules.validated(found)
            spec = rules.pod_spec(found)
            if spec is None:
                continue
            for container in rules.containers(spec):
                assert not list(rules.named_ports(container)), f"{where}: {list(rules.named_ports(container))}"
                if container["name"] != "vestibule":
                    continue
                assert rules.is_restricted(container), where
                same = dict(container, image=expected["image"], restartPolicy="Always")
                assert same == expected, f"{where}: not the one definition"
                sidecars += 1
    assert sidecars, "no sidecar in any of them"
    print(f"{checked} validations, {sidecars} sidecars")


main(sys.argv[1], sys.argv[2:])
