//! Freeze windows: times at which nothing new is started. What runs already is not stopped.

use cronexpr::Crontab;
use jiff::{SignedDuration, Timestamp};

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
    /// What is wrong with the expression or the time zone, for people.
    pub fn new(cron: &str, timezone: &str, length: SignedDuration) -> Result<Self, String> {
        let expression = format!("{cron} {timezone}");
        let starts = cronexpr::parse_crontab(&expression).map_err(|error| error.to_string())?;
        Ok(Self { expression, starts, length })
    }

    /// If `now` is inside the window, when it ends.
    pub fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        let earliest = now.checked_sub(self.length).ok()?;
        let started = self.starts.find_next(earliest).ok()?.timestamp();
        // The newest start counts when windows overlap, so look on from each start that is already behind us.
        let mut newest = (started <= now).then_some(started)?;
        while let Ok(next) = self.starts.find_next(newest) {
            if next.timestamp() > now {
                break;
            }
            newest = next.timestamp();
        }
        newest.checked_add(self.length).ok().filter(|end| now < *end)
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
        assert!(FreezeWindow::new("61 2 * * *", "UTC", SignedDuration::ZERO).is_err());
        assert!(FreezeWindow::new("0 2 * * *", "Mars/Olympus", SignedDuration::ZERO).is_err());
    }
}
