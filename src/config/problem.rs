//! What is wrong with a configuration: every problem of one run, each tied to its key and to the
//! place that set it. No secret is ever part of it.

use std::{fmt, io, ops::Range, path::PathBuf};

use annotate_snippets::{Level, Renderer};

use crate::base::document::{Document, DocumentError};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for, or that was found, cannot be read.
    #[error("cannot read the configuration {}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("the configuration {} is larger than 1 MiB", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The file is not TOML.
    #[error(transparent)]
    Syntax(DocumentError),
    /// Keys or values are wrong.
    #[error("{0}")]
    Problems(Box<Problems>),
}

impl ConfigError {
    /// The error for people: each problem with a picture of its line.
    pub fn picture(&self, renderer: &Renderer) -> String {
        match self {
            Self::Problems(problems) => problems.picture(renderer),
            Self::Unreadable { .. } | Self::TooLarge { .. } | Self::Syntax(_) => {
                renderer.render(&[annotate_snippets::Group::with_title(
                    Level::ERROR.primary_title(self.to_string()),
                )])
            }
        }
    }
}

/// Every problem of one configuration. `Display` is one line each:
/// `file:line:column: key: what was expected`.
#[derive(Debug)]
pub struct Problems {
    document: Option<Document>,
    all: Vec<Problem>,
    /// Byte ranges of the file that may hold a secret.
    hidden: Vec<Range<usize>>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Problem {
    /// The key as people write it: `entra.client_id`, `rules[0].path`.
    pub(super) key: String,
    pub(super) place: Place,
    /// What was expected, without the value that was found.
    pub(super) message: String,
    /// What to write instead.
    pub(super) hint: Option<String>,
}

/// Who set a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    /// The file, at a range of bytes.
    File(Range<usize>),
    /// An environment variable.
    Variable(String),
    /// Nobody.
    Nowhere,
}

impl Problems {
    pub(super) fn new(
        document: Option<Document>,
        mut all: Vec<Problem>,
        hidden: Vec<Range<usize>>,
    ) -> Self {
        // What has a line comes first, in the file's order; the rest keeps its own.
        all.sort_by_key(|problem| match &problem.place {
            Place::File(span) => (0, span.start),
            Place::Variable(_) => (1, 0),
            Place::Nowhere => (2, 0),
        });
        Self { document, all, hidden }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Never true of a [`ConfigError`].
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The dotted keys that are wrong, in the order of the report.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|problem| problem.key.as_str())
    }

    fn picture(&self, renderer: &Renderer) -> String {
        let mut pictures: Vec<String> =
            self.all.iter().map(|problem| self.draw(problem, renderer)).collect();
        let count = match pictures.len() {
            1 => "1 problem".to_owned(),
            many => format!("{many} problems"),
        };
        let note = match self.document {
            Some(_) => "",
            None => {
                "; no file was read, since there is no ./proxy.toml and no /etc/vestibule/proxy.toml"
            }
        };
        pictures.push(format!("the configuration has {count}{note}"));
        pictures.join("\n\n")
    }

    fn draw(&self, problem: &Problem, renderer: &Renderer) -> String {
        let hint = problem.hint.as_deref().unwrap_or_default();
        let title = format!("{}: {}", problem.key, problem.message);
        if let (Place::File(span), Some(document)) = (&problem.place, &self.document) {
            return document.picture(renderer, &title, span.clone(), hint, &self.hidden);
        }
        let mut group = annotate_snippets::Group::with_title(Level::ERROR.primary_title(title));
        if let Place::Variable(name) = &problem.place
            && *name != problem.key
        {
            group = group.element(Level::NOTE.message(format!("set by the variable {name}")));
        }
        if !hint.is_empty() {
            group = group.element(Level::HELP.message(hint));
        }
        renderer.render(&[group])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.all.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            match (&problem.place, &self.document) {
                (Place::File(span), Some(document)) => {
                    write!(f, "{}:{}: ", document.name(), document.position(span.start))?;
                }
                (Place::Variable(name), _) => write!(f, "{name}: ")?,
                _ => {}
            }
            // An unknown variable is its own key.
            if !matches!(&problem.place, Place::Variable(name) if *name == problem.key) {
                write!(f, "{}: ", problem.key)?;
            }
            f.write_str(&problem.message)?;
            if let Some(hint) = &problem.hint {
                write!(f, "; {hint}")?;
            }
        }
        Ok(())
    }
}

/// The nearest of the known names, where one is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}
