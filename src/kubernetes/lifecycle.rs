//! Ending together: the app outlives the proxy's drain, and both have the time for it.

use super::{
    edit::Editor,
    flaw::Flaw,
    record::Path,
    report::Report,
    sidecar::{APP_SLEEP, app_pre_stop},
    value::Value,
    workload::{Container, Workload},
};

/// Keeps the app while the proxy drains: a `preStop` that sleeps.
pub(super) fn keep_app(
    editor: &mut Editor<'_>,
    app: &Container<'_>,
    port: u16,
    place: &str,
    report: &mut Report,
) -> Result<(), Flaw> {
    for name in ["postStart", "preStop"] {
        let Some(get) = app.node.at(&["lifecycle", name, "httpGet"])? else { continue };
        if app.resolve(get.text_of("port")?.unwrap_or_default()) == Some(port) {
            report.left(
                place,
                format!("{name} of container {} calls port {port} of the pod, which an app on loopback does not answer", app.name),
            );
        }
    }
    let at = app.path().join("lifecycle");
    let hook = app.node.at(&["lifecycle", "preStop"])?;
    let Some(hook) = hook else {
        editor.set(&at, vec![("preStop".to_owned(), app_pre_stop())], "")?;
        report.done(place, format!("container {} sleeps {APP_SLEEP} s before it ends", app.name));
        return Ok(());
    };
    let seconds = match hook.get("sleep")? {
        Some(sleep) => sleep.text_of("seconds")?.and_then(|text| text.parse::<u32>().ok()),
        None => None,
    };
    match seconds {
        Some(seconds) if seconds >= APP_SLEEP => {}
        Some(seconds) => {
            let path = at.join("preStop").join("sleep").join("seconds");
            editor.replace(path, &APP_SLEEP.into())?;
            report.done(
                place,
                format!("container {} sleeps {APP_SLEEP} s instead of {seconds} before it ends", app.name),
            );
        }
        None => report.left(
            place,
            format!("preStop of container {} is its own: it must not end before {APP_SLEEP} s, while the proxy drains", app.name),
        ),
    }
    Ok(())
}

/// Names the other containers that end at once, while the proxy and the app still answer: only their
/// owner knows whether the app needs them until then.
pub(super) fn neighbours(
    workload: &Workload<'_>,
    app: &Container<'_>,
    place: &str,
    report: &mut Report,
) -> Result<(), Flaw> {
    for other in workload.containers.iter().filter(|container| container.name != app.name) {
        if other.node.at(&["lifecycle", "preStop"])?.is_none() {
            report.left(
                place,
                format!("container {} ends at once: if {} needs it to answer, give it a preStop that sleeps {APP_SLEEP} s", other.name, app.name),
            );
        }
    }
    Ok(())
}

/// Makes the grace period long enough.
pub(super) fn grace_period(
    editor: &mut Editor<'_>,
    workload: &Workload<'_>,
    least: u32,
    place: &str,
    report: &mut Report,
) -> Result<(), Flaw> {
    const KEY: &str = "terminationGracePeriodSeconds";
    match workload.spec.text_of(KEY)? {
        None => {
            let entries = vec![(KEY.to_owned(), Value::from(least))];
            editor.set(&Path::new(["spec"]), entries, "containers")?;
            report.done(place, format!("{KEY}: {least}"));
        }
        Some(text) if text.parse::<u32>().is_ok_and(|seconds| seconds < least) => {
            editor.replace(Path::new(["spec", KEY]), &least.into())?;
            report.done(place, format!("{KEY}: {least} instead of {text}"));
        }
        Some(_) => {}
    }
    Ok(())
}
