// SPDX-License-Identifier: Apache-2.0
//! Sizes and durations as people write them.
//!
//! Both are strict: digits, then at most one unit. No sign, no fraction, no exponent, no sum of several, because a value
//! that is read otherwise than it was meant is worse than one that is refused.

use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// The longest duration that is read, ten years. Every clock can add it to *now* without overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Name and milliseconds, the largest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Name and bytes. The first four are what sizes are written in, the largest first.
const SIZE_UNITS: [(&str, u64); 11] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("", 1),
    ("B", 1),
    ("G", 1 << 30),
    ("M", 1 << 20),
    ("K", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
];

/// Reads `250ms`, `30s`, `5m`, `1h` or `1d`; a bare number is seconds. The error is for the person who wrote the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text).ok_or_else(|| format!("{text:?} is no duration; write 250ms, 30s, 5m or 1h"))?;
    let unit = if unit.is_empty() { "s" } else { unit };
    let (_, millis) = DURATION_UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(|| format!("{text:?} has an unknown unit; write ms, s, m, h or d"))?;
    number
        .checked_mul(*millis)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| format!("{text:?} is longer than ten years"))
}

/// The shortest text that [`parse_duration`] reads as the same duration; parts of a millisecond are dropped.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    shortest(millis, &DURATION_UNITS)
}

/// Reads `16MiB`, `64KiB`, `1GB` or a number of bytes. The error is for the person who wrote the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit) = split(text).ok_or_else(|| format!("{text:?} is no size; write 64KiB, 16MiB or bytes"))?;
    let (_, bytes) = SIZE_UNITS
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name))
        .ok_or_else(|| format!("{text:?} has an unknown unit; write bytes, KiB, MiB, GiB, KB, MB or GB"))?;
    number.checked_mul(*bytes).ok_or_else(|| format!("{text:?} is too large"))
}

/// The shortest text that [`parse_size`] reads as the same size.
pub fn format_size(bytes: u64) -> String {
    shortest(bytes, SIZE_UNITS.get(..4).unwrap_or_default())
}

/// For `#[serde(deserialize_with = "biplane::config::units::deserialize_duration")]`: text or a number of seconds.
pub fn deserialize_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Written::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// As [`deserialize_duration`], for an `Option<Duration>`; write `#[serde(default)]` beside it.
pub fn deserialize_optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Option::<Written>::deserialize(deserializer)?.map(|written| written.parse().map_err(D::Error::custom)).transpose()
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Seconds(u64),
    Text(String),
}

impl Written {
    fn parse(self) -> Result<Duration, String> {
        match self {
            Self::Seconds(seconds) => parse_duration(&seconds.to_string()),
            Self::Text(text) => parse_duration(&text),
        }
    }
}

/// The number and what follows it. `None` without digits, or with more than 64 bits of them.
fn split(text: &str) -> Option<(u64, &str)> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.strip_suffix(unit)?;
    Some((digits.parse().ok()?, unit.trim_start()))
}

/// `number` in the largest unit that leaves no remainder.
fn shortest(number: u64, units: &[(&str, u64)]) -> String {
    match units.iter().find(|(_, each)| number > 0 && number.is_multiple_of(*each)) {
        Some((name, each)) => format!("{}{name}", number / each),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        let read = |text| parse_duration(text).unwrap();
        assert_eq!(read("250ms"), Duration::from_millis(250));
        assert_eq!(read("30s"), Duration::from_secs(30));
        assert_eq!(read("5m"), Duration::from_secs(300));
        assert_eq!(read("1h"), Duration::from_secs(3600));
        assert_eq!(read("1d"), Duration::from_secs(86_400));
        assert_eq!(read("7"), Duration::from_secs(7));
        assert_eq!(read("0"), Duration::ZERO);
    }

    #[test]
    fn what_is_no_number_and_unit_is_refused() {
        for text in [
            "",
            " ",
            "-1",
            "+1",
            "1.5s",
            "1e3",
            "NaN",
            "inf",
            "s",
            "1h30m",
            "5 minutes",
            "0x10",
            "٣",
            "99999999999999999999",
        ] {
            assert!(parse_duration(text).is_err(), "{text:?}");
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn nothing_overflows() {
        assert!(parse_duration(&u64::MAX.to_string()).unwrap_err().contains("ten years"));
        assert!(parse_duration("3650d").is_ok());
        assert!(parse_duration("3651d").is_err());
        assert_eq!(parse_size(&u64::MAX.to_string()), Ok(u64::MAX));
        assert!(parse_size("18446744073709551615KiB").unwrap_err().contains("too large"));
    }

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in
            [("16MiB", 16 << 20), ("64 kib", 64 << 10), ("1GB", 1_000_000_000), ("17", 17), ("2g", 2 << 30)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(millis in 0..=315_360_000_000u64, bytes in any::<u64>()) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,24}|[0-9]{1,25} ?[a-zA-Z]{0,4}") {
            if let Ok(duration) = parse_duration(&text) {
                prop_assert!(duration <= MAX_DURATION);
            }
            if let Ok(bytes) = parse_size(&text) {
                prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
            }
        }
    }
}
