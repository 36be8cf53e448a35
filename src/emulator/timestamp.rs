//! Times as Microsoft's answers write them.

/// `2026-01-31 23:59:59Z`, as in error bodies.
pub(crate) fn of_error(unix: i64) -> String {
    let (date, time) = parts(unix);
    format!("{date} {time}Z")
}

/// `2026-01-31T23:59:59`, as in Graph's `innerError`.
pub(crate) fn of_graph(unix: i64) -> String {
    let (date, time) = parts(unix);
    format!("{date}T{time}")
}

fn parts(unix: i64) -> (String, String) {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let date = format!("{year:04}-{month:02}-{day:02}");
    (date, format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60))
}

/// The date that lies `days` after 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
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
