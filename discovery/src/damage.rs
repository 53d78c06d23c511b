//! Good answers with damage: cut at every length, and with bytes changed at random, for the readers of foreign bytes.

/// Damaged ones that are tried besides those that are cut.
const FLIPPED: usize = 3_000;

/// Gives `read` all damaged forms of `good`, and `good` itself first. It must return; what it says is its own affair.
pub(crate) fn try_damaged(good: &[u8], mut read: impl FnMut(&[u8])) {
    read(good);
    for end in 0..good.len() {
        read(&good[..end]);
    }
    // The seed is fixed: whoever fails fails again.
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random >> 11
    };
    for _ in 0..FLIPPED {
        let mut bytes = good.to_vec();
        for _ in 0..1 + next() % 4 {
            let at = next() as usize % bytes.len();
            match next() % 3 {
                0 => bytes[at] = next() as u8,
                1 => bytes[at] = b"0123456789-.e\"{}[]<>/"[next() as usize % 21],
                _ => {
                    let until = (at + next() as usize % 8).min(bytes.len());
                    bytes.drain(at..until);
                    if bytes.is_empty() {
                        break;
                    }
                }
            }
        }
        read(&bytes);
    }
}
