//! What a changed configuration takes over from the one before it, and how long a drain waits.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc, time::Duration};

use tokio::runtime::Handle;

use super::{
    assembly::{Assembled, Former, Lasting, assemble},
    grace,
};
use crate::{
    base::{
        clock::Clock,
        lifecycle::Lifecycle,
        metrics::Metrics,
        outbound::Outbound,
        units::{ByteSize, Span},
    },
    config::Config,
    sealing::Key,
    session::Streams,
};

fn config() -> Config {
    let key = Key::generate().unwrap().to_text();
    let mut config = Config::default();
    config.server.public_url = Some("https://app.contoso.test".parse().unwrap());
    config.entra.tenant = Some("contoso.onmicrosoft.com".to_owned());
    config.entra.client_id = Some("11111111-2222-4333-8444-555555555555".to_owned());
    config.entra.client_secret = Some("s3cret".to_owned().into());
    config.session.keys = vec![key.into()];
    config
}

fn lasting() -> Lasting {
    Lasting {
        outbound: Outbound::new(Handle::current(), rustls::RootCertStore::empty()),
        clock: Clock::adjustable(),
        metrics: Metrics::new(),
        lifecycle: Lifecycle::new(),
        workers: 1,
        tls: None,
        revoked: Arc::default(),
        streams: Arc::new(Streams::new(Metrics::new())),
        flights: Arc::default(),
    }
}

/// Which parts `config` takes over from `former`: client, sessions, token shelf, upstream.
fn taken_over(
    former: &Assembled,
    config: Config,
    lasting: &Lasting,
    changed: &[&str],
) -> [bool; 4] {
    let changed: BTreeSet<PathBuf> = changed.iter().map(PathBuf::from).collect();
    let next =
        assemble(config, lasting, Some(Former { assembled: former, changed: &changed })).unwrap();
    [
        Arc::ptr_eq(&next.entra, &former.entra),
        Arc::ptr_eq(&next.memory.sessions, &former.memory.sessions),
        Arc::ptr_eq(&next.memory.shelf, &former.memory.shelf),
        Arc::ptr_eq(&next.upstream, &former.upstream),
    ]
}

#[tokio::test]
async fn what_did_not_change_is_taken_over_with_its_caches_and_connections() {
    let (config, lasting) = (config(), lasting());
    let former = assemble(config.clone(), &lasting, None).unwrap();
    let with = |change: fn(&mut Config)| {
        let mut changed = config.clone();
        change(&mut changed);
        taken_over(&former, changed, &lasting, &[])
    };
    assert_eq!(with(|_| {}), [true; 4]);
    assert_eq!(with(|config| config.log.user = true), [true; 4]);
    let rule = |config: &mut Config| {
        let rule = serde_json::json!([{ "path": "/a", "access": "deny" }]);
        config.rules = serde_json::from_value(rule).unwrap();
    };
    assert_eq!(with(rule), [true; 4]);
    let app = |config: &mut Config| config.upstream.idle_timeout = Span::seconds(7);
    assert_eq!(with(app), [true, true, true, false]);
    let times = |config: &mut Config| config.session.idle_timeout = Span::minutes(7);
    assert_eq!(with(times), [true, false, true, true]);
    let room = |config: &mut Config| config.session.token_cache = ByteSize::mib(1);
    assert_eq!(with(room), [true, false, false, true]);
    let secret = |config: &mut Config| config.entra.client_secret = Some("other".to_owned().into());
    assert_eq!(with(secret), [false, false, true, true]);
    let url = |config: &mut Config| {
        config.server.public_url = Some("https://other.contoso.test".parse().unwrap());
    };
    assert_eq!(with(url), [false, false, true, true]);
}

#[tokio::test]
async fn a_file_with_other_contents_counts_as_a_change_of_the_section_that_names_it() {
    let file = std::env::temp_dir().join(format!("vestibule-changed-keys-{}", std::process::id()));
    fs::write(&file, Key::generate().unwrap().to_text()).unwrap();
    let (mut config, lasting) = (config(), lasting());
    config.session.keys.clear();
    config.session.keys_file = Some(file.clone());
    let former = assemble(config.clone(), &lasting, None).unwrap();
    assert_eq!(taken_over(&former, config.clone(), &lasting, &["/other"]), [true; 4]);
    let changed = [file.to_str().unwrap()];
    assert_eq!(taken_over(&former, config, &lasting, &changed), [true, false, true, true]);
    fs::remove_file(&file).unwrap();
}

#[test]
fn a_drain_before_the_signal_counts_towards_the_time_to_look_away() {
    let seconds = Duration::from_secs;
    assert_eq!(grace(seconds(30), seconds(0)), seconds(5));
    assert_eq!(grace(seconds(30), seconds(3)), seconds(2));
    assert_eq!(grace(seconds(30), seconds(15)), seconds(0));
    assert_eq!(grace(seconds(4), seconds(0)), seconds(2));
}
