//! Times as Microsoft's answers write them.

use crate::base::clock::rfc3339;

/// `2026-01-31 23:59:59Z`, as in error bodies.
pub(crate) fn of_error(unix: i64) -> String {
    rfc3339(unix).replace('T', " ")
}

/// `2026-01-31T23:59:59`, as in Graph's `innerError`.
pub(crate) fn of_graph(unix: i64) -> String {
    rfc3339(unix).replace('Z', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leap_days_and_year_ends_are_where_they_belong() {
        assert_eq!(of_error(0), "1970-01-01 00:00:00Z");
        assert_eq!(of_error(951_782_399), "2000-02-28 23:59:59Z");
        assert_eq!(of_error(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(of_graph(1_798_761_599), "2026-12-31T23:59:59");
    }
}
