//! The form of `/metrics`: `OpenMetrics`, or the older text format for a scraper that asks for it
//! and for nothing newer.

use std::fmt::Write as _;

use http::{HeaderMap, header::ACCEPT};

/// The content type of `OpenMetrics` 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The content type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Content type and text of `metrics` in the form that the caller understands.
pub(super) fn in_form(headers: &HeaderMap, metrics: String) -> (&'static str, String) {
    if wants_text(headers) { (TEXT, text(&metrics)) } else { (OPEN_METRICS, metrics) }
}

fn wants_text(headers: &HeaderMap) -> bool {
    let accepts = |media: &str| {
        let lists = headers.get_all(ACCEPT).iter().filter_map(|list| list.to_str().ok());
        lists.flat_map(|list| list.split(',')).any(|range| {
            let name = range.split(';').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case(media)
        })
    };
    accepts("text/plain") && !accepts("application/openmetrics-text")
}

/// What differs in the comments: there a counter is called with its `_total`, an info is a gauge,
/// and there is no unit and no end. Samples read the same.
fn text(metrics: &str) -> String {
    let kinds = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let kinds: std::collections::HashMap<&str, &str> = kinds.collect();
    let mut text = String::with_capacity(metrics.len());
    for line in metrics.lines() {
        let comment = line.strip_prefix("# ").and_then(|comment| comment.split_once(' '));
        let (word, name, rest) = match comment {
            Some((word @ ("HELP" | "TYPE"), rest)) => match rest.split_once(' ') {
                Some((name, rest)) => (word, name, rest),
                None => continue,
            },
            _ if line.starts_with('#') => continue,
            _ => {
                text.push_str(line);
                text.push('\n');
                continue;
            }
        };
        let (suffix, kind) = match kinds.get(name).copied() {
            Some("counter") => ("_total", "counter"),
            Some("info") => ("_info", "gauge"),
            Some(kind) => ("", kind),
            None => ("", "untyped"),
        };
        let said = if word == "TYPE" { kind } else { rest };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {word} {name}{suffix} {said}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;

    use super::*;
    use crate::base::metrics::Metrics;

    #[test]
    fn who_asks_for_the_older_format_alone_gets_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";
        for (accept, form) in [
            (None, OPEN_METRICS),
            (Some("*/*"), OPEN_METRICS),
            (Some(prometheus), OPEN_METRICS),
            (Some("text/plain"), TEXT),
            (Some("Text/Plain;version=0.0.4;q=1,*/*;q=0.1"), TEXT),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(in_form(&headers, String::new()).0, form, "{accept:?}");
        }
    }

    #[test]
    fn the_older_format_has_every_sample_and_names_them_as_it_does() {
        let metrics = Metrics::new();
        metrics.request("allow", 200, Duration::from_millis(3));
        metrics.sign_in("loop");
        let newer = metrics.render();
        let older = text(&newer);
        let samples = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(samples(&older), samples(&newer));
        for line in [
            "# TYPE vestibule_requests_total counter",
            "# HELP vestibule_sign_ins_total Sign-ins by outcome.",
            "# TYPE vestibule_request_duration_seconds histogram",
            "# TYPE vestibule_build_info gauge",
        ] {
            assert!(older.lines().any(|found| found == line), "{line} is not in {older}");
        }
        assert!(!older.contains("# UNIT") && !older.contains("# EOF"));
    }
}
