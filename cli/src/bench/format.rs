// SPDX-License-Identifier: Apache-2.0
//! Figures for people.

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time given in microseconds, in the unit that suits it.
pub(crate) fn micros(micros: f64) -> String {
    match micros {
        micros if micros < 1_000.0 => format!("{micros:.0} µs"),
        micros if micros < 100_000.0 => format!("{:.2} ms", micros / 1e3),
        micros if micros < 1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        micros => format!("{:.2} s", micros / 1e6),
    }
}

/// How much of the whole `part` is; never 100 % where something is missing.
pub(crate) fn share(part: u64, rest: u64) -> String {
    let whole = part + rest;
    if whole == 0 {
        return "none".to_owned();
    }
    let percent = (part as f64 * 10_000.0 / whole as f64).floor() / 100.0;
    format!("{percent:.2} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12.3, 1234.0, 250_000.0, 2.5e6].map(micros), ["12 µs", "1.23 ms", "250 ms", "2.50 s"]);
        assert_eq!([(0, 0), (99_999, 1), (5, 0)].map(|(a, b)| share(a, b)), ["none", "99.99 %", "100.00 %"]);
    }
}
