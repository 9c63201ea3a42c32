// SPDX-License-Identifier: Apache-2.0
//! Directories that only their user can write to.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

/// Makes `directory`, and the parents that it lacks, with mode 0700. One that is there is accepted if it is a directory of
/// this process's user and nobody else may write to it: whoever may could put something in the place of what is made there.
///
/// A few quick calls to the local file system; blocks.
///
/// # Errors
/// `PermissionDenied` with a reason if it is not safe; else what the system said.
pub fn create_private_dir(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let found = fs::symlink_metadata(directory)?;
    let reason = if !found.is_dir() {
        "is a symbolic link"
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "can be written to by others"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{} {reason}", directory.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn made_private_and_refused_where_others_may_write() {
        let home = tempfile::tempdir().unwrap();
        let inner = home.path().join("a/b");
        create_private_dir(&inner).unwrap();
        create_private_dir(&inner).unwrap();
        for level in [&inner, inner.parent().unwrap()] {
            assert_eq!(fs::metadata(level).unwrap().mode() & 0o777, 0o700);
        }
        let link = home.path().join("link");
        symlink(&inner, &link).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o770)).unwrap();
        for (directory, reason) in [(&link, "symbolic link"), (&inner, "by others")] {
            let error = create_private_dir(directory).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
