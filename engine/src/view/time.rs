//! Durations as people write and read them.

use jiff::{SignedDuration, Timestamp};

/// Reads `90s`, `2h30m`, `7d`.
///
/// # Errors
/// What is wrong with it, for people.
pub fn duration(text: &str) -> Result<SignedDuration, String> {
    const DAY: i64 = 24;
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok());
    let read = match days {
        // A day of a duration is 24 hours; the reader knows none, since a day of a calendar is not always that long.
        Some(days) => Ok(SignedDuration::from_hours(DAY * i64::from(days))),
        None => text.parse::<SignedDuration>(),
    };
    match read {
        Ok(duration) if duration > SignedDuration::ZERO => Ok(duration),
        Ok(_) => Err(format!("`{text}` is not longer than nothing")),
        Err(_) => Err(format!("`{text}` is no duration: write 90s, 2h30m or 7d")),
    }
}

/// In the one or two units that matter: `42s`, `5m50s`, `3h`, `2d4h`.
pub fn short(duration: SignedDuration) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let total = duration.as_secs().max(0);
    let Some(at) = UNITS.iter().position(|(size, _)| total >= *size) else { return "0s".to_owned() };
    let (size, unit) = UNITS[at];
    let text = format!("{}{unit}", total / size);
    match UNITS.get(at + 1) {
        Some((smaller, unit)) if total % size >= *smaller => format!("{text}{}{unit}", total % size / smaller),
        _ => text,
    }
}

/// How long ago `at` was.
pub fn age(at: Timestamp, now: Timestamp) -> String {
    short(now.duration_since(at))
}

/// A moment to the second; the day is left out where it is `beside`'s.
pub fn moment(at: Timestamp, beside: Timestamp) -> String {
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let form = if day(at) == day(beside) { "%H:%M:%SZ" } else { "%Y-%m-%d %H:%M:%SZ" };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, seconds) in [("90s", 90), ("2h", 7_200), ("2h30m", 9_000), ("7d", 604_800), ("PT5M", 300)] {
            assert_eq!(duration(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "2", "soon", "0s", "-1h", "99999999d", "d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_two_units_that_matter() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (42, "42s"),
            (60, "1m"),
            (350, "5m50s"),
            (3_600, "1h"),
            (3_659, "1h"),
            (4_320, "1h12m"),
            (187_200, "2d4h"),
        ] {
            assert_eq!(short(SignedDuration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn a_moment_says_the_day_only_when_it_is_another() {
        let at: Timestamp = "2026-01-10T14:12:11.5Z".parse().unwrap();
        assert_eq!(moment(at, "2026-01-10T00:00:00Z".parse().unwrap()), "14:12:11Z");
        assert_eq!(moment(at, "2026-01-11T00:00:00Z".parse().unwrap()), "2026-01-10 14:12:11Z");
    }
}
