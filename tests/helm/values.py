"""The values of a chart with their comments: what README tables and schemas are made from."""

import json
import re

import yaml

KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9_]*):(?P<rest>.*)$")


class Value:
    """One documented value."""

    def __init__(self, path, default, text):
        self.path = path
        self.default = default
        self.text = text

    @property
    def name(self):
        return ".".join(self.path)

    def shown(self):
        """The default in one line."""
        return "" if self.default is None else json.dumps(self.default)


def lookup(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def read(file):
    """The tree of a values.yaml, and its documented values in their order."""
    with open(file, encoding="utf-8") as source:
        text = source.read()
    tree = yaml.safe_load(text)
    documented, path, comment, inside = [], [], None, None
    for line in text.splitlines():
        if line.strip().startswith("# -- "):
            comment = line.strip()[5:]
            continue
        key = KEY.match(line)
        if key is None:
            continue
        depth = len(key["indent"]) // 2
        if inside is not None and depth > inside:
            continue  # the default of a documented value
        inside = None
        path = path[:depth] + [key["key"]]
        if comment is not None:
            documented.append(Value(tuple(path), lookup(tree, path), comment))
            comment, inside = None, depth
    return tree, documented


def undocumented(tree, documented, path=()):
    """Values without a comment of their own or above them."""
    known = {value.path for value in documented}
    for key, value in tree.items():
        here = (*path, key)
        if here in known:
            continue
        if isinstance(value, dict) and value:
            yield from undocumented(value, documented, here)
        else:
            yield ".".join(here)


def table(documented):
    """The table of a README."""
    lines = ["| value | default | what it does |", "|---|---|---|"]
    for value in documented:
        shown = f"`{value.shown()}`" if value.shown() else ""
        lines.append(f"| `{value.name}` | {shown} | {value.text} |")
    return "\n".join(lines)
