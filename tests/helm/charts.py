"""The charts through Helm's own engine."""

import os
import shutil

import helm_python
import yaml


def prepared(source, work):
    """A chart with its dependencies in place: the folder in `work`, the files around it as here."""
    root = os.path.join(work, "tree")
    if not os.path.exists(root):
        skip = shutil.ignore_patterns("charts", "Chart.lock")
        shutil.copytree("helm", os.path.join(root, "helm"), ignore=skip)
        shutil.copytree("tests/helm/parts", os.path.join(root, "tests/helm/parts"), ignore=skip)
    path = os.path.join(root, source)
    if not os.path.exists(os.path.join(path, "charts")):
        helm_python.dependency_update(path)
    return path


def render(path, values):
    """All objects, and the notes."""
    with helm_python.Chart.load(path) as chart:
        chart.validate_schema(chart.merge_values(values))
        texts = chart.render(values, name="demo", namespace="default")
    notes = [text for name, text in texts.items() if name.endswith("NOTES.txt")]
    files = {name: text for name, text in texts.items() if not name.endswith("NOTES.txt")}
    found = [object for text in files.values() for object in yaml.safe_load_all(text) if object]
    return found, "".join(notes)


def overlay(under, over):
    """Values laid over others; null takes one away."""
    merged = dict(under)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
            continue
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlay(merged[key], value) if both else value
    return merged
