// SPDX-License-Identifier: Apache-2.0
//! When a certificate ends (RFC 5280, section 4.1.2.5): the one field that we read ourselves, to warn who can renew it.

use std::time::{SystemTime, UNIX_EPOCH};

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The day on which `certificate` expired, if it has at `now`. What cannot be read is no judgement.
pub(super) fn expired_on(certificate: &[u8], now: SystemTime) -> Option<String> {
    let end = not_after(certificate)?;
    let now = now.duration_since(UNIX_EPOCH).ok()?.as_secs();
    (end.seconds()? < i64::try_from(now).ok()?).then(|| format!("{:04}-{:02}-{:02}", end.year, end.month, end.day))
}

#[derive(Debug, PartialEq, Eq)]
struct Time {
    year: i64,
    month: i64,
    day: i64,
    of_day: i64,
}

impl Time {
    fn seconds(&self) -> Option<i64> {
        // Days from the civil date, with the year beginning in March so that its last day is the leap day.
        let (year, month) = if self.month <= 2 { (self.year - 1, self.month + 9) } else { (self.year, self.month - 3) };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * month + 2) / 5 + self.day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        days.checked_mul(86_400)?.checked_add(self.of_day)
    }
}

fn not_after(certificate: &[u8]) -> Option<Time> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut fields, _) = element(certificate)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    let (tag, validity, _) = element(fields)?;
    let (_, _, rest) = element(validity)?;
    let (kind, text, _) = element(rest)?;
    (tag == SEQUENCE).then(|| time(kind, text))?
}

fn time(kind: u8, text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let (year, rest) = match kind {
        UTC_TIME => {
            let year: i64 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let two = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    Some(Time { year, month: two(0)?, day: two(2)?, of_day: two(4)? * 3600 + two(6)? * 60 + two(8)? })
}

/// The first element of DER: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms() {
        for (year, seconds) in [(2001, 1_000_000_000), (2065, 3_000_000_000)] {
            let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
            params.not_before = rcgen::date_time_ymd(1990, 1, 1);
            params.not_after = rcgen::date_time_ymd(year, 1, 24);
            let certificate = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
            let end = not_after(certificate.der()).unwrap();
            assert_eq!((end.year, end.month, end.day, end.of_day), (year.into(), 1, 24, 0));
            let later = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(expired_on(certificate.der(), later), Some(format!("{year}-01-24")));
            assert_eq!(expired_on(certificate.der(), UNIX_EPOCH + Duration::from_secs(900_000_000)), None);
        }
    }

    #[test]
    fn days_are_counted_from_the_epoch() {
        for (year, month, day, days) in
            [(1970, 1, 1, 0), (2000, 3, 1, 11_017), (2024, 2, 29, 19_782), (1969, 12, 31, -1)]
        {
            assert_eq!(Time { year, month, day, of_day: 5 }.seconds(), Some(days * 86_400 + 5));
        }
    }

    #[test]
    fn nonsense_is_no_judgement() {
        let now = SystemTime::now();
        for bytes in [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x80", &[0x30; 64]] {
            assert_eq!(expired_on(bytes, now), None);
        }
    }
}
