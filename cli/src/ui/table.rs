// SPDX-License-Identifier: Apache-2.0
//! Columns for people.

use crate::ui::Style;

/// Rows under a head. Columns are as wide as their widest cell; numbers stand to the right.
pub(crate) struct Table {
    head: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

struct Column {
    name: String,
    is_number: bool,
}

/// One cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    /// Text that means something.
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::Plain)
    }
}

impl Table {
    /// A table with these columns; a name that starts with `#` makes a column of numbers.
    pub(crate) fn new<'a>(head: impl IntoIterator<Item = &'a str>) -> Self {
        let column = |name: &str| match name.strip_prefix('#') {
            Some(name) => Column { name: name.to_owned(), is_number: true },
            None => Column { name: name.to_owned(), is_number: false },
        };
        Self { head: head.into_iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty, surplus ones are dropped.
    pub(crate) fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut cells: Vec<Cell> = cells.into_iter().map(Into::into).collect();
        cells.resize(self.head.len(), Cell::default());
        self.rows.push(cells);
    }

    /// The lines, with colours if `paints`.
    pub(crate) fn render(&self, paints: bool) -> String {
        let width = |at: usize, column: &Column| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.chars().count());
            cells.chain([column.name.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self.head.iter().enumerate().map(|(at, column)| width(at, column)).collect();
        let head: Vec<Cell> = self.head.iter().map(|column| Cell::styled(&column.name, Style::Head)).collect();
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for ((cell, column), width) in row.iter().zip(&self.head).zip(&widths) {
                // Padded outside the colours: codes have no width.
                let gap = " ".repeat(width.saturating_sub(cell.text.chars().count()));
                let painted = cell.style.paint(&cell.text, paints);
                let cell = if column.is_number { gap + &painted } else { painted + &gap };
                line.push_str(&cell);
                line.push_str("  ");
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let mut table = Table::new(["NAME", "#N"]);
        table.row([Cell::from("a"), "1".into()]);
        table.row([Cell::styled("längst", Style::Good), "22".into()]);
        assert_eq!(table.render(false), "NAME     N\na        1\nlängst  22\n");
        let plain: String = table.render(true).replace("\x1b[32m", "").replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert_eq!(plain, table.render(false));
    }
}
