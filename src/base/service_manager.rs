//! What a service manager is told about this process: systemd's notification protocol (`sd_notify`(3)).
//!
//! It is a datagram of `NAME=value` lines to the Unix socket that `$NOTIFY_SOCKET` names. Without that
//! variable nobody listens, and nothing is sent.

#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::{
        ffi::OsStrExt,
        net::{SocketAddr, UnixDatagram},
    },
    process,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Why a service manager that wants to be told cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ServiceManagerError {
    /// Neither a path nor an abstract name.
    #[error("NOTIFY_SOCKET names no Unix socket")]
    Address(#[source] io::Error),
    /// The system has no socket for us.
    #[error("no socket for the service manager")]
    Socket(#[source] io::Error),
}

/// Who started us, if they want to be told how it goes.
#[derive(Debug, Default)]
pub struct ServiceManager {
    link: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that left its address in this environment.
    ///
    /// # Errors
    /// See [`ServiceManagerError`].
    pub fn of(
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ServiceManagerError> {
        let (mut name, mut micros, mut watched) = (None, None, None);
        for (variable, value) in environment {
            match variable.as_bytes() {
                b"NOTIFY_SOCKET" if !value.is_empty() => name = Some(value),
                b"WATCHDOG_USEC" => micros = number(&value),
                b"WATCHDOG_PID" => watched = number(&value),
                _ => {}
            }
        }
        let Some(name) = name else { return Ok(Self::default()) };
        let address = address(&name).map_err(ServiceManagerError::Address)?;
        let socket = UnixDatagram::unbound().map_err(ServiceManagerError::Socket)?;
        // A manager that does not read must not hold us up.
        socket.set_nonblocking(true).map_err(ServiceManagerError::Socket)?;
        // Variables are inherited: the watchdog of a parent is not ours (sd_watchdog_enabled(3)).
        let is_ours = watched.is_none_or(|pid: u64| pid == u64::from(process::id()));
        let watchdog = micros.filter(|micros| is_ours && *micros > 0).map(Duration::from_micros);
        Ok(Self { link: Some((socket, address)), watchdog })
    }

    /// Start-up, or a reload, is over: requests are served.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// What a person reads in `systemctl status`.
    pub fn status(&self, words: &str) {
        self.tell(&format!("STATUS={words}"));
    }

    /// The configuration is being read again; [`ServiceManager::ready`] ends that, however it went.
    ///
    /// `notify-reload` services (systemd 253) must name a moment after the signal, by
    /// `CLOCK_MONOTONIC`.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The process is about to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// A sign of life.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How often a sign of life should be given: twice in the time after which we count as hung.
    pub fn sign_every(&self) -> Option<Duration> {
        self.watchdog.map(|longest| longest / 2)
    }

    /// A manager that has gone away, or does not read, is no reason to stop serving.
    fn tell(&self, lines: &str) {
        let Some((socket, address)) = &self.link else { return };
        if let Err(error) = socket.send_to_addr(lines.as_bytes(), address) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}

fn number(text: &OsStr) -> Option<u64> {
    text.to_str()?.parse().ok()
}

/// A path, or an abstract name behind `@`.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use super::*;

    fn socket(name: &str) -> (PathBuf, UnixDatagram) {
        let path = env::temp_dir().join(format!("vestibule-notify-{}-{name}", process::id()));
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        (path, socket)
    }

    fn manager(variables: &[(&str, &OsStr)]) -> Result<ServiceManager, ServiceManagerError> {
        ServiceManager::of(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let n = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..n].to_vec()).unwrap()
    }

    #[test]
    fn each_message_is_one_datagram_in_the_words_of_systemd() {
        let (path, socket) = socket("words");
        let manager = manager(&[("NOTIFY_SOCKET", path.as_os_str())]).unwrap();
        manager.ready();
        manager.status("waiting");
        manager.alive();
        manager.stopping();
        let all: Vec<String> = (0..4).map(|_| heard(&socket)).collect();
        assert_eq!(all, ["READY=1", "STATUS=waiting", "WATCHDOG=1", "STOPPING=1"]);
        manager.reloading();
        let first = heard(&socket);
        manager.reloading();
        let second = heard(&socket);
        let micros = |text: &str| -> u64 {
            text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap()
        };
        assert!(micros(&first) > 0 && micros(&first) <= micros(&second), "{first} {second}");
        fs::remove_file(path).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_abstract_name_begins_with_an_at_sign() {
        let name = format!("vestibule-notify-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        manager(&[("NOTIFY_SOCKET", OsStr::new(&format!("@{name}")))]).unwrap().ready();
        assert_eq!(heard(&socket), "READY=1");
    }

    #[test]
    fn the_watchdog_is_ours_unless_it_names_another_process() {
        let name = OsStr::new("/run/nobody");
        let own = OsString::from(process::id().to_string());
        let half = Some(Duration::from_secs(15));
        for (pid, expected) in [(None, half), (Some(&*own), half), (Some(OsStr::new("1")), None)] {
            let mut variables =
                vec![("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", OsStr::new("30000000"))];
            variables.extend(pid.map(|pid| ("WATCHDOG_PID", pid)));
            assert_eq!(manager(&variables).unwrap().sign_every(), expected, "{pid:?}");
        }
        for micros in ["0", "-1", "soon", ""] {
            let variables = [("NOTIFY_SOCKET", name), ("WATCHDOG_USEC", OsStr::new(micros))];
            assert_eq!(manager(&variables).unwrap().sign_every(), None, "{micros}");
        }
    }

    #[test]
    fn without_a_manager_nothing_is_sent_and_one_that_is_gone_harms_nobody() {
        let nobody = manager(&[("WATCHDOG_USEC", OsStr::new("30000000"))]).unwrap();
        assert_eq!(nobody.sign_every(), None);
        nobody.ready();
        let gone = manager(&[("NOTIFY_SOCKET", OsStr::new("/nonexistent/notify"))]).unwrap();
        gone.ready();
        assert!(manager(&[("NOTIFY_SOCKET", OsStr::new(""))]).unwrap().link.is_none());
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for name in ["vsock:2:1234", "relative"] {
            let error = manager(&[("NOTIFY_SOCKET", OsStr::new(name))]).unwrap_err();
            assert!(matches!(error, ServiceManagerError::Address(_)), "{name}: {error}");
        }
    }
}
