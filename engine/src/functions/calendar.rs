//! Days and what they are called: the proleptic Gregorian calendar, as in PostgreSQL.

/// Microseconds of a day.
pub(super) const DAY: i64 = 86_400_000_000;

/// A moment by the clock on a wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    /// Microseconds since midnight.
    pub time: i64,
}

impl Moment {
    pub fn of_micros(micros: i64) -> Self {
        let (year, month, day) = date(micros.div_euclid(DAY));
        Self { year, month, day, time: micros.rem_euclid(DAY) }
    }
}

pub(super) fn month_length(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970. They are counted from the first of March of the year 0, from which on leap days come last.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    years * 365 + leaps + (153 * months + 2) / 5 + day - 1 - 719_468
}

/// Year, month and day of a number of days since 1970.
pub(super) fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months + 2) / 5 + 1;
    let month = if months < 10 { months + 3 } else { months - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_the_same() {
        for (at, of) in [(0, (1970, 1, 1)), (-719_162, (1, 1, 1)), (11_016, (2000, 2, 29)), (2_932_896, (9999, 12, 31))]
        {
            assert_eq!(date(at), of);
        }
        for at in (-800_000..3_000_000).step_by(7) {
            let (year, month, day) = date(at);
            assert_eq!(days(year, month, day), at);
            assert!((1..=12).contains(&month) && (1..=month_length(year, month)).contains(&day));
        }
    }
}
