//! A workload: its pod template, its containers, and what its annotations wish.

use super::{
    flaw::{Flaw, Reason},
    record::{Path, Record},
    resource::Resource,
    sidecar::{ADMIN_PORT, NAME, TRAFFIC_PORT},
    tree::Node,
};

/// Says which container `kubectl logs` and `kubectl exec` mean.
pub(super) const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// `"false"`: not here.
pub(super) const INJECT: &str = "vestibule/inject";
/// The `ConfigMap` with this workload's `proxy.toml`.
pub(super) const CONFIG: &str = "vestibule/config";
/// The port that the app listens on.
pub(super) const UPSTREAM_PORT: &str = "vestibule/upstream-port";
/// `"true"`: the probes stay as they are.
pub(super) const SKIP_PROBES: &str = "vestibule/skip-probes";
/// The label without which the workload identity webhook passes a pod by.
const WORKLOAD_IDENTITY: &str = "azure.workload.identity/use";

/// An object with a pod template.
#[derive(Clone, Debug)]
pub(super) struct Workload<'a> {
    pub resource: Resource<'a>,
    /// What has `metadata` and `spec` of a pod.
    pub template: &'a Node,
    pub spec: &'a Node,
    pub containers: Vec<Container<'a>>,
    pub labels: Vec<(&'a str, &'a str)>,
    /// What inject wrote into it, if it was here before.
    pub record: Option<Record>,
}

/// One of the containers.
#[derive(Clone, Debug)]
pub(super) struct Container<'a> {
    pub name: &'a str,
    pub node: &'a Node,
    pub ports: Vec<Port<'a>>,
}

/// A declared port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port<'a> {
    pub name: Option<&'a str>,
    pub number: u16,
}

impl<'a> Workload<'a> {
    /// The workload that `resource` is, if it is one.
    pub(super) fn of(resource: Resource<'a>) -> Result<Option<Self>, Flaw> {
        let Some(path) = resource.template_path() else { return Ok(None) };
        let template = path.find(resource.node)?;
        let template = template.ok_or_else(|| resource.node.flaw(Reason::Missing("template")))?;
        let spec = template.get("spec")?;
        let spec = spec.ok_or_else(|| template.flaw(Reason::Missing("the pod's spec")))?;
        let list = spec.get("containers")?;
        let list = list.ok_or_else(|| spec.flaw(Reason::Missing("containers")))?;
        let containers = list.items()?.iter().map(Container::read).collect::<Result<_, _>>()?;
        let mut labels = Vec::new();
        if let Some(map) = template.at(&["metadata", "labels"])? {
            for entry in map.entries()? {
                labels.push((entry.key.text()?, entry.value.text()?));
            }
        }
        let record = Record::of(template)?;
        Ok(Some(Self { resource, template, spec, containers, labels, record }))
    }

    /// An annotation of the pod template, else of the object.
    pub(super) fn annotation(&self, name: &str) -> Result<Option<(&'a str, &'a Node)>, Flaw> {
        for object in [self.template, self.resource.node] {
            let Some(annotations) = object.at(&["metadata", "annotations"])? else { continue };
            if let Some(node) = annotations.get(name)? {
                return Ok(Some((node.text()?, node)));
            }
        }
        Ok(None)
    }

    /// An annotation that says yes or no.
    pub(super) fn switch(&self, annotation: &'static str) -> Result<Option<bool>, Flaw> {
        let Some((text, node)) = self.annotation(annotation)? else { return Ok(None) };
        match text {
            "true" | "enabled" => Ok(Some(true)),
            "false" | "disabled" => Ok(Some(false)),
            _ => {
                Err(node.flaw(Reason::Annotation { annotation, expected: "\"true\" or \"false\"" }))
            }
        }
    }

    /// The port that the annotation names.
    pub(super) fn upstream_port(&self) -> Result<Option<u16>, Flaw> {
        let Some((text, node)) = self.annotation(UPSTREAM_PORT)? else { return Ok(None) };
        let expected = "a port such as \"8080\"";
        let flaw = || node.flaw(Reason::Annotation { annotation: UPSTREAM_PORT, expected });
        text.parse().ok().filter(|port| *port != 0).map(Some).ok_or_else(flaw)
    }

    /// The `ConfigMap` that the annotation names.
    pub(super) fn config_map(&self) -> Result<Option<&'a str>, Flaw> {
        let Some((text, node)) = self.annotation(CONFIG)? else { return Ok(None) };
        let is_name = !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b));
        let expected = "the name of a ConfigMap";
        let flaw = || node.flaw(Reason::Annotation { annotation: CONFIG, expected });
        is_name.then_some(Some(text)).ok_or_else(flaw)
    }

    /// Whether `labels` are those of a selector's pods.
    pub(super) fn is_selected_by(&self, selector: &[(&str, &str)]) -> bool {
        !selector.is_empty() && selector.iter().all(|label| self.labels.contains(label))
    }

    /// Whether the webhook hands this pod a federated token.
    pub(super) fn has_workload_identity(&self) -> bool {
        self.labels.contains(&(WORKLOAD_IDENTITY, "true"))
    }

    /// All declared ports.
    pub(super) fn ports(&self) -> impl Iterator<Item = Port<'a>> {
        self.containers.iter().flat_map(|container| container.ports.iter().copied())
    }

    /// The port that a Service or a probe means by a number or a name.
    pub(super) fn resolve(&self, port: &str) -> Option<u16> {
        resolve(port, self.ports())
    }

    /// The container that an annotation names.
    pub(super) fn default_container(&self) -> Result<Option<&Container<'a>>, Flaw> {
        let default = self.annotation(DEFAULT_CONTAINER)?.map(|(name, _)| name);
        Ok(self.containers.iter().find(|container| Some(container.name) == default))
    }

    /// The container that listens on `port`.
    pub(super) fn app(&self, port: u16) -> Result<&Container<'a>, Flaw> {
        let declares =
            |container: &&Container<'_>| container.ports.iter().any(|p| p.number == port);
        let named = self.default_container()?;
        let only = match self.containers.as_slice() {
            [only] => Some(only),
            _ => None,
        };
        named
            .filter(declares)
            .or_else(|| self.containers.iter().find(declares))
            .or(named)
            .or(only)
            .ok_or_else(|| self.spec.flaw(Reason::ContainerUnknown(port)))
    }

    /// Refuses a pod that has no room for the proxy.
    pub(super) fn has_room(&self, app_port: u16) -> Result<(), Flaw> {
        if let Some(node) = self.spec.get("hostNetwork")? {
            // YAML 1.1, which Kubernetes reads, has many words for yes.
            if !matches!(node.text()?.to_ascii_lowercase().as_str(), "false" | "no" | "off" | "n") {
                return Err(node.flaw(Reason::HostNetwork));
            }
        }
        if let Some((wish, node)) = self.annotation("linkerd.io/inject")?
            && wish != "disabled"
        {
            return Err(node.flaw(Reason::Linkerd));
        }
        for list in ["initContainers", "containers"] {
            let Some(list) = self.spec.get(list)? else { continue };
            for node in list.items()? {
                let container = Container::read(node)?;
                if container.name == NAME {
                    return Err(node.flaw(Reason::NameTaken("a container")));
                }
                let ours = container.ports.iter().find(|port| is_ours(port.number));
                if let Some(port) = ours {
                    let taken = Reason::PortTaken(port.number, container.name.to_owned());
                    return Err(node.flaw(taken));
                }
            }
        }
        if is_ours(app_port) {
            let app = self.app(app_port)?;
            return Err(app.node.flaw(Reason::PortTaken(app_port, app.name.to_owned())));
        }
        if let Some(volumes) = self.spec.get("volumes")? {
            for volume in volumes.items()? {
                if volume.text_of("name")? == Some(NAME) {
                    return Err(volume.flaw(Reason::NameTaken("a volume")));
                }
            }
        }
        Ok(())
    }
}

impl<'a> Container<'a> {
    fn read(node: &'a Node) -> Result<Self, Flaw> {
        let name = node.text_of("name")?;
        let name = name.ok_or_else(|| node.flaw(Reason::Missing("the container's name")))?;
        let mut ports = Vec::new();
        if let Some(list) = node.get("ports")? {
            for port in list.items()? {
                let number = port.get("containerPort")?;
                let number = number.ok_or_else(|| port.flaw(Reason::Missing("containerPort")))?;
                let parsed = number.text()?.parse();
                let parsed = parsed.map_err(|_| number.flaw(Reason::Missing("a port number")))?;
                // UDP cannot be HTTP.
                if port.text_of("protocol")?.is_none_or(|protocol| protocol == "TCP") {
                    ports.push(Port { name: port.text_of("name")?, number: parsed });
                }
            }
        }
        Ok(Self { name, node, ports })
    }

    /// The port that a probe means: names are looked up in the probe's own container.
    pub(super) fn resolve(&self, port: &str) -> Option<u16> {
        resolve(port, self.ports.iter().copied())
    }

    /// Where it stands in the pod template.
    pub(super) fn path(&self) -> Path {
        Path::new(["spec", "containers", self.name])
    }
}

fn resolve<'a>(port: &str, mut ports: impl Iterator<Item = Port<'a>>) -> Option<u16> {
    match port.parse() {
        Ok(number) => Some(number),
        Err(_) => ports.find(|known| known.name == Some(port)).map(|known| known.number),
    }
}

fn is_ours(port: u16) -> bool {
    port == TRAFFIC_PORT || port == ADMIN_PORT
}
