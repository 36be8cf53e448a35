//! The program itself: SIGHUP takes the configuration over, and memory is never dumped.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use http::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{sync::mpsc, time::timeout};

use crate::support::{Browser, Stack};

/// The program with its log. Ends with the test.
struct Program {
    child: Child,
    log: mpsc::UnboundedReceiver<String>,
}

impl Program {
    fn run(config: &std::path::Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .args(["run", "--config"])
            .arg(config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (lines, received) = mpsc::unbounded_channel();
        thread::spawn(move || {
            log.lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
        });
        Self { child, log: received }
    }

    /// Waits for a line of the log that has `text` in it; returns all that were said until then.
    async fn says(&mut self, text: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let Ok(Some(line)) = timeout(Duration::from_secs(20), self.log.recv()).await else {
                panic!("{text} was not said:\n{}", heard.join("\n"));
            };
            let wanted = line.contains(text);
            heard.push(line);
            if wanted {
                return heard;
            }
        }
    }

    fn hang_up(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::HUP).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn j1_a_hangup_takes_rules_and_log_level_over_and_no_memory_is_dumped() {
    let stack = Stack::start().await;
    let port = free_port();
    let origin = format!("http://localhost:{port}");
    stack.rewrite("127.0.0.1:0\"\npublic_url", &format!("127.0.0.1:{port}\"\npublic_url"));
    stack.rewrite(&stack.origin(), &origin);
    let base = fs::read_to_string(&stack.config_file).unwrap();
    let with = |level: &str, rules: &str| {
        stack.write(&format!("{base}\n[log]\nlevel = \"{level}\"\n{rules}"));
    };
    with("info", "");
    let mut program = Program::run(&stack.config_file);
    program.says("ready: ").await;
    let mut browser = Browser::new(&origin);
    assert_eq!(browser.fetch(Method::GET, "/open").await.status, 401);
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.child.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"]);

    with("vestibule::access=warn", "[[rules]]\npath = \"/open\"\naccess = \"anonymous\"\n");
    program.hang_up();
    program.says("the configuration was taken over").await;
    assert_eq!(browser.fetch(Method::GET, "/open").await.status, 200);

    stack.write("[server]\nlisten = 5\nsecret = \"hunter2\"\n");
    program.hang_up();
    let heard = program.says("proxy.toml:2:").await;
    // Access lines were turned off by the reload before.
    assert!(!heard.iter().any(|line| line.contains("\"path\":\"/open\"")), "{heard:#?}");
    assert!(heard.last().unwrap().contains("the changed configuration is not used"), "{heard:#?}");
    assert!(!heard.concat().contains("hunter2"), "{heard:#?}");
    assert_eq!(browser.fetch(Method::GET, "/open").await.status, 200);

    with("info", "");
    stack.rewrite(&format!("127.0.0.1:{port}"), "127.0.0.1:1");
    program.hang_up();
    let heard = program.says("needs a restart").await;
    assert!(heard.last().unwrap().contains("server.listen"), "{heard:#?}");
    program.says("the configuration was taken over").await;
    assert_eq!(browser.fetch(Method::GET, "/open").await.status, 401);
    program.says("\"path\":\"/open\"").await;
}
