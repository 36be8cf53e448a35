//! The real stack on loopback: emulator, recording app, proxy.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use vestibule::{
    app::{self, Follow},
    base::clock::Clock,
    config::{Config, Snapshot, Source},
    emulator::{self, Emulator, Fault, Scenario},
    server::Server,
};

use super::{App, Browser, provider};

pub const ALICE: &str = "alice@contoso.test";

/// Everything that a test needs, running.
pub struct Stack {
    pub emulator: Emulator,
    pub app: App,
    pub proxy: app::Running,
    pub clock: Clock,
    pub config: Config,
    /// The configuration of `proxy`, which takes it over when told.
    pub config_file: PathBuf,
}

/// What differs from the defaults.
#[derive(Debug, Default)]
pub struct Setup {
    /// TOML, appended after the generated sections; `[[rules]]` for instance.
    pub rules: String,
    /// `section.key` → TOML value.
    pub keys: Vec<(String, String)>,
    /// Generated keys that this test does without.
    pub left_out: Vec<String>,
    /// TOML of the emulator's scenario.
    pub scenario: String,
    /// How often the proxy looks at its files by itself; else an hour, so that tests decide.
    pub look_every: Option<Duration>,
    /// Whether the test looks at a proxy that may not be ready.
    pub hasty: bool,
    /// A clock that something else shares.
    pub clock: Option<Clock>,
}

impl Setup {
    #[must_use]
    pub fn rules(mut self, rules: &str) -> Self {
        self.rules.push_str(rules);
        self
    }

    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Leaves out a key that is generated otherwise.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.left_out.push(key.to_owned());
        self
    }

    #[must_use]
    pub fn scenario(mut self, scenario: &str) -> Self {
        self.scenario.push_str(scenario);
        self
    }

    #[must_use]
    pub fn look_every(mut self, pause: Duration) -> Self {
        self.look_every = Some(pause);
        self
    }

    /// Does not wait for readiness.
    #[must_use]
    pub fn hasty(mut self) -> Self {
        self.hasty = true;
        self
    }

    /// Signs in at a scripted provider instead of the emulator, whether it runs or not.
    #[must_use]
    pub fn at_provider(mut self, origin: &str, clock: &Clock) -> Self {
        self.clock = Some(clock.clone());
        self.set("entra.authority", &format!("\"{origin}\""))
            .set("entra.tenant", &format!("\"{}\"", provider::TENANT))
            .set("entra.client_id", &format!("\"{}\"", provider::CLIENT))
            .set("entra.client_secret", &format!("\"{}\"", provider::SECRET))
    }

    pub async fn start(self) -> Stack {
        Stack::with(self).await
    }
}

impl Stack {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let clock = setup.clock.clone().unwrap_or_else(Clock::adjustable);
        let scenario = match setup.scenario.as_str() {
            "" => Scenario::default(),
            text => Scenario::parse("scenario", text).unwrap(),
        };
        let options =
            emulator::Options { scenario, clock: clock.clone(), ..emulator::Options::default() };
        let emulator = Emulator::start(options).await.unwrap();
        let app = App::start().await;
        let client = emulator.client();
        let mut tables = toml::Table::new();
        let key = vestibule::sealing::Key::generate().unwrap().to_text();
        for (key, value) in [
            ("server.listen", "\"127.0.0.1:0\"".to_owned()),
            ("server.public_url", "\"http://localhost:1\"".to_owned()),
            ("server.workers", "1".to_owned()),
            ("admin.listen", "\"127.0.0.1:0\"".to_owned()),
            ("entra.authority", format!("\"{}\"", client.authority)),
            ("entra.tenant", format!("\"{}\"", client.tenant)),
            ("entra.client_id", format!("\"{}\"", client.client_id)),
            ("entra.client_secret", format!("\"{}\"", client.client_secret)),
            ("session.keys", format!("[\"{key}\"]")),
            ("upstream.url", format!("\"{}\"", app.url())),
        ] {
            if !setup.left_out.iter().any(|left_out| left_out == key) {
                set(&mut tables, key, &value);
            }
        }
        for (key, value) in &setup.keys {
            set(&mut tables, key, value);
        }
        let config_file = scratch_file("proxy.toml");
        let read = |tables: &toml::Table| {
            let text = format!("{}\n{}", toml::to_string(tables).unwrap(), setup.rules);
            std::fs::write(&config_file, &text).unwrap();
            let source = Source::new(Some(&config_file), std::iter::empty());
            let snapshot = source.read().unwrap_or_else(|error| panic!("{error}\n{text}"));
            (source, snapshot)
        };
        let (_, Snapshot { loaded, .. }) = read(&tables);
        // Port 0 has a number only now, and browsers must be sent to that number.
        let server = Server::bind(&loaded.config.server).unwrap();
        let port = server.local_address().unwrap().port();
        let tls = setup.keys.iter().any(|(key, _)| key.starts_with("server.tls."));
        let scheme = if tls { "https" } else { "http" };
        set(&mut tables, "server.public_url", &format!("\"{scheme}://localhost:{port}\""));
        let (source, Snapshot { loaded, files }) = read(&tables);
        let config = loaded.config;
        let mut proxy = app::start_on(server, &config, clock.clone()).expect("the proxy starts");
        let follow = Follow { source, files, levels: None };
        proxy.follow(follow, setup.look_every.unwrap_or(Duration::from_hours(1)));
        if !setup.hasty {
            proxy.ready().await;
        }
        Self { emulator, app, proxy, clock, config, config_file }
    }

    /// Another proxy with the same configuration and keys, on a port of its own.
    pub async fn replica(&self) -> app::Running {
        let mut proxy = app::start(&self.config, self.clock.clone()).expect("a replica starts");
        let source = Source::new(Some(&self.config_file), std::iter::empty());
        let files = source.read().expect("a sound configuration").files;
        proxy.follow(Follow { source, files, levels: None }, Duration::from_hours(1));
        proxy.ready().await;
        proxy
    }

    /// Changes the text of the proxy's configuration file.
    pub fn rewrite(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.config_file).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        self.write(&text.replace(from, to));
    }

    /// Replaces the configuration file as editors and Kubernetes do: nobody reads half of it.
    pub fn write(&self, text: &str) {
        let draft = self.config_file.with_extension("draft");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(&draft, &self.config_file).unwrap();
    }

    /// A counter or gauge of the proxy, by its name with labels; 0 while it has never been touched.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a counter or gauge has this value.
    pub async fn metric_becomes(&self, name: &str, value: u64) {
        let becomes = async { while self.metric(name).await != value {} };
        let became = tokio::time::timeout(Duration::from_secs(20), becomes).await.is_ok();
        assert!(became, "{name} is not {value} in {}", self.admin("/metrics").await.text());
    }

    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.proxy.address().unwrap().port())
    }

    pub fn browser(&self) -> Browser {
        Browser::new(&self.origin())
    }

    /// A browser in which `user` has just signed in.
    pub async fn signed_in(&self, user: &str) -> Browser {
        let mut browser = self.browser().as_user(user);
        let page = browser.navigate("/").await;
        assert_eq!(page.status, 200, "{}", page.text());
        browser
    }

    pub fn fault(&self, json: serde_json::Value) {
        self.emulator.fault(serde_json::from_value::<Fault>(json).unwrap());
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub fn token_calls(&self) -> usize {
        self.emulator.request_count("token")
    }

    /// Sends bytes as they are and returns what comes back until the proxy closes.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy.address().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(20), read).await.expect("an end");
        answer.iter().map(|byte| char::from(*byte)).collect()
    }

    /// `GET` on the admin port.
    pub async fn admin(&self, path: &str) -> super::Page {
        let origin = format!("http://{}", self.proxy.admin_address());
        Browser::new(&origin).get(path).await
    }

    pub fn host(&self) -> String {
        format!("localhost:{}", self.proxy.address().unwrap().port())
    }
}

fn set(tables: &mut toml::Table, key: &str, value: &str) {
    let (sections, key) = key.rsplit_once('.').unwrap();
    let parsed: toml::Table = toml::from_str(&format!("x = {value}")).unwrap();
    let table = sections.split('.').fold(tables, |table, section| {
        let table = table.entry(section).or_insert_with(|| toml::Table::new().into());
        table.as_table_mut().unwrap()
    });
    table.insert(key.to_owned(), parsed["x"].clone());
}

/// A file of this test alone.
pub fn scratch_file(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("vestibule-it-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}
