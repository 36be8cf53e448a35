//! A real `redis-server` of one test alone.

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Once,
    time::{Duration, Instant},
};

use super::{program::free_port, stack::scratch_file};

/// A running server. Ends when dropped.
pub struct Redis {
    pub port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    child: Child,
}

/// Holds what a server is killed with, and nothing that it is not asked to keep.
const OPTIONS: [&str; 10] = [
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--dbfilename",
    "dump.rdb",
    "--loglevel",
    "warning",
];

impl Redis {
    /// A server with these options, on a port and in a folder of its own. `None` unless
    /// `VESTIBULE_TEST_REDIS=1`: the rest of the tests needs no server to be installed.
    pub fn start(options: &[&str]) -> Option<Self> {
        let port = free_port();
        Self::launch(port, |_| {
            let port = port.to_string();
            let port = ["--port", port.as_str()];
            OPTIONS.iter().chain(&port).chain(options).map(|text| (*text).to_owned()).collect()
        })
    }

    /// A server that speaks TLS alone, with these files.
    pub fn start_tls(certificate: &Path, key: &Path) -> Option<Self> {
        let port = free_port();
        Self::launch(port, |_| {
            let (port, certificate, key) =
                (port.to_string(), certificate.to_str().unwrap(), key.to_str().unwrap());
            let tls = [
                "--port",
                "0",
                "--tls-port",
                port.as_str(),
                "--tls-cert-file",
                certificate,
                "--tls-key-file",
                key,
                "--tls-auth-clients",
                "no",
            ];
            OPTIONS.iter().chain(&tls).map(|text| (*text).to_owned()).collect()
        })
    }

    /// A sentinel that watches `master` under the name `vestibule`.
    pub fn start_sentinel(master: &Self) -> Option<Self> {
        let port = free_port();
        Self::launch(port, |folder| {
            let file = folder.join("sentinel.conf");
            let lines = [
                format!("port {port}"),
                "bind 127.0.0.1".to_owned(),
                format!("dir {}", folder.display()),
                format!("sentinel monitor vestibule 127.0.0.1 {} 1", master.port),
                "sentinel down-after-milliseconds vestibule 500".to_owned(),
            ];
            std::fs::write(&file, lines.join("\n")).unwrap();
            vec![file.to_str().unwrap().to_owned(), "--sentinel".to_owned()]
        })
    }

    fn launch(port: u16, arguments: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "tests are not configured")]
        let wanted = std::env::var_os("VESTIBULE_TEST_REDIS").is_some_and(|value| value == "1");
        if !wanted {
            static ONCE: Once = Once::new();
            // Past the test harness, which swallows what a passing test prints.
            ONCE.call_once(|| {
                let told =
                    b"tests against redis-server are left out: VESTIBULE_TEST_REDIS is not 1\n";
                let _ = std::io::stderr().write_all(told);
            });
            return None;
        }
        let folder = scratch_file("redis").parent().unwrap().to_owned();
        let arguments = arguments(&folder);
        let child = spawn(&folder, &arguments);
        let redis = Self { port, folder, arguments, child };
        redis.wait();
        Some(redis)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// What the server answers to one command.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &[&[u8]]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(2)).unwrap();
        let mut packed = redis::Cmd::new();
        for part in command {
            packed.arg(*part);
        }
        packed.query(&mut connection).unwrap()
    }

    /// The keys that end in `kind`.
    pub fn keys(&self, kind: &str) -> Vec<Vec<u8>> {
        self.ask(&[b"KEYS", format!("*:{kind}").as_bytes()])
    }

    /// The only key that ends in `kind`.
    pub fn key(&self, kind: &str) -> Vec<u8> {
        let keys = self.keys(kind);
        assert_eq!(keys.len(), 1, "{kind}");
        keys.into_iter().next().unwrap()
    }

    /// Ends the server at once; what it holds is there again after [`Redis::restart`].
    pub fn kill(&mut self) {
        self.ask::<()>(&[b"SAVE"]);
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.child = spawn(&self.folder, &self.arguments);
        self.wait();
    }

    /// The server answers nobody any more, and its connections stay open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits until the server listens.
    fn wait(&self) {
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("redis-server is not installed: `apt-get install redis-server`")
        }
        Err(error) => panic!("redis-server: {error}"),
    }
}
