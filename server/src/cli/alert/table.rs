//! Columns of text.

/// Blanks between columns.
const GAP: usize = 2;

/// Puts cells, which tabs end, below each other. A column is as wide as its widest cell and [`GAP`] more, as far as lines
/// that have it follow each other; what stands behind a line's last tab belongs to no column.
///
/// ```text
/// a\tb\t\nlong\tc\t\n  →  "a     b  \nlong  c  \n"
/// ```
pub(super) fn align(text: &str) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let widths = widths(&lines);
    let mut out = String::with_capacity(text.len() * 2);
    for (number, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if number > 0 {
            out.push('\n');
        }
        for (column, cell) in cells.iter().enumerate() {
            out.push_str(cell);
            if let Some(width) = widths.get(column) {
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
    }
    out
}

/// How wide the columns are, line by line.
fn widths(lines: &[Vec<&str>]) -> Vec<Vec<usize>> {
    let columns = |line: &Vec<&str>| line.len() - 1;
    let mut widths: Vec<Vec<usize>> = lines
        .iter()
        .map(|line| Vec::with_capacity(columns(line)))
        .collect();
    for column in 0..lines.iter().map(columns).max().unwrap_or(0) {
        let mut begin = 0;
        for block in lines.chunk_by(|a, b| (columns(a) > column) == (columns(b) > column)) {
            let end = begin + block.len();
            if columns(&block[0]) > column {
                let cells = block.iter().map(|line| line[column].chars().count());
                let width = cells.max().unwrap_or(0) + GAP;
                widths[begin..end].iter_mut().for_each(|line| line.push(width));
            }
            begin = end;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other() {
        for (text, aligned) in [
            ("", ""),
            ("a\tb\t\nlöng\tc\t\n", "a     b  \nlöng  c  \n"),
            (
                "A:\tx\nLong:\t\n\nAddress\tName\n",
                "A:     x\nLong:  \n\nAddress  Name\n",
            ),
            ("a\t\nno cell\nlonger\t\n", "a  \nno cell\nlonger  \n"),
            ("a\tb\t\nc\t\nd\tlonger\t\n", "a  b  \nc  \nd  longer  \n"),
            ("\t\tx\t\n", "    x  \n"),
        ] {
            assert_eq!(align(text), aligned, "{text:?}");
        }
    }
}
