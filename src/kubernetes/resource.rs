//! The objects of a file: one a document, or many in a `List`.

use super::{flaw::Flaw, record::Path, tree::Node, workload::INJECT};

/// One object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resource<'a> {
    /// Its document's content.
    pub root: &'a Node,
    /// Itself.
    pub node: &'a Node,
    /// The list it is an item of, and which.
    pub list: Option<(&'a Node, usize)>,
    group: &'a str,
    kind: &'a str,
    name: &'a str,
    namespace: Option<&'a str>,
}

impl<'a> Resource<'a> {
    /// The objects of a document. What has no `kind` is nothing that we know.
    pub(super) fn of(root: &'a Node) -> Result<Vec<Self>, Flaw> {
        let mut found = Vec::new();
        if let Some(resource) = Self::read(root, root, None)? {
            resource.collect(&mut found)?;
        }
        Ok(found)
    }

    fn collect(self, found: &mut Vec<Self>) -> Result<(), Flaw> {
        let items = if self.kind.ends_with("List") { self.node.get("items")? } else { None };
        let Some(list) = items else {
            found.push(self);
            return Ok(());
        };
        for (index, item) in list.items()?.iter().enumerate() {
            if let Some(resource) = Self::read(self.root, item, Some((list, index)))? {
                resource.collect(found)?;
            }
        }
        Ok(())
    }

    fn read(
        root: &'a Node,
        node: &'a Node,
        list: Option<(&'a Node, usize)>,
    ) -> Result<Option<Self>, Flaw> {
        if node.entries().is_err() {
            return Ok(None);
        }
        let Some(kind) = node.text_of("kind")? else { return Ok(None) };
        let version = node.text_of("apiVersion")?.unwrap_or_default();
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let metadata = node.get("metadata")?.filter(|metadata| metadata.entries().is_ok());
        let (mut name, mut namespace) = (None, None);
        if let Some(metadata) = metadata {
            name = match metadata.text_of("name")? {
                Some(name) => Some(name),
                None => metadata.text_of("generateName")?,
            };
            namespace = metadata.text_of("namespace")?;
        }
        let name = name.unwrap_or("(no name)");
        Ok(Some(Self { root, node, list, group, kind, name, namespace }))
    }

    /// `Deployment shop`, for people.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }

    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    pub(super) fn namespace(&self) -> Option<&'a str> {
        self.namespace
    }

    /// Whether both may be in one namespace; whoever names none is put into some later.
    pub(super) fn shares_namespace(&self, other: &Self) -> bool {
        match (self.namespace, other.namespace) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    }

    pub(super) fn is_service(&self) -> bool {
        self.kind == "Service" && self.group.is_empty()
    }

    pub(super) fn is_network_policy(&self) -> bool {
        self.kind == "NetworkPolicy" && self.group == "networking.k8s.io"
    }

    /// Whether its own annotation says that it wants no proxy. Nothing else of it has to be read.
    pub(super) fn declines(&self) -> Result<bool, Flaw> {
        if self.template_path().is_none() {
            return Ok(false);
        }
        let metadata = self.node.get("metadata")?.filter(|metadata| metadata.entries().is_ok());
        let Some(annotations) = metadata.map(|m| m.get("annotations")).transpose()?.flatten()
        else {
            return Ok(false);
        };
        Ok(matches!(annotations.text_of(INJECT)?, Some("false" | "disabled")))
    }

    /// Whether its pods have to come to an end by themselves.
    pub(super) fn is_job(&self) -> bool {
        self.group == "batch"
    }

    /// Where the pod template is, if this object has one: the object itself for a Pod.
    pub(super) fn template_path(&self) -> Option<Path> {
        match (self.group, self.kind) {
            ("", "Pod") => Some(Path::default()),
            ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
            | ("batch", "Job")
            | ("", "ReplicationController") => Some(Path::new(["spec", "template"])),
            ("batch", "CronJob") => Some(Path::new(["spec", "jobTemplate", "spec", "template"])),
            _ => None,
        }
    }
}
