//! Services: the port that leads to the app leads to the proxy.

use super::{
    edit::Editor,
    flaw::Flaw,
    record::{Path, Record, step_of},
    report::Report,
    resource::Resource,
    sidecar::TRAFFIC_PORT,
    text::{Edit, Text},
    tree::Node,
    value::Value,
    workload::Workload,
};

/// A workload with the proxy in it, and the port that the app had to itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guarded<'a> {
    pub workload: &'a Workload<'a>,
    pub port: u16,
}

/// Sends the ports of `service` that lead to a guarded app to the proxy.
pub(super) fn redirect(
    text: Text<'_>,
    service: &Resource<'_>,
    guarded: &[Guarded<'_>],
    place: &str,
    report: &mut Report,
) -> Result<Vec<Edit>, Flaw> {
    let Some(spec) = service.node.get("spec")? else { return Ok(Vec::new()) };
    let selector = selector(spec)?;
    let behind = guarded.iter().find(|guarded| {
        guarded.workload.resource.shares_namespace(service)
            && guarded.workload.is_selected_by(&selector)
    });
    let Some(behind) = behind else {
        if !guarded.is_empty() {
            report.left(place, "selects no injected workload of this input");
        }
        return Ok(Vec::new());
    };
    if Record::of(service.node)?.is_some() {
        report.left(place, "leads to the proxy already");
        return Ok(Vec::new());
    }
    let mut editor = Editor::new(text, service.root, service.node, None)?;
    let at = Path::new(["spec", "ports"]);
    let ports = spec.get("ports")?.map(Node::items).transpose()?.unwrap_or_default();
    for (index, port) in ports.iter().enumerate() {
        let number = port.text_of("port")?.unwrap_or_default();
        let target = port.text_of("targetPort")?;
        let meant = behind.workload.resolve(target.unwrap_or(number));
        // UDP is never HTTP.
        let is_tcp = port.text_of("protocol")?.is_none_or(|protocol| protocol == "TCP");
        if is_tcp && meant == Some(behind.port) {
            let path = at.join(&step_of(port, index)?);
            if target.is_some() {
                editor.replace(path.join("targetPort"), &TRAFFIC_PORT.into())?;
            } else {
                let entries = vec![("targetPort".to_owned(), Value::from(TRAFFIC_PORT))];
                editor.set(&path, entries, "")?;
            }
            report.done(place, format!("port {number} leads to port {TRAFFIC_PORT}"));
        } else if meant != Some(TRAFFIC_PORT) {
            report.left(
                place,
                format!("port {number} leads to {}, around the proxy", target.unwrap_or(number)),
            );
        }
    }
    if spec.text_of("clusterIP")? == Some("None") {
        report.todo(format!(
            "{}: whoever resolves the headless Service calls the pod's own port: make that {TRAFFIC_PORT}.",
            service.title()
        ));
    }
    editor.finish(&[])
}

fn selector(spec: &Node) -> Result<Vec<(&str, &str)>, Flaw> {
    let Some(selector) = spec.get("selector")? else { return Ok(Vec::new()) };
    selector.entries()?.iter().map(|entry| Ok((entry.key.text()?, entry.value.text()?))).collect()
}
