//! Who may reach the pod: everybody the proxy's port, monitoring the admin port, nobody the app's.

use super::{
    record::{INJECTED, WHOLE},
    resource::Resource,
    sidecar::{ADMIN_PORT, TRAFFIC_PORT},
    tree::Node,
    value::{Value, map},
};
use crate::kubernetes::flaw::Flaw;

/// The policy's name for a workload.
pub(super) fn name_for(workload: &str) -> String {
    format!("{workload}-vestibule")
}

/// The policy for pods with `labels`. The nodes' own traffic (probes) passes whatever it says.
pub(super) fn policy(
    name: &str,
    namespace: Option<&str>,
    labels: &[(&str, &str)],
    monitoring: &str,
) -> Value {
    let mut metadata = vec![("name".to_owned(), Value::from(name_for(name)))];
    if let Some(namespace) = namespace {
        metadata.push(("namespace".to_owned(), namespace.into()));
    }
    metadata.push(("annotations".to_owned(), map([(INJECTED, WHOLE.into())])));
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let ports = |port: u16| {
        ("ports", Value::List(vec![map([("protocol", "TCP".into()), ("port", port.into())])]))
    };
    let namespaces = map([("kubernetes.io/metadata.name", monitoring.into())]);
    let from = Value::List(vec![map([("namespaceSelector", map([("matchLabels", namespaces)]))])]);
    map([
        ("apiVersion", "networking.k8s.io/v1".into()),
        ("kind", "NetworkPolicy".into()),
        ("metadata", Value::Map(metadata)),
        (
            "spec",
            map([
                ("podSelector", map([("matchLabels", Value::Map(labels))])),
                ("policyTypes", ["Ingress"].into_iter().collect()),
                (
                    "ingress",
                    Value::List(vec![
                        map([ports(TRAFFIC_PORT)]),
                        map([("from", from), ports(ADMIN_PORT)]),
                    ]),
                ),
            ]),
        ),
    ])
}

/// The labels that pick the workload's pods: its own selector's, where they say all of it.
pub(super) fn selector<'a>(
    resource: &Resource<'a>,
    labels: &[(&'a str, &'a str)],
) -> Result<Vec<(&'a str, &'a str)>, Flaw> {
    let node: &'a Node = resource.node;
    let whole = node.at(&["spec", "selector", "matchExpressions"])?.is_none();
    let map = node.at(&["spec", "selector", "matchLabels"])?.filter(|map| whole && !map.is_empty());
    let Some(map) = map else { return Ok(labels.to_vec()) };
    map.entries()?.iter().map(|entry| Ok((entry.key.text()?, entry.value.text()?))).collect()
}

/// Whether the object was added by us as a whole.
pub(super) fn is_ours(resource: &Resource<'_>) -> Result<bool, Flaw> {
    let Some(annotations) = resource.node.at(&["metadata", "annotations"])? else {
        return Ok(false);
    };
    Ok(resource.is_network_policy() && annotations.text_of(INJECTED)? == Some(WHOLE))
}
