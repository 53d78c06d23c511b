//! ZooKeeper's wire format ("jute"), as much of it as reading and watching needs.
//!
//! Everything is big-endian. A packet is its length (`i32`) and that many bytes; texts and buffers are a length (`i32`, -1
//! is none) and bytes; lists are a length and members. A request begins with a number that its answer repeats and a
//! kind; an answer with that number, a transaction (`i64`) and an error code. Watches that fire come as answers with the
//! number -1.

use super::ZooKeeperError;

/// Largest packet that is taken, in bytes: the names of about 200,000 children. Servers refuse requests of more than 1 MiB.
pub(super) const PACKET_BYTES_MAX: usize = 16 << 20;
/// Number of an answer that is an event.
pub(super) const EVENT: i32 = -1;
/// Number of a ping and of its answer.
pub(super) const PING: i32 = -2;
/// The error code of a node that is not there.
pub(super) const NO_NODE: i32 = -101;

const GET_DATA: i32 = 4;
const PING_KIND: i32 = 11;
const GET_CHILDREN: i32 = 12;
const SESSION_BYTES: usize = 16;

/// What a session is continued with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) id: i64,
    pub(super) password: Vec<u8>,
}

/// What the server agrees to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Connected {
    /// After how long without a word either side gives up; 0 where the session is gone.
    pub(super) timeout_ms: i32,
    pub(super) session: Session,
}

/// What is asked of a node. Both leave a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Data,
    Children,
}

/// A packet that opens or continues a session.
pub(super) fn connect(session: &Session, timeout_ms: i32) -> Vec<u8> {
    let mut packet = Packet::default();
    packet.int(0); // The protocol's version.
    packet.long(0); // The last transaction seen: nothing is resumed from one.
    packet.int(timeout_ms);
    packet.long(session.id);
    let mut password = session.password.clone();
    password.resize(SESSION_BYTES, 0);
    packet.buffer(&password);
    packet.byte(0); // Not for reading only: such sessions may be old.
    packet.finish()
}

/// A packet that asks for a node and watches it.
pub(super) fn ask(number: i32, question: Question, path: &str) -> Vec<u8> {
    let mut packet = Packet::default();
    packet.int(number);
    packet.int(match question {
        Question::Data => GET_DATA,
        Question::Children => GET_CHILDREN,
    });
    packet.buffer(path.as_bytes());
    packet.byte(1);
    packet.finish()
}

/// A packet that says that this side is alive.
pub(super) fn ping() -> Vec<u8> {
    let mut packet = Packet::default();
    packet.int(PING);
    packet.int(PING_KIND);
    packet.finish()
}

#[derive(Default)]
struct Packet(Vec<u8>);

impl Packet {
    fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    fn int(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    fn long(&mut self, value: i64) {
        self.0.extend(value.to_be_bytes());
    }

    fn buffer(&mut self, bytes: &[u8]) {
        self.int(bytes.len() as i32);
        self.0.extend(bytes);
    }

    fn finish(self) -> Vec<u8> {
        let mut packet = (self.0.len() as i32).to_be_bytes().to_vec();
        packet.extend(self.0);
        packet
    }
}

/// The length of the packet that a stream goes on with, once its four bytes are there.
pub(super) fn length(stream: &[u8]) -> Result<Option<usize>, ZooKeeperError> {
    let Some(length) = stream.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*length);
    match usize::try_from(length) {
        Ok(length) if length <= PACKET_BYTES_MAX => Ok(Some(length)),
        _ => Err(ZooKeeperError::Length(length)),
    }
}

/// The beginning of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) number: i32,
    pub(super) error: i32,
}

/// Reads a packet from its front.
#[derive(Debug)]
pub(super) struct Input<'p>(pub(super) &'p [u8]);

impl<'p> Input<'p> {
    fn take(&mut self, count: usize) -> Result<&'p [u8], ZooKeeperError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ZooKeeperError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ZooKeeperError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(ZooKeeperError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn int(&mut self) -> Result<i32, ZooKeeperError> {
        self.array().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Result<i64, ZooKeeperError> {
        self.array().map(i64::from_be_bytes)
    }

    fn buffer(&mut self) -> Result<&'p [u8], ZooKeeperError> {
        let length = self.int()?;
        // -1 is none.
        self.take(usize::try_from(length).unwrap_or(0))
    }

    fn text(&mut self) -> Result<&'p str, ZooKeeperError> {
        std::str::from_utf8(self.buffer()?).map_err(|_| ZooKeeperError::NotUtf8)
    }

    /// The answer to [`connect`].
    pub(super) fn connected(&mut self) -> Result<Connected, ZooKeeperError> {
        let _version = self.int()?;
        Ok(Connected {
            timeout_ms: self.int()?,
            session: Session {
                id: self.long()?,
                password: self.buffer()?.to_vec(),
            },
        })
    }

    /// The beginning of any other answer.
    pub(super) fn head(&mut self) -> Result<Head, ZooKeeperError> {
        let number = self.int()?;
        let _transaction = self.long()?;
        let error = self.int()?;
        Ok(Head { number, error })
    }

    /// The node that an event is about; empty where it is about the session.
    pub(super) fn event(&mut self) -> Result<&'p str, ZooKeeperError> {
        let (_kind, _state) = (self.int()?, self.int()?);
        self.text()
    }

    /// What a node holds. What follows it (versions, times) does not matter here.
    pub(super) fn data(&mut self) -> Result<&'p [u8], ZooKeeperError> {
        self.buffer()
    }

    /// Names of a node's children.
    pub(super) fn children(&mut self) -> Result<Vec<&'p str>, ZooKeeperError> {
        let count = usize::try_from(self.int()?).unwrap_or(0);
        // Each takes four bytes at least: a count that lies is found out before anything is made for it.
        if count > self.0.len() / 4 {
            return Err(ZooKeeperError::Short);
        }
        (0..count).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn requests_are_written_as_servers_read_them() {
        assert_eq!(
            ask(7, Question::Data, "/a"),
            bytes(&[
                &[0, 0, 0, 15],
                &[0, 0, 0, 7],
                &[0, 0, 0, 4],
                &[0, 0, 0, 2],
                b"/a",
                &[1]
            ])
        );
        assert_eq!(
            ping(),
            bytes(&[&[0, 0, 0, 8], &[255, 255, 255, 254], &[0, 0, 0, 11]])
        );
        let opening = connect(&Session::default(), 10_000);
        assert_eq!((opening.len(), length(&opening).expect("length")), (49, Some(45)));
        assert_eq!(opening[16..20], 10_000_i32.to_be_bytes());
    }

    #[test]
    fn answers_are_read_and_cut_ones_refused() {
        let children = bytes(&[&[0, 0, 0, 2], &[0, 0, 0, 1], b"a", &[0, 0, 0, 2], b"bc"]);
        assert_eq!(Input(&children).children().expect("names"), ["a", "bc"]);
        let event = bytes(&[&[0, 0, 0, 3], &[0, 0, 0, 3], &[0, 0, 0, 2], b"/a"]);
        assert_eq!(Input(&event).event().expect("a path"), "/a");
        let connected = bytes(&[
            &[0; 4],
            &[0, 0, 39, 16],
            &[0, 0, 0, 0, 0, 0, 0, 9],
            &[0, 0, 0, 1],
            b"p",
        ]);
        let read = Input(&connected).connected().expect("a session");
        assert_eq!(
            (read.timeout_ms, read.session.id, &*read.session.password),
            (10_000, 9, &b"p"[..])
        );
        for length in 0..children.len() {
            assert!(Input(&children[..length]).children().is_err(), "{length}");
        }
        for length in 0..event.len() {
            assert!(Input(&event[..length]).event().is_err(), "{length}");
        }
        for length in 0..connected.len() {
            assert!(Input(&connected[..length]).connected().is_err(), "{length}");
        }
        assert!(
            Input(&[127, 255, 255, 255, 0]).children().is_err(),
            "more than there is"
        );
        assert_eq!(Input(&[255, 255, 255, 255]).data().expect("none"), b"");
    }

    #[test]
    fn packets_have_a_largest_length() {
        let header = |length: i32| length.to_be_bytes();
        assert_eq!(length(&[0, 0]).expect("not there yet"), None);
        assert_eq!(
            length(&header(PACKET_BYTES_MAX as i32)).expect("largest"),
            Some(PACKET_BYTES_MAX)
        );
        assert!(length(&header(PACKET_BYTES_MAX as i32 + 1)).is_err());
        assert!(length(&header(-1)).is_err());
    }
}
