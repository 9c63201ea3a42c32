// SPDX-License-Identifier: Apache-2.0
//! The few colours that the program has, by what they mean.

/// What a piece of text is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Style {
    /// Text.
    #[default]
    Plain,
    /// A heading.
    Head,
    /// Went well.
    Good,
    /// Needs a look.
    Warn,
    /// Went wrong.
    Bad,
    /// Of less interest.
    Dim,
}

impl Style {
    /// `text` between the codes of this style, or as it is.
    pub(crate) fn paint(self, text: &str, paints: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Head => "1",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31;1",
            Self::Dim => "2",
        };
        if paints { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
