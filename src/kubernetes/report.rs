//! What was done, what was left, and what only the user can do.

use std::fmt;

/// The report of one run, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was changed.
    pub done: Vec<Note>,
    /// What was seen and not changed, with the reason.
    pub left: Vec<Note>,
    /// What only the user can do, in sentences.
    pub todo: Vec<String>,
    /// The paths of the app's probes that go through the proxy, without the query.
    pub probe_paths: Vec<String>,
    /// The ports that the apps listen on.
    pub app_ports: Vec<u16>,
}

/// A sentence about one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// `app.yaml: Deployment shop`.
    pub place: String,
    /// What about it.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl Report {
    pub(super) fn done(&mut self, place: &str, text: impl Into<String>) {
        self.done.push(Note { place: place.to_owned(), text: text.into() });
    }

    pub(super) fn left(&mut self, place: &str, text: impl Into<String>) {
        self.left.push(Note { place: place.to_owned(), text: text.into() });
    }

    /// Something to do; once, however many objects ask for it.
    pub(super) fn todo(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.todo.contains(&text) {
            self.todo.push(text);
        }
    }

    pub(super) fn probe(&mut self, path: &str) {
        // The rules judge the path alone.
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = format!("/{}", path.strip_prefix('/').unwrap_or(path));
        if !self.probe_paths.contains(&path) {
            self.probe_paths.push(path);
        }
    }

    pub(super) fn app_port(&mut self, port: u16) {
        if !self.app_ports.contains(&port) {
            self.app_ports.push(port);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, notes) in [("done", &self.done), ("left as it was", &self.left)] {
            if !notes.is_empty() {
                writeln!(f, "{title}")?;
                notes.iter().try_for_each(|note| writeln!(f, "  {note}"))?;
            }
        }
        if !self.todo.is_empty() {
            writeln!(f, "for you to do")?;
            for (index, text) in self.todo.iter().enumerate() {
                writeln!(f, "  {}. {}", index + 1, text.replace('\n', "\n     "))?;
            }
        }
        Ok(())
    }
}
