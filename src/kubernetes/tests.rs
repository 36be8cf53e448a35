//! Twice is once, out is back, and nothing else moves.

use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::{
    random::{Dice, manifest},
    record::Path,
    tree::{Kind, Node, read},
    *,
};

fn options() -> Options {
    Options {
        image: "example.com/vestibule:0.1.0".to_owned(),
        mode: SidecarMode::Native,
        config_map: "vestibule".to_owned(),
        secret: None,
        upstream_port: None,
        upstream_socket: None,
        public: Some(Public {
            host: "app.contoso.com".to_owned(),
            redirect_uri: "https://app.contoso.com/.auth/login/aad/callback".to_owned(),
        }),
        tls: false,
        skip_probes: false,
        network_policy: Some("monitoring".to_owned()),
        federated_token: false,
        drain_timeout: 30,
    }
}

fn source(text: &str) -> Vec<Source> {
    vec![Source { name: "app.yaml".to_owned(), text: text.to_owned() }]
}

fn manifests() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests");
    let mut found: Vec<(String, String)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains(".input."))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    assert!(found.len() >= 15);
    found
}

/// Injects, and holds the result to what every result must be.
fn injected(name: &str, text: &str, options: &Options) -> Result<String, Refusal> {
    let once = inject(&source(text), options)?.texts.remove(0);
    let twice = inject(&source(&once), options).unwrap_or_else(|e| panic!("{name}: {e}\n{once}"));
    assert_eq!(twice.texts.as_slice(), std::slice::from_ref(&once), "{name}: twice is not once");
    let back = uninject(&source(&once)).unwrap_or_else(|e| panic!("{name}: {e}\n{once}"));
    assert_eq!(back.texts, [text.to_owned()], "{name}: not given back\n{once}");
    Ok(once)
}

/// A tree as values, for comparison: all scalars as text.
fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Mapping { entries, .. } => Value::Map(
            entries
                .iter()
                .map(|entry| (entry.key.text().unwrap().to_owned(), value(&entry.value)))
                .collect(),
        ),
        Kind::Sequence { items, .. } => Value::List(items.iter().map(value).collect()),
        _ => Value::Text(node.text().unwrap().to_owned()),
    }
}

/// A value with its scalars as text.
fn plain(given: &Value) -> Value {
    match given {
        Value::Map(entries) => {
            Value::Map(entries.iter().map(|(key, value)| (key.clone(), plain(value))).collect())
        }
        Value::List(items) => Value::List(items.iter().map(plain).collect()),
        Value::Text(text) => Value::Text(text.clone()),
        Value::Number(number) => Value::Text(number.to_string()),
        Value::Bool(truth) => Value::Text(truth.to_string()),
    }
}

/// The pod template of the first Deployment in `text`.
fn template(text: &str) -> Value {
    let stream = read(text).unwrap();
    let roots = stream.documents.iter().filter_map(|document| document.root.as_ref());
    let objects = roots.flat_map(|root| resource::Resource::of(root).unwrap());
    let mut found = objects.filter_map(|object| object.template_path()?.find(object.node).unwrap());
    value(found.next().unwrap())
}

fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('/').try_fold(value, |value, step| match value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key == step).map(|(_, v)| v),
        Value::List(items) => {
            items.iter().find(|item| at(item, "name") == Some(&Value::from(step)))
        }
        _ => None,
    })
}

#[test]
fn every_manifest_is_given_back_as_it_was() {
    for (name, text) in manifests() {
        let mut some = false;
        for mode in [SidecarMode::Native, SidecarMode::Container] {
            for upstream_port in [Some(8080), None] {
                let options = Options { mode, upstream_port, ..options() };
                some |= injected(&name, &text, &options).is_ok();
            }
        }
        assert!(some, "{name} is always refused");
        assert_eq!(uninject(&source(&text)).unwrap().texts, [text]);
    }
}

#[test]
fn files_are_one_input_and_stay_apart() {
    let text = |name: &str| {
        fs::read_to_string(
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests").join(name),
        )
        .unwrap()
    };
    let whole = text("15-kustomize.input.yaml");
    let parts: Vec<String> = whole.split_inclusive("---\n").map(str::to_owned).collect();
    let sources: Vec<Source> =
        parts.iter().map(|text| Source { name: "x".to_owned(), text: text.clone() }).collect();
    let options = Options { upstream_port: Some(8080), ..options() };
    let outcome = inject(&sources, &options).unwrap();
    assert!(outcome.texts[1].contains("targetPort: 4180"), "{}", outcome.texts[1]);
    assert_eq!(outcome.texts[2], parts[2], "the database's Service stays");
    let injected: Vec<Source> = outcome
        .texts
        .iter()
        .map(|text| Source { name: "x".to_owned(), text: text.clone() })
        .collect();
    assert_eq!(uninject(&injected).unwrap().texts, parts);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn in_every_style_twice_is_once_and_out_is_back(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let text = manifest(&mut Dice(&bytes));
        prop_assert!(read(&text).is_ok(), "not YAML:\n{}", text);
        let mode = if bytes.len() % 2 == 0 { SidecarMode::Native } else { SidecarMode::Container };
        let options = Options { mode, upstream_port: Some(8080), ..options() };
        let after = match injected("random", &text, &options) {
            Ok(after) => after,
            Err(refusal) => return Err(TestCaseError::fail(format!("{refusal}\n{text}"))),
        };
        // What was put in stands where it belongs, whole.
        let template = template(&after);
        let sidecar = options.sidecar(None);
        let list = mode.list();
        prop_assert_eq!(at(&template, &format!("spec/{list}/vestibule")), Some(&plain(&sidecar.container())), "{}", after);
        prop_assert_eq!(at(&template, "spec/volumes/vestibule"), Some(&plain(&sidecar.volume())), "{}", after);
        prop_assert_eq!(at(&template, "spec/containers/app/lifecycle/preStop/sleep/seconds"), Some(&Value::from("20")));
        prop_assert_eq!(at(&template, "spec/terminationGracePeriodSeconds"), Some(&Value::from("75")));
        for probe in ["readinessProbe", "livenessProbe"] {
            if let Some(get) = at(&template, &format!("spec/containers/app/{probe}/httpGet")) {
                prop_assert_eq!(at(get, "port"), Some(&Value::from("4180")));
                let host = at(get, "httpHeaders/Host/value").or_else(|| at(get, "httpHeaders/host/value"));
                prop_assert_eq!(host, Some(&Value::from("app.contoso.com")));
                prop_assert_ne!(at(get, "scheme"), Some(&Value::from("HTTPS")));
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[-\\[\\]{}:,#&*!|>'\"% \na-c]{0,60}") {
        let _ = inject(&source(&text), &options());
        if let Ok(outcome) = uninject(&source(&text)) {
            prop_assert_eq!(outcome.texts, [text]);
        }
    }

    #[test]
    fn a_changed_manifest_never_makes_uninject_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>(), length in 0_usize..80) {
        let text = manifest(&mut Dice(&bytes));
        let options = Options { upstream_port: Some(8080), ..options() };
        let after = inject(&source(&text), &options).unwrap().texts.remove(0);
        let lines: Vec<&str> = after.split_inclusive('\n').collect();
        let from = cut.index(lines.len());
        let rest: String = lines.iter().take(from).chain(lines.iter().skip(from + length)).copied().collect();
        let _ = uninject(&source(&rest));
        let _ = inject(&source(&rest), &options);
    }
}

#[test]
fn a_proxy_that_speaks_tls_is_asked_in_tls() {
    for (scheme, tls, wanted) in [
        ("", true, Some("HTTPS")),
        (", scheme: HTTP", true, Some("HTTPS")),
        (", scheme: HTTPS", true, Some("HTTPS")),
        (", scheme: HTTPS", false, Some("HTTP")),
        ("", false, None),
    ] {
        let text = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {{containers: [{{name: app, livenessProbe: {{httpGet: {{port: 8080{scheme}}}}}}}]}}}}\n"
        );
        let options = Options { tls, upstream_port: Some(8080), ..options() };
        let after = template(&injected("tls", &text, &options).unwrap());
        let get = at(&after, "spec/containers/app/livenessProbe/httpGet").unwrap();
        assert_eq!(at(get, "scheme"), wanted.map(Value::from).as_ref(), "{scheme:?} {tls}");
        assert_eq!(at(get, "port"), Some(&Value::from("4180")));
    }
}

#[test]
fn paths_are_relative_to_the_object_with_the_note() {
    let text = manifest(&mut Dice(&[]));
    let after =
        injected("plain", &text, &Options { upstream_port: Some(8080), ..options() }).unwrap();
    let note = at(&template(&after), "metadata/annotations").cloned();
    let Some(Value::Map(annotations)) = note else { panic!("{after}") };
    assert_eq!(annotations[0].0, "vestibule/injected");
    let Value::Text(note) = &annotations[0].1 else { panic!("{after}") };
    assert!(note.contains(&Path::new(["spec", "volumes", "vestibule"]).to_string()), "{note}");
}

#[test]
fn what_cannot_be_decided_is_not_decided() {
    let pod = |name: &str, more: &str, container: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec: {{{more}containers: [{container}]}}\n"
        )
    };
    let on = |port: u16| format!("{{name: c{port}, ports: [{{containerPort: {port}}}]}}");
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\nspec: {template: {spec: {containers: [{name: a, ports: [{containerPort: 80}]}]}}}\n";
    let taken = "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a-vestibule}\n";
    let plain = Options { mode: SidecarMode::Container, ..options() };
    let said = Options { upstream_port: Some(8080), ..options() };
    for (text, options, words) in [
        (pod("a", "", &on(80)) + "---\n" + &pod("b", "", &on(81)), options(), "which workload"),
        (pod("a", "", &(on(80) + ", " + &on(81))), options(), "which port"),
        (pod("a", "", "{name: x}, {name: y}"), said.clone(), "which container"),
        (pod("a", "", &on(80)), said, "no container declares it (declared: 80)"),
        (pod("a", "volumes: [{name: vestibule}], ", &on(80)), options(), "a volume is called"),
        (pod("a", "", &on(80)) + taken, options(), "NetworkPolicy called a-vestibule exists"),
        (job.to_owned(), plain, "keeps a Job from ending"),
    ] {
        let refusal = inject(&source(&text), &options).unwrap_err().to_string();
        assert!(refusal.contains(words), "{words}: {refusal}");
    }
    // Two workloads, and the port says which one it is.
    let two = pod("a", "", &on(80)) + "---\n" + &pod("b", "", &on(81));
    let outcome = inject(&source(&two), &Options { upstream_port: Some(81), ..options() }).unwrap();
    assert_eq!(outcome.report.app_ports, [81]);
    assert!(outcome.report.left[0].to_string().contains("Pod a: declares no port 81"));
    // Neither is asked: that is not a guess but an answer.
    let none = "a: 1\n";
    assert_eq!(inject(&source(none), &options()).unwrap().texts, [none]);
}

#[test]
fn a_container_that_ends_before_the_drain_is_over_is_named() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a}}\nspec:\n  containers:\n  - {name: nginx, ports: [{containerPort: 8080}]}\n  - {name: php}\n  - {name: log, lifecycle: {preStop: {sleep: {seconds: 3}}}}\n";
    let report = inject(&source(text), &options()).unwrap().report;
    let left: Vec<String> = report.left.iter().map(ToString::to_string).collect();
    assert!(left.iter().any(|line| line.contains("container php ends at once")), "{left:?}");
    assert!(!left.iter().any(|line| line.contains("container nginx ends")), "{left:?}");
    assert!(!left.iter().any(|line| line.contains("container log ends")), "{left:?}");
}

#[test]
fn ways_around_the_proxy_are_reported() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a}}\nspec:\n  containers:\n  - name: a\n    ports:\n    - {containerPort: 8080, hostPort: 80}\n    - {containerPort: 9000}\n    lifecycle: {postStart: {httpGet: {port: 8080}}}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{name: u, port: 8080, protocol: UDP}, {name: t, port: 8080}]}\n";
    let options = Options { upstream_port: Some(8080), federated_token: true, ..options() };
    let outcome = inject(&source(text), &options).unwrap();
    let report = outcome.report.to_string();
    for words in [
        "hostPort 80 leads around the proxy",
        "postStart of container a calls port 8080",
        "closes port 9000 too",
        "azure.workload.identity/use",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    assert!(outcome.texts[0].contains("protocol: UDP}, {\"targetPort\": 4180, name: t"));
    injected("ways around", text, &options).unwrap();
}
