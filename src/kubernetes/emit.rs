//! The sidecar in other forms: to paste, for Kustomize, for other people's charts.

use super::{
    Options,
    sidecar::{self, NAME, TRAFFIC_PORT, app_pre_stop},
    value::{BlockStyle, Value, map},
};

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The parts of a pod spec, to paste.
    Container,
    /// A Kustomize component.
    Kustomize,
    /// The values that many charts take: `extraVolumes`, `initContainers`.
    HelmValues,
}

/// The label that asks the Kustomize component for the proxy.
const WANTED: &str = "vestibule=enabled";
/// The kinds whose pod template the component patches.
const KINDS: [&str; 3] = ["Deployment", "StatefulSet", "DaemonSet"];

/// The sidecar as text.
pub fn emit(form: Form, options: &Options) -> String {
    let sidecar = options.sidecar(None);
    let list = |value: Value| Value::List(vec![value]);
    let style = BlockStyle::default();
    match form {
        Form::Container => {
            let spec = map([
                (sidecar.mode.list(), list(sidecar.container())),
                ("volumes", list(sidecar.volume())),
                (
                    "terminationGracePeriodSeconds",
                    sidecar::grace_period(options.drain_timeout).into(),
                ),
            ]);
            format!(
                "# Into the pod template. The Service's targetPort is {TRAFFIC_PORT}; the app listens on\n# 127.0.0.1 and gets lifecycle.preStop.sleep.seconds {}.\nspec:\n{}",
                sidecar::APP_SLEEP,
                spec.block(2, style)
            )
        }
        Form::HelmValues => {
            let key = match sidecar.mode {
                sidecar::SidecarMode::Native => "initContainers",
                sidecar::SidecarMode::Container => "extraContainers",
            };
            let values = map([
                (key, list(sidecar.container())),
                ("extraVolumes", list(sidecar.volume())),
                ("lifecycleHooks", map([("preStop", app_pre_stop())])),
                (
                    "terminationGracePeriodSeconds",
                    sidecar::grace_period(options.drain_timeout).into(),
                ),
            ]);
            format!(
                "# For charts that take these keys; some call them extraInitContainers, sidecars or lifecycle.\n# The chart must let you set the Service's targetPort: {TRAFFIC_PORT}.\n{}",
                values.block(0, style)
            )
        }
        Form::Kustomize => kustomize(&sidecar, options),
    }
}

fn kustomize(sidecar: &sidecar::Sidecar, options: &Options) -> String {
    let patch = |kind: &str| {
        let spec = map([
            ("terminationGracePeriodSeconds", sidecar::grace_period(options.drain_timeout).into()),
            (sidecar.mode.list(), Value::List(vec![sidecar.container()])),
            ("volumes", Value::List(vec![sidecar.volume()])),
        ]);
        let patch = map([
            ("apiVersion", "apps/v1".into()),
            ("kind", kind.into()),
            ("metadata", map([("name", NAME.into())])),
            ("spec", map([("template", map([("spec", spec)]))])),
        ]);
        format!(
            "- target:\n    kind: {kind}\n    labelSelector: {WANTED}\n  patch: |\n{}",
            patch.block(4, BlockStyle::default())
        )
    };
    let patches: String = KINDS.iter().map(|kind| patch(kind)).collect();
    format!(
        "# Puts the proxy into every {} with the label {}.\n# A component has no parameters: set the Service's targetPort to {TRAFFIC_PORT}, the app's probes to port\n# {TRAFFIC_PORT} with the Host of public_url, and the app's preStop to sleep {} s yourself; `vestibule inject` does.\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n{patches}",
        KINDS.join(", "),
        WANTED.replace('=', ": "),
        sidecar::APP_SLEEP
    )
}
