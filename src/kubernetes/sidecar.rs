//! The one definition of our container. `inject`, the charts, the Kustomize component and the
//! examples show this one; a change here is a change everywhere.

use super::value::{Value, map};

/// The container's and its volume's name.
pub const NAME: &str = "vestibule";
/// Where users come in.
pub const TRAFFIC_PORT: u16 = 4180;
/// Where the kubelet and Prometheus ask.
pub const ADMIN_PORT: u16 = 4191;
/// Where the configuration is mounted, and where the proxy looks for it.
pub const FOLDER: &str = "/etc/vestibule";
/// How long `preStop` waits for connections, seconds. Meanwhile the endpoint is taken out of the
/// Service everywhere.
pub const DRAIN_WAIT: u32 = 15;
/// How long the app stays when the pod ends, seconds: longer than the proxy drains, or the proxy
/// would serve errors in the app's place.
pub const APP_SLEEP: u32 = 20;
/// What the app and the kubelet may take on top, seconds.
const SLACK: u32 = 25;

/// In which list of the pod the container stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SidecarMode {
    /// An init container that keeps running (Kubernetes 1.29): it starts before the app, ends after
    /// it, and a Job can finish.
    #[default]
    Native,
    /// One of the containers.
    Container,
}

/// What can differ from pod to pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// The proxy's image.
    pub image: String,
    /// Native or plain.
    pub mode: SidecarMode,
    /// The `ConfigMap` that holds `proxy.toml`.
    pub config_map: String,
    /// The Secret that holds the client secret and the session keys.
    pub secret: String,
}

impl SidecarMode {
    /// The list of the pod spec that holds the container.
    pub fn list(self) -> &'static str {
        match self {
            Self::Native => "initContainers",
            Self::Container => "containers",
        }
    }
}

impl Sidecar {
    /// The container. Ports are numbers everywhere: named ports of native sidecars were invisible
    /// to Services before Kubernetes 1.32, and still are to some network plug-ins.
    pub fn container(&self) -> Value {
        let port = |name: &str, number: u16| {
            map([("name", name.into()), ("containerPort", number.into())])
        };
        let get =
            |path: &str| ("httpGet", map([("path", path.into()), ("port", ADMIN_PORT.into())]));
        let drain = ["/vestibule".to_owned(), "drain".to_owned(), format!("--wait={DRAIN_WAIT}s")];
        let native = self.mode == SidecarMode::Native;
        let mut entries = vec![
            ("name", NAME.into()),
            ("image", self.image.as_str().into()),
            ("restartPolicy", "Always".into()),
            ("args", ["run"].into_iter().collect()),
            // The kubelet and Prometheus call the pod's address.
            (
                "env",
                Value::List(vec![map([
                    ("name", "VESTIBULE__ADMIN__LISTEN".into()),
                    ("value", format!("0.0.0.0:{ADMIN_PORT}").into()),
                ])]),
            ),
            (
                "ports",
                Value::List(vec![port("auth", TRAFFIC_PORT), port("auth-admin", ADMIN_PORT)]),
            ),
            (
                "startupProbe",
                map([
                    get("/livez"),
                    ("periodSeconds", 1_u32.into()),
                    ("failureThreshold", 30_u32.into()),
                ]),
            ),
            ("readinessProbe", map([get("/readyz"), ("periodSeconds", 5_u32.into())])),
            ("livenessProbe", map([get("/livez")])),
            (
                "lifecycle",
                map([(
                    "preStop",
                    map([("exec", map([("command", drain.into_iter().collect())]))]),
                )]),
            ),
            (
                "resources",
                map([
                    ("requests", map([("cpu", "10m".into()), ("memory", "32Mi".into())])),
                    ("limits", map([("memory", "128Mi".into())])),
                ]),
            ),
            (
                "securityContext",
                map([
                    ("allowPrivilegeEscalation", false.into()),
                    ("readOnlyRootFilesystem", true.into()),
                    ("runAsNonRoot", true.into()),
                    ("runAsUser", 65532_u32.into()),
                    ("capabilities", map([("drop", ["ALL"].into_iter().collect())])),
                    // Here and not on the pod: the app's own profile is not ours to choose.
                    ("seccompProfile", map([("type", "RuntimeDefault".into())])),
                ]),
            ),
            // A folder, never `subPath`: that one never sees a change.
            (
                "volumeMounts",
                Value::List(vec![map([
                    ("name", NAME.into()),
                    ("mountPath", FOLDER.into()),
                    ("readOnly", true.into()),
                ])]),
            ),
        ];
        entries.retain(|(key, _)| native || *key != "restartPolicy");
        Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// The volume that the container mounts: configuration and secrets in one folder.
    pub fn volume(&self) -> Value {
        let source = |kind: &str, name: &str| map([(kind, map([("name", name.into())]))]);
        map([
            ("name", NAME.into()),
            (
                "projected",
                map([(
                    "sources",
                    Value::List(vec![
                        source("configMap", &self.config_map),
                        source("secret", &self.secret),
                    ]),
                )]),
            ),
        ])
    }
}

/// The app's `preStop`: needs no shell in the app's image (Kubernetes 1.30).
pub fn app_pre_stop() -> Value {
    map([("sleep", map([("seconds", APP_SLEEP.into())]))])
}

/// The least `terminationGracePeriodSeconds`: the app's sleep, the proxy's `drain_timeout` (both in
/// seconds), and some.
pub fn grace_period(drain_timeout: u32) -> u32 {
    APP_SLEEP.saturating_add(SLACK).saturating_add(drain_timeout)
}
