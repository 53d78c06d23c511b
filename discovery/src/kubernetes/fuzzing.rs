//! Lists and watches, for fuzzing.

use super::list::{ListReader, Piece};
use super::objects::{Node, Pod};
use super::stream::{Lines, Versioned, read_event};

/// A list's body; wherever it is cut on its way, the same objects are found.
pub fn list(body: &[u8]) {
    let read = |length: usize| {
        let (mut reader, mut pieces) = (ListReader::default(), Vec::new());
        let all = body.chunks(length.max(1)).try_for_each(|part| {
            reader.push(part, &mut |piece| {
                pieces.push(piece);
                Ok(())
            })
        });
        (all.is_ok(), reader.is_complete(), pieces)
    };
    let whole = read(body.len());
    assert_eq!(whole, read(1));
    assert_eq!(whole, read(7));
    for piece in whole.2 {
        if let Piece::Item(object) = piece {
            let pod = serde_json::from_slice::<Pod>(&object).map(Versioned::new);
            let node = serde_json::from_slice::<Node>(&object).map(Versioned::new);
            drop((pod, node));
        }
    }
}

/// The body of a watch.
pub fn watch(body: &[u8]) {
    let mut lines = Lines::default();
    for part in body.chunks(11) {
        lines.push(part);
        while let Ok(Some(line)) = lines.next() {
            drop(read_event::<Pod>(&line));
            drop(read_event::<Node>(&line));
        }
    }
}
