// Validates objects of other people's kinds: a JSON list on standard input.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { HTTPRoute } = require("@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/HTTPRoute");
const { ServiceMonitor } = require("@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor");
const { PrometheusRule } = require("@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule");
const kinds = { HTTPRoute, ServiceMonitor, PrometheusRule };

const seen = new Set();
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  new kinds[object.kind](object).validate();
  seen.add(object.kind);
}
for (const kind of Object.keys(kinds)) {
  if (!seen.has(kind)) throw new Error(`no ${kind} was rendered`);
  // A check that cannot fail is none.
  let passed = true;
  try {
    new kinds[kind]({ metadata: { name: "x" }, spec: { endpoints: 1, groups: 1, hostnames: 1 } }).validate();
  } catch {
    passed = false;
  }
  if (passed) throw new Error(`${kind}: the schema takes anything`);
}
console.log(`custom resources fit their schemas: ${[...seen].join(", ")}`);
