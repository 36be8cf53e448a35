"""Writes what is made from something else in helm/: schemas, README tables, copies.

    tests/helm/generate.py BINARY          writes
    tests/helm/generate.py BINARY --check  compares, and names what differs
"""

import json
import os
import re
import sys

import schema
import values

CHARTS = ("helm/vestibule", "helm/vestibule-lib")
COPIES = {
    "helm/vestibule/templates/_sidecar.tpl": "helm/vestibule-lib/templates/_sidecar.tpl",
    "helm/vestibule/files/alerts.yaml": "deploy/monitoring/alerts.yaml",
    "helm/vestibule/files/dashboard.json": "deploy/monitoring/dashboard.json",
}
TABLE = re.compile(r"(?<=<!-- values: made by tests/helm/generate.py -->\n).*?(?=<!-- end of values -->)", re.DOTALL)


def content(file):
    with open(file, encoding="utf-8") as source:
        return source.read()


def wanted(binary):
    """What each file that is made here has to hold."""
    config = schema.proxy(binary)
    for chart in CHARTS:
        tree, documented = values.read(f"{chart}/values.yaml")
        missing = list(values.undocumented(tree, documented))
        assert not missing, f"{chart}/values.yaml: no comment for {', '.join(missing)}"
        yield f"{chart}/values.schema.json", schema.schema(tree, documented, config)
        readme = content(f"{chart}/README.md")
        assert TABLE.search(readme), f"{chart}/README.md: the table's place is not marked"
        yield f"{chart}/README.md", TABLE.sub(lambda _: values.table(documented) + "\n", readme)
    for copy, original in COPIES.items():
        yield copy, content(original)


def main(binary, check):
    os.chdir(os.path.join(os.path.dirname(__file__), "../.."))
    stale = []
    for file, text in wanted(binary):
        if os.path.exists(file) and content(file) == text:
            continue
        stale.append(file)
        if not check:
            with open(file, "w", encoding="utf-8") as out:
                out.write(text)
            print(f"written: {file}")
    if check:
        assert not stale, f"not up to date, run tests/helm/generate.py: {', '.join(stale)}"
        json.loads(content("helm/vestibule/files/dashboard.json"))
        print("schemas, README tables and copies are what they are made from")


main(os.path.abspath(sys.argv[1]), sys.argv[2:] == ["--check"])
