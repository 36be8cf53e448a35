//! An error with its causes on one line: `cannot connect: connection refused`.

use std::{error::Error, fmt};

/// Displays an error and all its causes.
#[derive(Clone, Copy, Debug)]
pub struct Causes<'a>(pub &'a dyn Error);

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors already end with what their cause says.
            if !told.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            told = text;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the file")]
    struct Outer(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("it failed: {0}")]
    struct Repeating(#[source] io::Error);

    #[test]
    fn causes_follow_their_error_and_are_not_repeated() {
        let cause = || io::Error::other("disk on fire");
        assert_eq!(Causes(&Outer(cause())).to_string(), "cannot read the file: disk on fire");
        assert_eq!(Causes(&Repeating(cause())).to_string(), "it failed: disk on fire");
        assert_eq!(Causes(&cause()).to_string(), "disk on fire");
    }
}
