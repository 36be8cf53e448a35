//! The app's probes. An app on loopback answers no kubelet, so they go through the proxy, with the
//! one Host that the proxy serves.

use super::{
    edit::Editor,
    flaw::{Flaw, Reason},
    record::{Path, step_of},
    report::Report,
    sidecar::TRAFFIC_PORT,
    tree::Node,
    value::map,
    workload::{Container, Workload},
};

/// How the proxy is asked.
struct Door<'a> {
    host: &'a str,
    tls: bool,
}

const PROBES: [&str; 3] = ["startupProbe", "readinessProbe", "livenessProbe"];

/// Sends every `httpGet` probe of the app's port through the proxy.
pub(super) fn redirect(
    editor: &mut Editor<'_>,
    workload: &Workload<'_>,
    app_port: u16,
    host: Option<&str>,
    tls: bool,
    place: &str,
    report: &mut Report,
) -> Result<(), Flaw> {
    for container in &workload.containers {
        for name in PROBES {
            let Some(probe) = container.node.get(name)? else { continue };
            let title = format!("{name} of container {}", container.name);
            if let Some(port) = bare_port(container, probe)? {
                if port == app_port {
                    report.left(
                        place,
                        format!("{title} opens port {port} itself, which an app on loopback does not answer: make it an httpGet or exec probe"),
                    );
                }
                continue;
            }
            let Some(get) = probe.get("httpGet")? else { continue };
            let port = get.get("port")?.ok_or_else(|| get.flaw(Reason::Missing("port")))?;
            let path = get.text_of("path")?.unwrap_or("/");
            match container.resolve(port.text()?) {
                Some(number) if number == app_port => {}
                Some(number) => {
                    report.left(
                        place,
                        format!(
                            "{title} asks port {number}, which is not the port behind the proxy"
                        ),
                    );
                    continue;
                }
                None => return Err(port.flaw(Reason::Missing("a containerPort of this name"))),
            }
            if get.get("host")?.is_some() {
                report.left(place, format!("{title} names a host of its own"));
                continue;
            }
            let host = host.ok_or_else(|| get.flaw(Reason::HostUnknown))?;
            let at = container.path().join(name).join("httpGet");
            through_proxy(editor, get, &at, &Door { host, tls })?;
            report.probe(path);
            report.done(place, format!("{title} asks {path} through port {TRAFFIC_PORT}"));
        }
    }
    Ok(())
}

/// Notes the probes of a workload that was injected before.
pub(super) fn redirected(workload: &Workload<'_>, report: &mut Report) -> Result<(), Flaw> {
    for container in &workload.containers {
        for name in PROBES {
            let Some(get) = container.node.at(&[name, "httpGet"])? else { continue };
            let Some(port) = get.text_of("port")? else { continue };
            if container.resolve(port) == Some(TRAFFIC_PORT) {
                report.probe(get.text_of("path")?.unwrap_or("/"));
            }
        }
    }
    Ok(())
}

/// The port of a probe that no proxy can answer for the app.
fn bare_port(container: &Container<'_>, probe: &Node) -> Result<Option<u16>, Flaw> {
    for kind in ["tcpSocket", "grpc"] {
        if let Some(check) = probe.get(kind)? {
            let port = check.text_of("port")?.unwrap_or_default();
            return Ok(container.resolve(port));
        }
    }
    Ok(None)
}

fn through_proxy(
    editor: &mut Editor<'_>,
    get: &Node,
    at: &Path,
    door: &Door<'_>,
) -> Result<(), Flaw> {
    editor.replace(at.join("port"), &TRAFFIC_PORT.into())?;
    let scheme = if door.tls { "HTTPS" } else { "HTTP" };
    match get.text_of("scheme")? {
        Some(text) if text == scheme => {}
        Some(_) => editor.replace(at.join("scheme"), &scheme.into())?,
        None if door.tls => {
            editor.set(at, vec![("scheme".to_owned(), scheme.into())], "port")?;
        }
        None => {}
    }
    let host = door.host;
    let headers = at.join("httpHeaders");
    let there = get.get("httpHeaders")?.map(Node::items).transpose()?.unwrap_or_default();
    for (index, header) in there.iter().enumerate() {
        if header.text_of("name")?.is_some_and(|name| name.eq_ignore_ascii_case("host")) {
            let value = headers.join(&step_of(header, index)?).join("value");
            return editor.replace(value, &host.into());
        }
    }
    let header = map([("name", "Host".into()), ("value", host.into())]);
    editor.prepend(&headers, "Host", header, "port")
}
