//! Why a manifest is refused: file, document, line, and what to do about it.

/// What was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The byte of the file.
    pub at: usize,
    pub reason: Reason,
}

/// A manifest that cannot be changed without guessing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: document {document}, line {line}: {reason}")]
pub struct Refusal {
    /// The file's name, `-` for standard input.
    pub file: String,
    /// Which document of the file, from 1.
    pub document: usize,
    /// The line in the file, from 1.
    pub line: usize,
    /// What is unclear.
    #[source]
    pub reason: Reason,
}

/// What is unclear about a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// The parser gave up.
    #[error("not YAML: {0}")]
    NotYaml(String),
    /// The parser gave up, and no wonder.
    #[error("not YAML but a Helm template: render it first, helm template … | vestibule inject -")]
    Template,
    /// A bound on recursion.
    #[error("nested too deeply for a manifest")]
    TooDeep,
    /// Something else stands where a mapping belongs.
    #[error("expected a mapping here")]
    NoMapping,
    /// Something else stands where a sequence belongs.
    #[error("expected a list here")]
    NoSequence,
    /// Something else stands where a text belongs.
    #[error("expected a text or a number here")]
    NoText,
    /// The value stands elsewhere.
    #[error("an alias stands where something has to be read or changed: write the value out")]
    Alias,
    /// A change here would change another place too.
    #[error("what has to be changed carries an anchor that is repeated elsewhere: write it out")]
    Anchor,
    /// An explicit type.
    #[error("what has to be changed carries a tag: leave the tag out")]
    Tag,
    /// `<<`.
    #[error("a merge key hides which keys are set: write them out")]
    Merge,
    /// A key that stands twice.
    #[error("{0} is set twice")]
    Twice(String),
    /// A layout that leaves no line to insert at.
    #[error("the layout leaves no place for a new line: put every key on a line of its own")]
    Layout,
    /// What must be there is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// `vestibule/inject: "perhaps"`.
    #[error("{annotation}: expected {expected}")]
    Annotation {
        /// The annotation's name.
        annotation: &'static str,
        /// What may stand there.
        expected: &'static str,
    },
    /// Two proxies of one node would fight for the port.
    #[error(
        "hostNetwork: the proxy's ports would be ports of the node; give the pod its own network"
    )]
    HostNetwork,
    /// A port of ours is taken: the containers of a pod share one network.
    #[error("port {0} belongs to the proxy, and container {1} uses it")]
    PortTaken(u16, String),
    /// Linkerd's proxy comes at admission, with an admin port of the same number.
    #[error("linkerd.io/inject: Linkerd's proxy takes port 4191 too, which is our admin port")]
    Linkerd,
    /// The Job would wait for the proxy for ever.
    #[error("a plain container keeps a Job from ending: use --sidecar-mode native")]
    EndlessJob,
    /// A name of ours is taken.
    #[error("{0} is called vestibule already, and inject did not add it: remove or rename it")]
    NameTaken(&'static str),
    /// Nothing says which port is the app's.
    #[error(
        "which port does the app listen on? Declare it as containerPort, set the annotation vestibule/upstream-port, or say --upstream-port"
    )]
    PortUnknown,
    /// The configuration and the manifest disagree.
    #[error(
        "the proxy forwards to port {wanted}, and no container declares it (declared: {declared}): correct upstream.url, --upstream-port or the containerPort"
    )]
    PortElsewhere {
        /// What upstream.url, the flag or the annotation says.
        wanted: u16,
        /// The containerPorts.
        declared: String,
    },
    /// Several containers, and none of them declares the port.
    #[error(
        "which container is the app? None of several declares port {0}: declare it as containerPort, or set kubectl.kubernetes.io/default-container"
    )]
    ContainerUnknown(u16),
    /// Workloads of one input that cannot all be the app.
    #[error(
        "which workload is the app? Several declare different ports: say --upstream-port, or set vestibule/inject: \"false\" on those that are not"
    )]
    WorkloadUnknown,
    /// A probe through the proxy needs the Host that the proxy serves.
    #[error(
        "the probe has to go through the proxy, with the Host of server.public_url: say --config FILE or --public-url URL, or leave probes alone with --skip-probes"
    )]
    HostUnknown,
    /// A `NetworkPolicy` of the name that ours would get.
    #[error("a NetworkPolicy called {0} exists already: rename it, or say --no-network-policy")]
    PolicyTaken(String),
    /// The note that inject left cannot be read.
    #[error("the annotation vestibule/injected is not what inject wrote")]
    Record,
}

impl Flaw {
    /// The refusal of document `number` (from 1) of `file`.
    pub(super) fn refusal(self, file: &str, text: &str, number: usize) -> Refusal {
        let before = text.get(..self.at).unwrap_or(text);
        Refusal {
            file: file.to_owned(),
            document: number.max(1),
            line: before.matches('\n').count() + 1,
            reason: self.reason,
        }
    }
}
