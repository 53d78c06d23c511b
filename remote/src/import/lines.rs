//! Lines of a stream: whole, numbered, and no longer than they may be.

/// Longest line, in bytes: what VictoriaMetrics takes unless it is told otherwise.
pub const LINE_BYTES_MAX: usize = 10 << 20;

/// Cuts a stream into lines.
#[derive(Default)]
pub(super) struct Lines {
    /// Of the line that has not ended yet.
    begun: Vec<u8>,
    /// There was more of it than is kept.
    is_too_long: bool,
    number: usize,
    bytes: u64,
}

impl Lines {
    /// Lines and bytes so far.
    pub(super) fn read_so_far(&self) -> (usize, u64) {
        (self.number, self.bytes)
    }

    /// Shows `each` line that ends in `bytes`, with its number, from 1; none where it is too long.
    pub(super) fn read(&mut self, bytes: &[u8], mut each: impl FnMut(usize, Option<&[u8]>)) {
        self.bytes += bytes.len() as u64;
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        let Some(last) = pieces.next_back() else { return };
        for piece in pieces {
            if self.begun.is_empty() && !self.is_too_long && piece.len() <= LINE_BYTES_MAX {
                self.number += 1;
                each(self.number, Some(trimmed(piece)));
            } else {
                self.begin(piece);
                self.end(&mut each);
            }
        }
        self.begin(last);
    }

    /// The stream has ended, and so has its last line.
    pub(super) fn finish(&mut self, mut each: impl FnMut(usize, Option<&[u8]>)) {
        if !self.begun.is_empty() || self.is_too_long {
            self.end(&mut each);
        }
    }

    fn begin(&mut self, piece: &[u8]) {
        self.is_too_long |= piece.len() > LINE_BYTES_MAX - self.begun.len();
        match self.is_too_long {
            true => self.begun.clear(),
            false => self.begun.extend_from_slice(piece),
        }
    }

    fn end(&mut self, each: &mut impl FnMut(usize, Option<&[u8]>)) {
        self.number += 1;
        let line = (!std::mem::take(&mut self.is_too_long)).then(|| trimmed(&self.begun));
        each(self.number, line);
        self.begun.clear();
    }
}

/// Without what some systems end lines with besides.
fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<(usize, Option<usize>)> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in pieces {
            lines.read(piece, |number, line| seen.push((number, line.map(<[u8]>::len))));
        }
        lines.finish(|number, line| seen.push((number, line.map(<[u8]>::len))));
        seen
    }

    #[test]
    fn lines_are_the_same_however_the_stream_is_cut() {
        let text = b"one\r\n\nthree\nand four";
        let whole = cut(&[text]);
        assert_eq!(whole, [(1, Some(3)), (2, Some(0)), (3, Some(5)), (4, Some(8))]);
        for at in 0..text.len() {
            assert_eq!(cut(&[&text[..at], b"", &text[at..]]), whole, "{at}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself_alone() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert_eq!(cut(&[&long[1..], b"\n"]), [(1, Some(LINE_BYTES_MAX))]);
        assert_eq!(cut(&[&long, b"\nshort"]), [(1, None), (2, Some(5))]);
        let half = &long[..LINE_BYTES_MAX / 2];
        assert_eq!(cut(&[half, half, b"xx", half, b"\n"]), [(1, None)]);
        let mut whole = long;
        whole.extend_from_slice(b"\na");
        assert_eq!(cut(&[&whole]), [(1, None), (2, Some(1))]);
    }
}
