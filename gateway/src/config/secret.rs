// SPDX-License-Identifier: Apache-2.0
//! Texts that are shown to nobody.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// More than any token or configuration needs; it also bounds a device that never ends.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// A text that neither `Debug` nor an error repeats.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Whoever calls this sees to it that it goes nowhere else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The text of a regular file of at most 1 MiB.
pub(super) fn read_text(path: &Path) -> io::Result<String> {
    // A pipe without a writer would make `open` wait for ever.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_regular_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let huge = dir.path().join("huge");
        File::create(&huge).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(read_text(&huge).unwrap_err().to_string().contains("1 MiB"));
        assert!(read_text(dir.path()).unwrap_err().to_string().contains("regular"));
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "***");
    }
}
