//! Freeze windows: times at which nothing new is started. What runs already is not stopped.

use cronexpr::Crontab;
use jiff::{SignedDuration, Timestamp};

/// Cron knows no shorter step, so two starts are never closer.
const STEP: SignedDuration = SignedDuration::from_mins(1);
/// A longer freeze is a pause.
const LONGEST: SignedDuration = SignedDuration::from_hours(366 * 24);

/// A recurring window: opens at each time that the cron expression names, in its time zone, and lasts `length`.
#[derive(Clone, Debug)]
pub struct FreezeWindow {
    expression: String,
    starts: Crontab,
    length: SignedDuration,
}

impl PartialEq for FreezeWindow {
    fn eq(&self, other: &Self) -> bool {
        self.expression == other.expression && self.length == other.length
    }
}

impl FreezeWindow {
    /// Reads a five-field cron expression.
    ///
    /// # Errors
    /// What is wrong with the expression, the time zone or the length, for people.
    pub fn new(cron: &str, timezone: &str, length: SignedDuration) -> Result<Self, String> {
        if length <= SignedDuration::ZERO || length > LONGEST {
            return Err(format!("it lasts {length:#}; it must be more than nothing and at most a year"));
        }
        let expression = format!("{cron} {timezone}");
        // The parser draws the expression with a caret below; what it found stands behind the caret.
        let told = |error: cronexpr::Error| {
            let text = error.to_string();
            let found = text.lines().last().unwrap_or_default().trim_start_matches([' ', '^']);
            found.split("; for a list").next().unwrap_or(found).to_owned()
        };
        let starts = cronexpr::parse_crontab(&expression).map_err(told)?;
        Ok(Self { expression, starts, length })
    }

    /// If `now` is inside the window, when it ends.
    pub fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        let next = |after: Timestamp| self.starts.find_next(after).ok().map(|it| it.timestamp());
        let earliest = now.checked_sub(self.length).ok()?;
        let mut newest = next(earliest).filter(|start| *start <= now)?;
        // The newest start counts when windows overlap. It is found by halving: a window of a day that starts each minute
        // would otherwise cost more than a thousand steps for each signal of a storm.
        let mut until = now;
        while until.duration_since(newest) >= STEP {
            let middle = newest.checked_add(until.duration_since(newest) / 2).ok()?;
            match next(middle).filter(|start| *start <= now) {
                Some(start) => newest = start,
                None => until = middle,
            }
        }
        // It started less than a length ago, so this lies ahead.
        newest.checked_add(self.length).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_closed_from_its_start_to_its_length_in_its_own_time_zone() {
        // 02:00 in Berlin is 01:00 UTC in winter.
        let window = FreezeWindow::new("0 2 * * *", "Europe/Berlin", SignedDuration::from_hours(2)).unwrap();
        for (at, end) in [
            ("2026-01-10T00:59:59Z", None),
            ("2026-01-10T01:00:00Z", Some("2026-01-10T03:00:00Z")),
            ("2026-01-10T02:59:59Z", Some("2026-01-10T03:00:00Z")),
            ("2026-01-10T03:00:00Z", None),
        ] {
            let end: Option<Timestamp> = end.map(|end| end.parse().unwrap());
            assert_eq!(window.ends(at.parse().unwrap()), end, "{at}");
        }
    }

    #[test]
    fn of_overlapping_windows_the_newest_start_counts() {
        let window = FreezeWindow::new("*/5 * * * *", "UTC", SignedDuration::from_hours(24)).unwrap();
        for (at, end) in [
            ("2026-01-10T12:04:59Z", "2026-01-11T12:00:00Z"),
            ("2026-01-10T12:05:00Z", "2026-01-11T12:05:00Z"),
            ("2026-01-10T12:05:59Z", "2026-01-11T12:05:00Z"),
        ] {
            assert_eq!(window.ends(at.parse().unwrap()), Some(end.parse().unwrap()), "{at}");
        }
    }

    #[test]
    fn windows_are_the_same_if_they_open_and_last_alike() {
        let hours = SignedDuration::from_hours;
        let window = |cron, zone, length| FreezeWindow::new(cron, zone, length).unwrap();
        let one = window("0 2 * * *", "UTC", hours(2));
        assert_eq!(one, window("0 2 * * *", "UTC", hours(2)));
        assert_ne!(one, window("0 3 * * *", "UTC", hours(2)));
        assert_ne!(one, window("0 2 * * *", "Europe/Berlin", hours(2)));
        assert_ne!(one, window("0 2 * * *", "UTC", hours(1)));
    }

    #[test]
    fn a_window_lasts_a_leap_year_at_most() {
        let year = SignedDuration::from_hours(366 * 24);
        let window = |length| FreezeWindow::new("0 0 1 1 *", "UTC", length);
        assert!(window(year).is_ok() && window(year + SignedDuration::from_secs(1)).is_err());
    }

    #[test]
    fn what_is_no_window_is_refused_with_a_reason() {
        let hour = SignedDuration::from_hours(1);
        for (cron, timezone, length) in [
            ("61 2 * * *", "UTC", hour),
            ("0 2 * * *", "Mars/Olympus", hour),
            ("", "UTC", hour),
            ("0 2 * * *", "UTC", SignedDuration::ZERO),
            ("0 2 * * *", "UTC", -hour),
            ("0 2 * * *", "UTC", hour * 24 * 400),
        ] {
            assert!(!FreezeWindow::new(cron, timezone, length).unwrap_err().is_empty(), "{cron} {timezone} {length}");
        }
    }
}
