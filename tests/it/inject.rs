//! `vestibule inject` and `uninject` as people use them: files and pipes, golden manifests, exit
//! codes, and nothing on stdout unless all is well.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::support::{KEY, config_file, scratch_file, vestibule};

const IMAGE: [&str; 2] = ["--image", "example.com/vestibule:0.1.0"];
const PUBLIC_URL: [&str; 2] = ["--public-url", "https://app.contoso.com"];

/// What is said beside image and public URL, where a manifest needs more.
const MORE: [(&str, &[&str]); 5] = [
    ("03-", &["--upstream-port", "8080"]),
    ("11-", &["--sidecar-mode", "container"]),
    ("13-", &["--upstream-port", "8080"]),
    ("15-", &["--upstream-port", "8080"]),
    ("18-", &["--sidecar-mode", "container", "--no-network-policy"]),
];

fn manifests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifests")
}

/// A configuration as it lies in a `ConfigMap`: its files are nowhere near.
fn configuration(more: &str) -> PathBuf {
    config_file(&format!(
        "[server]\npublic_url = \"https://app.contoso.com\"\n\
         [entra]\ntenant = \"contoso.onmicrosoft.com\"\n\
         client_id = \"00001111-aaaa-2222-bbbb-3333cccc4444\"\n\
         client_secret_file = \"/etc/vestibule/client-secret\"\n\
         [session]\nkeys_file = \"/etc/vestibule/session-keys\"\n{more}"
    ))
}

const PROBE_RULE: &str =
    "[[rules]]\npath = \"/healthz\"\nmethods = [\"GET\"]\naccess = \"anonymous\"\n";

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: app
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels: {app: app}
    spec:
      containers:
      - name: app
        image: app:1
        ports:
        - containerPort: 8080
        readinessProbe:
          httpGet:
            path: /healthz
            port: 8080
";

#[tokio::test]
async fn every_golden_manifest_comes_out_as_it_is_written_down() {
    let mut compared = 0;
    for entry in fs::read_dir(manifests()).unwrap() {
        let input = entry.unwrap().path();
        let name = input.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.contains(".input.") {
            continue;
        }
        let more = MORE.iter().find(|(start, _)| name.starts_with(start));
        let mut arguments = vec!["inject"];
        arguments.extend(IMAGE.iter().chain(&PUBLIC_URL));
        arguments.extend(more.map(|(_, more)| *more).unwrap_or_default());
        arguments.push(input.to_str().unwrap());
        let ended = vestibule(&arguments).ended().await;
        assert_eq!(ended.code, 0, "{name}: {}", ended.stderr);
        let expected = fs::read_to_string(manifests().join(name.replace(".input.", ".expected.")));
        assert_eq!(ended.stdout, expected.unwrap(), "{name}");

        let injected = scratch_file(&name);
        fs::write(&injected, &ended.stdout).unwrap();
        let last = arguments.len() - 1;
        arguments[last] = injected.to_str().unwrap();
        let again = vestibule(&arguments).ended().await;
        assert_eq!((again.code, again.stdout), (0, ended.stdout), "{name}: twice is not once");
        let back = vestibule(["uninject", injected.to_str().unwrap()]).ended().await;
        assert_eq!(back.stdout, fs::read_to_string(&input).unwrap(), "{name}: not given back");
        compared += 1;
    }
    assert!(compared >= 15, "{compared}");
}

#[tokio::test]
async fn a_pipe_is_as_good_as_a_file_and_the_report_stays_out_of_it() {
    let config = configuration(PROBE_RULE);
    let arguments = ["inject", "--check", "--config", config.to_str().unwrap(), "-"];
    let ended = vestibule(arguments).input(DEPLOYMENT).ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("value: app.contoso.com\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("terminationGracePeriodSeconds: 75\n"), "{}", ended.stdout);
    for words in [
        "-: Deployment app: proxy on port 4180 in front of port 8080 of container app",
        "https://app.contoso.com/.auth/login/aad/callback",
        "Let the app listen on 127.0.0.1:8080 alone",
        "path = \"/healthz\"",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    let back = vestibule(["uninject", "-"]).input(&ended.stdout).ended().await;
    assert_eq!((back.code, back.stdout.as_str()), (0, DEPLOYMENT));
}

#[tokio::test]
async fn check_refuses_a_configuration_that_means_another_app() {
    for (more, words) in [
        ("", "no rule lets the probe through"),
        ("[upstream]\nurl = \"http://app:8080\"\n", "in a pod the app is on 127.0.0.1"),
        ("[upstream]\nurl = \"http://127.0.0.1:9090\"\n", "forwards to port 9090"),
    ] {
        let config =
            configuration(&format!("{more}{}", if more.is_empty() { "" } else { PROBE_RULE }));
        let arguments = ["inject", "--check", "--config", config.to_str().unwrap(), "-"];
        let ended = vestibule(arguments).input(DEPLOYMENT).ended().await;
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{more}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    // Without --check the same is a warning.
    let config = configuration("");
    let arguments = ["inject", "--config", config.to_str().unwrap(), "-"];
    let ended = vestibule(arguments).input(DEPLOYMENT).ended().await;
    assert_eq!(ended.code, 0);
    assert!(ended.stderr.contains("warning: no rule lets the probe through"), "{}", ended.stderr);
    // A manifest that was injected before is compared all the same.
    let arguments = ["inject", "--check", "--config", config.to_str().unwrap(), "-"];
    let again = vestibule(arguments).input(&ended.stdout).ended().await;
    assert_eq!((again.code, again.stdout.as_str()), (1, ""), "{}", again.stderr);
}

#[tokio::test]
async fn a_wrong_configuration_is_78_and_files_of_another_machine_are_no_mistake() {
    let wrong = config_file(&format!("[session]\nkeys = [\"{KEY}\"]\nliftime = \"8h\"\n"));
    let arguments = ["inject", "--config", wrong.to_str().unwrap(), "-"];
    let ended = vestibule(arguments).input(DEPLOYMENT).ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (78, ""));
    assert!(ended.stderr.contains("session.liftime"), "{}", ended.stderr);
}

#[tokio::test]
async fn what_would_need_a_guess_is_refused_with_document_and_line() {
    let with = |from: &str, to: &str| {
        assert!(DEPLOYMENT.contains(from), "{from}");
        format!("# a note\n---\n{}", DEPLOYMENT.replace(from, to))
    };
    let annotated =
        |annotation: &str| with("labels: {app: app}", &format!("annotations: {{{annotation}}}"));
    for (text, place, words) in [
        (with("    spec:\n", "    spec:\n      hostNetwork: true\n"), "line 13", "hostNetwork"),
        (with("containerPort: 8080", "containerPort: 4180"), "line 14", "port 4180 belongs"),
        (with("- name: app\n", "- name: vestibule\n"), "line 14", "called vestibule already"),
        (with("        ports:\n        - containerPort: 8080\n", ""), "line 13", "which port"),
        (with("port: 8080\n", "port: web\n"), "line 21", "containerPort of this name"),
        (with("spec:\n      containers", "spec: &pod\n      containers"), "", ""),
        (with("- name: app\n", "- <<: {}\n        name: app\n"), "line 14", "merge key"),
        (with("image: app:1\n", "image: app:1\n        image: app:2\n"), "", ""),
        (with("ports:\n", "ports: []\n        ports:\n"), "line 17", "ports is set twice"),
        (annotated("vestibule/inject: perhaps"), "line 11", "expected \"true\" or \"false\""),
        (annotated("vestibule/upstream-port: http"), "line 11", "expected a port"),
        (annotated("vestibule/config: Not_A_Name"), "line 11", "name of a ConfigMap"),
        (annotated("vestibule/injected: yes"), "line 11", "not what inject wrote"),
        (with("name: app\nspec:", "name: {{ .Release.Name }}\nspec:"), "line", ""),
        (
            with("kind: Deployment\n", "kind: Deployment\n\tx: y\n"),
            "document 1, line 4",
            "not YAML",
        ),
        (with("metadata:\n  name", "{{- if .X }}\nmetadata:\n  name"), "line 5", "Helm template"),
        (annotated("linkerd.io/inject: enabled"), "line 11", "Linkerd"),
    ] {
        let arguments = ["inject", PUBLIC_URL[0], PUBLIC_URL[1], "-"];
        let ended = vestibule(arguments).input(&text).ended().await;
        if words.is_empty() && place.is_empty() {
            assert_eq!(ended.code, 0, "{text}: {}", ended.stderr);
            continue;
        }
        assert_eq!((ended.code, ended.stdout.as_str()), (1, ""), "{words}: {}", ended.stderr);
        assert!(ended.stderr.contains(": document 1, ") || ended.stderr.contains(": document 2, "));
        assert!(ended.stderr.contains(place), "{place}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
    // A probe needs the Host that the proxy serves.
    let ended = vestibule(["inject", "-"]).input(DEPLOYMENT).ended().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
    assert!(ended.stderr.contains("--public-url"), "{}", ended.stderr);
    let ended = vestibule(["inject", "--skip-probes", "-"]).input(DEPLOYMENT).ended().await;
    assert_eq!(ended.code, 0);
}

#[tokio::test]
async fn files_that_cannot_be_read_are_named() {
    let binary = scratch_file("binary.yaml");
    fs::write(&binary, b"a: \xff\xfe").unwrap();
    for (file, words) in [
        ("/nonexistent.yaml", "cannot read /nonexistent.yaml"),
        (binary.to_str().unwrap(), "is not UTF-8"),
    ] {
        for word in ["inject", "uninject"] {
            let ended = vestibule([word, file]).ended().await;
            assert_eq!((ended.code, ended.stdout.as_str()), (1, ""));
            assert!(ended.stderr.contains(words), "{}", ended.stderr);
        }
    }
    for wrong in [
        &["inject"][..],
        &["uninject"],
        &["inject", "--check", "-"],
        &["inject", "--sidecar-mode", "magic", "-"],
    ] {
        assert_eq!(vestibule(wrong).ended().await.code, 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn annotations_beat_options() {
    let text = DEPLOYMENT.replace(
        "labels: {app: app}\n",
        "labels: {app: app}\n      annotations:\n        vestibule/config: own\n        vestibule/upstream-port: \"8080\"\n        vestibule/skip-probes: \"true\"\n",
    );
    let arguments = ["inject", "--config-map", "other", "--upstream-port", "9999", "-"];
    let ended = vestibule(arguments).input(&text).ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("name: own\n") && !ended.stdout.contains("other"));
    assert!(ended.stdout.contains("port: 8080\n"), "the probe stays");
    let text = DEPLOYMENT.replace(
        "  name: app\nspec",
        "  name: app\n  annotations: {vestibule/inject: \"false\"}\nspec",
    );
    let ended = vestibule(["inject", "-"]).input(&text).ended().await;
    assert_eq!((ended.code, ended.stdout), (0, text));
}

#[tokio::test]
async fn several_files_come_out_as_one_stream() {
    let service = scratch_file("service.yaml");
    fs::write(&service, "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {selector: {app: app}, ports: [{port: 80, targetPort: 8080}]}").unwrap();
    let deployment = scratch_file("deployment.yaml");
    fs::write(&deployment, DEPLOYMENT).unwrap();
    let files = [service.to_str().unwrap(), deployment.to_str().unwrap()];
    let ended =
        vestibule(["inject", PUBLIC_URL[0], PUBLIC_URL[1], files[0], files[1]]).ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(
        ended.stdout.contains("targetPort: 4180}]}\n---\napiVersion: apps/v1\n"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn the_sidecar_comes_in_three_other_forms_and_is_the_same_in_all() {
    let injected = vestibule(["inject", IMAGE[0], IMAGE[1], "--skip-probes", "-"])
        .input(DEPLOYMENT)
        .ended()
        .await
        .stdout;
    let lines = |text: &str| -> Vec<String> {
        let from = text.find("name: vestibule\n").unwrap();
        let all = text.split("image: example.com").nth(1).unwrap_or(&text[from..]);
        let all = all.split("readOnly: true").next().unwrap();
        all.lines().map(|line| line.trim().to_owned()).collect()
    };
    for form in ["container", "kustomize", "helm-values"] {
        let ended = vestibule(["inject", IMAGE[0], IMAGE[1], "--emit", form]).ended().await;
        assert_eq!(ended.code, 0, "{form}: {}", ended.stderr);
        assert_eq!(lines(&ended.stdout), lines(&injected), "{form}");
    }
}
