//! The program under a service manager: systemd's notifications over a socket of the test.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::UnixDatagram, time::timeout};

use crate::support::{Fixture, free_port, scratch_file, vestibule};

/// Longest wait for a word; tests do not rely on it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays the manager.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn listen() -> Self {
        let path = scratch_file("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    async fn hears(&self) -> String {
        let mut bytes = [0; 4096];
        let n = timeout(PATIENCE, self.socket.recv(&mut bytes)).await.expect("a word in time");
        String::from_utf8(bytes[..n.unwrap()].to_vec()).unwrap()
    }

    /// What is heard until `word`, itself included; signs of life do not count.
    async fn hears_until(&self, word: &str) -> Vec<String> {
        let mut heard = Vec::new();
        while heard.last().is_none_or(|last: &String| last != word) {
            let next = self.hears().await;
            if next != "WATCHDOG=1" || word == next {
                heard.push(next);
            }
        }
        heard
    }
}

#[tokio::test]
async fn systemd_hears_of_start_reload_life_and_end() {
    let fixture = Fixture::start("").await;
    let manager = Manager::listen();
    let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file])
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "100000")
        .start();
    assert_eq!(manager.hears().await, "READY=1");
    let heard = manager.hears_until("STATUS=ready").await;
    assert!(heard.iter().all(|word| word.starts_with("STATUS=")), "{heard:?}");
    for _ in 0..3 {
        manager.hears_until("WATCHDOG=1").await;
    }

    for (from, to) in [("workers = 1", "workers = \"many\""), ("workers = \"many\"", "workers = 1")]
    {
        // A reload that fails is over as well: the last good configuration serves.
        fixture.change(from, to);
        proxy.signal("HUP");
        let heard = manager.hears_until("READY=1").await;
        assert_eq!(heard.len(), 2, "{heard:?}");
        let moment = heard[0].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&heard[0]);
        assert!(moment.parse::<u64>().unwrap() > 0, "{heard:?}");
    }

    proxy.signal("TERM");
    assert_eq!(manager.hears_until("STOPPING=1").await, ["STOPPING=1"]);
    manager.hears_until("WATCHDOG=1").await;
    proxy.signal("TERM");
    let ended = proxy.ended().await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[tokio::test]
async fn a_start_without_microsoft_is_a_start_and_its_status_says_what_is_waited_for() {
    let fixture = Fixture::start("").await;
    fixture
        .change(&fixture.emulator.client().authority, &format!("http://127.0.0.1:{}", free_port()));
    let manager = Manager::listen();
    let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file])
        .env("NOTIFY_SOCKET", &manager.path)
        .start();
    assert_eq!(manager.hears().await, "READY=1");
    assert_eq!(manager.hears().await, "STATUS=not ready: waiting for Microsoft's metadata");
    proxy.signal("INT");
    assert_eq!(manager.hears().await, "STOPPING=1");
    assert_eq!(proxy.ended().await.code, 0);
}

#[tokio::test]
async fn a_manager_that_cannot_be_told_keeps_nobody_from_the_app() {
    let fixture = Fixture::start("").await;
    let proxy = vestibule([Path::new("run"), Path::new("--config"), &fixture.file])
        .env("NOTIFY_SOCKET", "vsock:2:1234")
        .start();
    proxy.says("the service manager cannot be told anything").await;
    proxy.says("ready: Microsoft's metadata is known").await;
    proxy.signal("INT");
    assert_eq!(proxy.ended().await.code, 0);
}
