//! `inject`: reads all files, decides, changes, and tells.

use super::{
    Options, Outcome, Source,
    edit::{Editor, prepend_whole},
    flaw::{Flaw, Reason, Refusal},
    lifecycle, network_policy, probes,
    record::Path,
    report::Report,
    resource::Resource,
    selection::{Verdict, select},
    service::{self, Guarded},
    sidecar::{self, NAME, SidecarMode, TRAFFIC_PORT},
    text::{Edit, Text, apply},
    tree::{Kind, Node, Stream, read},
    value::{BlockStyle, Value},
    workload::{DEFAULT_CONTAINER, INJECT, SKIP_PROBES, Workload},
};

/// Puts the proxy in front of the apps of `sources`.
///
/// # Errors
/// Whatever would need a guess; nothing is changed then.
pub fn inject(sources: &[Source], options: &Options) -> Result<Outcome, Refusal> {
    let streams = read_all(sources)?;
    let objects = Object::all(sources, &streams)?;
    let mut declined = Vec::new();
    let mut workloads: Vec<(&Object<'_>, Workload<'_>)> = Vec::new();
    for object in &objects {
        if object.resource.declines().map_err(|flaw| object.refuse(flaw))? {
            declined.push(object.place());
            continue;
        }
        if let Some(workload) = Workload::of(object.resource).map_err(|flaw| object.refuse(flaw))? {
            workloads.push((object, workload));
        }
    }
    let seen: Vec<&Workload<'_>> = workloads.iter().map(|(_, workload)| workload).collect();
    let verdicts = select(&seen, options.upstream_port).map_err(|(index, flaw)| {
        workloads.get(index).map_or_else(
            || flaw.clone().refusal("-", "", 1),
            |(object, _)| object.refuse(flaw.clone()),
        )
    })?;

    let mut changes = Changes::new(sources.len());
    for place in declined {
        changes.report.left(&place, format!("{INJECT} says no"));
    }
    let mut guarded = Vec::new();
    for ((object, workload), verdict) in workloads.iter().zip(verdicts) {
        match verdict {
            Verdict::Left(why) => changes.report.left(&object.place(), why),
            Verdict::Already(port) => {
                changes.report.left(&object.place(), "was injected before");
                probes::redirected(workload, &mut changes.report)
                    .map_err(|flaw| object.refuse(flaw))?;
                guarded.extend(port.map(|port| Guarded { workload, port }));
            }
            Verdict::Inject(port) => {
                changes
                    .guard(object, workload, port, options)
                    .map_err(|flaw| object.refuse(flaw))?;
                guarded.push(Guarded { workload, port });
                if options.network_policy.is_some() {
                    changes.policy(object, workload, port, options, &objects)?;
                }
            }
        }
    }
    for object in objects.iter().filter(|object| object.resource.is_service()) {
        let edits = service::redirect(
            object.text(),
            &object.resource,
            &guarded,
            &object.place(),
            &mut changes.report,
        );
        changes.add(object.file, edits.map_err(|flaw| object.refuse(flaw))?);
    }
    for guarded in &guarded {
        changes.report.app_port(guarded.port);
    }
    changes.homework(options, &guarded);
    changes.finish(sources)
}

/// Reads all files.
pub(super) fn read_all(sources: &[Source]) -> Result<Vec<Stream>, Refusal> {
    let read_one = |source: &Source| {
        read(&source.text).map_err(|mut flaw| {
            if matches!(flaw.reason, Reason::NotYaml(_)) && source.text.contains("{{") {
                flaw.reason = Reason::Template;
            }
            let number = document_at(&source.text, flaw.at);
            flaw.refusal(&source.name, &source.text, number)
        })
    };
    sources.iter().map(read_one).collect()
}

/// Which document holds a byte of a file that has no tree.
fn document_at(text: &str, at: usize) -> usize {
    let (mut number, mut begun) = (1, false);
    for line in text.get(..at).unwrap_or_default().lines() {
        if line.starts_with("---") {
            number += usize::from(begun);
            begun = true;
        } else {
            begun |= !(line.trim().is_empty() || line.starts_with(['#', '%']));
        }
    }
    number
}

/// An object and where it stands.
#[derive(Debug)]
pub(super) struct Object<'a> {
    /// The number of its file.
    pub file: usize,
    /// The number of its document.
    pub document: usize,
    pub source: &'a Source,
    pub resource: Resource<'a>,
}

impl<'a> Object<'a> {
    /// The objects of all files.
    pub(super) fn all(sources: &'a [Source], streams: &'a [Stream]) -> Result<Vec<Self>, Refusal> {
        let mut objects = Vec::new();
        for (file, (source, stream)) in sources.iter().zip(streams).enumerate() {
            for (document, content) in stream.documents.iter().enumerate() {
                let Some(root) = &content.root else { continue };
                let resources = Resource::of(root)
                    .map_err(|flaw| flaw.refusal(&source.name, &source.text, document + 1))?;
                let object = |resource| Self { file, document, source, resource };
                objects.extend(resources.into_iter().map(object));
            }
        }
        Ok(objects)
    }

    pub(super) fn refuse(&self, flaw: Flaw) -> Refusal {
        flaw.refusal(&self.source.name, &self.source.text, self.document + 1)
    }

    pub(super) fn place(&self) -> String {
        format!("{}: {}", self.source.name, self.resource.title())
    }

    pub(super) fn text(&self) -> Text<'a> {
        Text(&self.source.text)
    }
}

/// What is going to be done.
#[derive(Debug)]
struct Changes {
    /// One list for each file.
    edits: Vec<Vec<Edit>>,
    /// The documents that come behind each file.
    policies: Vec<Vec<Value>>,
    report: Report,
}

impl Changes {
    fn new(files: usize) -> Self {
        Self {
            edits: vec![Vec::new(); files],
            policies: vec![Vec::new(); files],
            report: Report::default(),
        }
    }

    fn add(&mut self, file: usize, edits: Vec<Edit>) {
        if let Some(list) = self.edits.get_mut(file) {
            list.extend(edits);
        }
    }

    /// Puts the proxy in front of `port` of one workload.
    fn guard(
        &mut self,
        object: &Object<'_>,
        workload: &Workload<'_>,
        port: u16,
        options: &Options,
    ) -> Result<(), Flaw> {
        workload.has_room(port)?;
        if object.resource.is_job() && options.mode == SidecarMode::Container {
            return Err(workload.spec.flaw(Reason::EndlessJob));
        }
        let place = object.place();
        let app = workload.app(port)?;
        let root = object.resource.root;
        // The template is changed, so nothing above it may be repeated elsewhere.
        if let Some(path) = object.resource.template_path() {
            path.find(object.resource.node)?;
        }
        let mut editor = Editor::new(object.text(), root, workload.template, Some(port))?;
        let sidecar = options.sidecar(workload.config_map()?);
        let spec = |key: &str| Path::new(["spec", key]);
        let least = sidecar::grace_period(options.drain_timeout);
        let report = &mut self.report;
        report.done(
            &place,
            format!(
                "proxy on port {TRAFFIC_PORT} in front of port {port} of container {}",
                app.name
            ),
        );
        lifecycle::grace_period(&mut editor, workload, least, &place, report)?;
        editor.prepend(&spec("volumes"), NAME, sidecar.volume(), "containers")?;
        editor.prepend(&spec(sidecar.mode.list()), NAME, sidecar.container(), "containers")?;
        lifecycle::keep_app(&mut editor, app, port, &place, report)?;
        lifecycle::neighbours(workload, app, &place, report)?;
        for declared in app.node.get("ports")?.map(Node::items).transpose()?.unwrap_or_default() {
            if let Some(host_port) = declared.text_of("hostPort")? {
                report.left(
                    &place,
                    format!("hostPort {host_port} leads around the proxy: take it out"),
                );
            }
        }
        if options.skip_probes || workload.switch(SKIP_PROBES)? == Some(true) {
            report.left(&place, "its probes, as you said");
        } else {
            let host = options.public.as_ref().map(|public| public.host.as_str());
            probes::redirect(&mut editor, workload, port, host, options.tls, &place, report)?;
        }
        let mut more = Vec::new();
        if workload.template.at(&["metadata", "annotations", DEFAULT_CONTAINER])?.is_none() {
            more.push((DEFAULT_CONTAINER.to_owned(), app.name.into()));
        }
        let edits = editor.finish(&more)?;
        self.add(object.file, edits);
        report_sources(&mut self.report, &sidecar);
        if options.federated_token && !workload.has_workload_identity() {
            self.report.todo(format!(
                "{place}: set the pod label azure.workload.identity/use: \"true\"; without it the pod gets no federated token."
            ));
        }
        Ok(())
    }

    /// Puts the `NetworkPolicy` of one workload behind its file, or into its JSON list.
    fn policy(
        &mut self,
        object: &Object<'_>,
        workload: &Workload<'_>,
        app_port: u16,
        options: &Options,
        objects: &[Object<'_>],
    ) -> Result<(), Refusal> {
        let refuse = |flaw| object.refuse(flaw);
        let (resource, place) = (&object.resource, object.place());
        let labels = network_policy::selector(resource, &workload.labels).map_err(refuse)?;
        if labels.is_empty() {
            self.report.left(&place, "no NetworkPolicy: the pods have no labels to select them by");
            return Ok(());
        }
        let name = network_policy::name_for(resource.name());
        let taken = objects.iter().find(|other| {
            other.resource.is_network_policy()
                && other.resource.name() == name
                && other.resource.shares_namespace(resource)
        });
        if let Some(taken) = taken {
            return Err(taken.refuse(taken.resource.node.flaw(Reason::PolicyTaken(name))));
        }
        let monitoring = options.network_policy.as_deref().unwrap_or_default();
        let policy =
            network_policy::policy(resource.name(), resource.namespace(), &labels, monitoring);
        let closed: Vec<String> = workload
            .ports()
            .filter(|port| port.number != app_port)
            .map(|port| port.number.to_string())
            .collect();
        if !closed.is_empty() {
            self.report.todo(format!(
                "{place}: the NetworkPolicy closes port {} too; if somebody has to reach it, allow that in a policy of your own.",
                closed.join(", ")
            ));
        }
        let done = format!("NetworkPolicy {name}: port {TRAFFIC_PORT} is open, the app's is not");
        if !is_json(resource.root) {
            if let Some(policies) = self.policies.get_mut(object.file) {
                policies.push(policy);
            }
        } else if let Some((list, _)) = resource.list {
            let edit =
                prepend_whole(object.text(), resource.root, list, &policy).map_err(refuse)?;
            self.add(object.file, vec![edit]);
        } else {
            self.report.left(
                &place,
                "no NetworkPolicy: a JSON file holds one object; give it as YAML or as a List",
            );
            return Ok(());
        }
        self.report.done(&place, done);
        Ok(())
    }

    /// What only the user can do.
    fn homework(&mut self, options: &Options, guarded: &[Guarded<'_>]) {
        if guarded.is_empty() {
            if self.report.left.is_empty() {
                self.report.left("nothing", "there is no workload in this input");
            }
            return;
        }
        if let Some(public) = &options.public {
            self.report.todo(format!(
                "Register the redirect URI {} with the app registration (platform Web).",
                public.redirect_uri
            ));
        } else {
            self.report.todo(
                "Register the redirect URI <public_url>/.auth/login/aad/callback with the app registration (platform Web).",
            );
        }
        if let Some(socket) = &options.upstream_socket {
            self.report.todo(format!(
                "Let the app listen on {socket} alone, and share its folder with the container vestibule (an emptyDir)."
            ));
        }
        let on_ports = if options.upstream_socket.is_some() { &[] } else { guarded };
        for Guarded { port, .. } in on_ports {
            self.report.todo(format!(
                "Let the app listen on 127.0.0.1:{port} alone: until then the pod's own address answers there without sign-in, to whatever the NetworkPolicy does not stop."
            ));
        }
        for path in self.report.probe_paths.clone() {
            self.report.todo(format!(
                "The probe needs a rule in proxy.toml, and everybody can read what it asks for:\n[[rules]]\npath = {}\nmethods = [\"GET\"]\naccess = \"anonymous\"",
                Value::from(path).flow(&super::value::FlowStyle::Spaced)
            ));
        }
    }

    fn finish(mut self, sources: &[Source]) -> Result<Outcome, Refusal> {
        let mut texts = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let mut edits = self.edits.get_mut(index).map(std::mem::take).unwrap_or_default();
            let policies = self.policies.get(index).map_or(&[][..], Vec::as_slice);
            edits.extend(behind(&source.text, policies));
            let text = apply(&source.text, edits)
                .map_err(|flaw| flaw.refusal(&source.name, &source.text, 1))?;
            texts.push(text);
        }
        Ok(Outcome { texts, report: self.report })
    }
}

fn report_sources(report: &mut Report, sidecar: &sidecar::Sidecar) {
    report.todo(format!(
        "Have the ConfigMap {} (key proxy.toml) and the Secret {} (the files that proxy.toml names) in the namespace. Kubernetes 1.30 or later is needed.",
        sidecar.config_map, sidecar.secret
    ));
}

/// Documents behind a file. Without a final line end the file keeps none, so that it can be given
/// back as it was.
fn behind(text: &str, documents: &[Value]) -> Option<Edit> {
    if documents.is_empty() {
        return None;
    }
    let newline = Text(text).newline();
    let style = BlockStyle { newline, ..BlockStyle::default() };
    let mut out = String::new();
    for document in documents {
        out.push_str("---");
        out.push_str(newline);
        out.push_str(&document.block(0, style));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        out = format!("{newline}{}", out.strip_suffix(newline).unwrap_or(&out));
    }
    Some(Edit::insert(text.len(), out))
}

fn is_json(root: &Node) -> bool {
    matches!(root.kind, Kind::Mapping { flow: true, .. })
}
