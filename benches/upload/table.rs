//! The table of the figures, in Markdown. It does not know their meaning.

use std::fmt;

/// The rows of a Markdown table. The first row is the head.
pub struct Table(Vec<[String; 4]>);

impl Table {
    pub fn new(head: [&str; 4]) -> Table {
        Table(vec![head.map(str::to_owned)])
    }

    pub fn row(&mut self, what: String, ours: String, compared: String, note: String) {
        self.0.push([what, ours, compared, note]);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = |column: usize| {
            self.0
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths = [0, 1, 2, 3].map(width);
        let line = |f: &mut fmt::Formatter, row: &[String; 4]| {
            row.iter()
                .zip(widths)
                .try_for_each(|(cell, width)| write!(f, "| {cell:width$} "))?;
            writeln!(f, "|")
        };
        for (number, row) in self.0.iter().enumerate() {
            line(f, row)?;
            if number == 0 {
                line(f, &widths.map(|width| "-".repeat(width)))?;
            }
        }
        Ok(())
    }
}
