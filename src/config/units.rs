// SPDX-License-Identifier: Apache-2.0
//! Sizes and durations as people write them.

/// Reads `16MiB`, `64KiB`, `1GB` or a number of bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().map_err(|_| format!("{text:?} is no size"))?;
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" | "k" => 1 << 10,
        "mib" | "m" => 1 << 20,
        "gib" | "g" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(format!("{text:?} has an unknown unit; write bytes, KiB, MiB, GiB, KB, MB or GB")),
    };
    number.checked_mul(unit).ok_or_else(|| format!("{text:?} is too large"))
}
