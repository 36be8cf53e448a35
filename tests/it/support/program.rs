//! The binary as a child process: what a script or an operator sees of it.

use std::{
    ffi::OsStr,
    fs::File,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{sync::mpsc, task::spawn_blocking, time::timeout};

use super::scratch_file;

/// Longest wait for a child; tests do not rely on it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A command line that is to be run.
#[derive(Debug)]
pub struct Program {
    command: Command,
}

/// What came of it.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A child that runs. It is killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    stdout: String,
    stderr: Arc<Mutex<String>>,
}

/// `vestibule` with these arguments, in an empty folder and an empty environment.
pub fn vestibule<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command.current_dir(scratch_file("x").parent().unwrap());
    Program { command }
}

impl Program {
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// What it reads from standard input.
    #[must_use]
    pub fn input(mut self, text: &str) -> Self {
        let file = scratch_file("stdin");
        std::fs::write(&file, text).unwrap();
        self.command.stdin(File::open(file).unwrap());
        self
    }

    /// Runs it to its end.
    pub async fn ended(mut self) -> Ended {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = spawn_blocking(move || self.command.output().unwrap());
        let output = timeout(PATIENCE, output).await.expect("the command ends").unwrap();
        Ended {
            code: output.status.code().expect("an exit code"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut line = String::new();
            while out.read_line(&mut line).is_ok_and(|n| n > 0) {
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
        let stderr = Arc::<Mutex<String>>::default();
        let mut errors = child.stderr.take().unwrap();
        let seen = Arc::clone(&stderr);
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = errors.read(&mut buffer) {
                seen.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
            }
        });
        Running { child, lines, stdout: String::new(), stderr }
    }
}

impl Running {
    /// The next line of stdout.
    pub async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.recv()).await.expect("a line in time");
        let line = line.unwrap_or_else(|| panic!("stdout has ended:\n{}", self.stderr()));
        self.stdout.push_str(&line);
        line
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// Waits until stderr has these words.
    pub async fn says(&self, words: &str) {
        let seen = async {
            while !self.stderr().contains(words) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let told = timeout(PATIENCE, seen).await;
        assert!(told.is_ok(), "{words:?} is not in\n{}", self.stderr());
    }

    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> Ended {
        let all = async {
            while let Some(line) = self.lines.recv().await {
                self.stdout.push_str(&line);
            }
        };
        timeout(PATIENCE, all).await.expect("the child ends");
        let status: ExitStatus = self.child.wait().unwrap();
        Ended {
            code: status.code().expect("an exit code"),
            stdout: std::mem::take(&mut self.stdout),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that is free now and that the kernel gives to nobody who asks for any.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + u16::try_from(std::process::id() % 150).unwrap() * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).is_ok() {
            return port;
        }
    }
}

/// A configuration file of this test alone.
pub fn config_file(text: &str) -> PathBuf {
    let file = scratch_file("proxy.toml");
    std::fs::write(&file, text).unwrap();
    file
}
