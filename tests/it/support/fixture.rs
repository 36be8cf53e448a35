//! A child process in front of an app and an emulator that run in the test.

use std::path::PathBuf;

use vestibule::emulator::{self, Emulator};

use super::{App, config_file, free_port};

/// A session key that nobody else uses.
pub const KEY: &str = "ZWoF1h8O0WN/NwXx3/f3CmlSh2wZpzVifNTe8sZGY+k=";

/// What the child stands between, and how it is told so.
#[derive(Debug)]
pub struct Fixture {
    pub emulator: Emulator,
    pub app: App,
    pub port: u16,
    pub admin: u16,
    /// The configuration.
    pub file: PathBuf,
}

impl Fixture {
    /// `more` is TOML for the end of the configuration.
    pub async fn start(more: &str) -> Self {
        let emulator = Emulator::start(emulator::Options::default()).await.unwrap();
        let app = App::start().await;
        let (port, admin) = (free_port(), free_port());
        let client = emulator.client();
        let file = config_file(&format!(
            "[server]\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://localhost:{port}\"\n\
             workers = 1\ndrain_timeout = \"10s\"\n\
             [admin]\nlisten = \"127.0.0.1:{admin}\"\n\
             [entra]\nauthority = \"{}\"\ntenant = \"{}\"\nclient_id = \"{}\"\n\
             client_secret = \"{}\"\n\
             [session]\nkeys = [\"{KEY}\"]\n[upstream]\nurl = \"{}\"\n{more}",
            client.authority,
            client.tenant,
            client.client_id,
            client.client_secret,
            app.url(),
        ));
        Self { emulator, app, port, admin, file }
    }

    pub fn origin(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    /// Another configuration: `from` of the present one becomes `to`.
    pub fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&self.file, text.replace(from, to)).unwrap();
    }
}
