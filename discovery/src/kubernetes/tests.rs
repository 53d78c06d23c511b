//! Readers of foreign bytes, tried with bytes that are foreign: cut anywhere, flipped anywhere, too long.

use super::list::{ListReader, Piece};
use super::objects::{Endpoints, Node, Object, Pod};
use super::stream::{Event, Lines, OBJECT_BYTES_MAX, Unreadable, read_event};

/// Numbers that look random, from a seed that a failure shows.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        // Vigna's xorshift64*: https://en.wikipedia.org/wiki/Xorshift
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }
}

/// Many inputs made from `seed_text`, each cut into pieces somewhere and changed here and there.
fn disturbed(seed_text: &[u8], rounds: u64, mut check: impl FnMut(&mut dyn Iterator<Item = &[u8]>)) {
    for seed in 1..=rounds {
        let mut random = Random(seed);
        let mut bytes = seed_text.to_vec();
        for _ in 0..random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = random.below(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => bytes.insert(at, b"{}[],:\"\\\n 0"[random.below(11)]),
                _ => {
                    let other = random.below(bytes.len());
                    bytes.swap(at, other);
                }
            }
        }
        let mut pieces = Vec::new();
        let mut rest = &*bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + random.below(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        check(&mut pieces.into_iter());
    }
}

const STREAM: &str = concat!(
    r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a\"b","namespace":"n","resourceVersion":"7","#,
    r#""labels":{"x":"ü","y":null},"ownerReferences":[{"kind":"Job","name":"j"},{"kind":"ReplicaSet","name":"r","controller":true}]},"#,
    r#""spec":{"containers":[{"name":"c","ports":[{"containerPort":80}]}],"volumes":[{}]},"status":{"conditions":[{"type":"Ready","status":"True"}],"podIP":"192.0.2.1"}}}"#,
    "\n\r\n",
    r#"{"object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}},"type":"BOOKMARK"}"#,
    "\n",
    r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}"#,
    "\n",
    r#"{"type":"DELETED","object":{"metadata":{"name":"b","namespace":"n"}}}"#,
    "\n",
);

fn lines_of(pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<bytes::Bytes> {
    let mut lines = Lines::default();
    let mut found = Vec::new();
    for piece in pieces {
        lines.push(piece);
        while let Some(line) = lines.next().expect("short lines") {
            found.push(line);
        }
    }
    found
}

#[test]
fn events_are_what_the_lines_say() {
    let lines = lines_of(&mut [STREAM.as_bytes()].into_iter());
    let events: Vec<Event<Pod>> = lines
        .iter()
        .map(|line| read_event(line).expect("an event"))
        .collect();
    let [
        Event::Put(pod),
        Event::Bookmark {
            version,
            is_complete: true,
        },
        Event::Error(status),
        Event::Gone(gone),
    ] = &*events
    else {
        panic!("{events:?}")
    };
    assert_eq!((&*pod.key, &*pod.version, &**version), ("n/a\"b", "7", "9"));
    assert_eq!(pod.object.metadata.labels.get("y"), Some(""));
    assert_eq!(&*pod.object.status.ready.0, "true");
    let owner = pod.object.metadata.controller.as_deref().expect("a controller");
    assert_eq!((&*owner.kind, &*owner.name), ("ReplicaSet", "r"));
    assert_eq!((status.code, &*gone.key), (410, "n/b"));
}

#[test]
fn a_line_is_the_same_however_it_arrives_and_changed_bytes_never_panic() {
    let whole = lines_of(&mut [STREAM.as_bytes()].into_iter());
    disturbed(STREAM.as_bytes(), 20_000, |pieces| {
        let pieces: Vec<&[u8]> = pieces.collect();
        let lines = lines_of(&mut pieces.iter().copied());
        if pieces.concat() == STREAM.as_bytes() {
            assert_eq!(lines, whole);
        }
        for line in lines {
            // Any of them may be read or refused.
            let _ = read_event::<Pod>(&line);
            let _ = read_event::<Node>(&line);
            let _ = read_event::<Endpoints>(&line);
        }
    });
}

#[test]
fn a_line_that_is_too_long_costs_itself_only() {
    let mut lines = Lines::default();
    let piece = vec![b'x'; 1 << 20];
    let mut errors = 0;
    for _ in 0..40 {
        lines.push(&piece);
        match lines.next() {
            Err(Unreadable::TooLong) => errors += 1,
            Ok(None) => {}
            other => panic!("{other:?}"),
        }
    }
    lines.push(b"end\nnext\n");
    assert_eq!(lines.next().expect("a line").as_deref(), Some(&b"next\n"[..]));
    assert_eq!(errors, 1, "of {OBJECT_BYTES_MAX} bytes");
}

const LIST: &str = r#" {"kind":"PodList","ex\"tra":[{"a":"]}"},[1,2],{}],"n":null,"items":[{"metadata":{"name":"a","x":"\\\"}]"}},
  {"metadata":{"name":"b"}} , 3,"s\"t",true],"metadata":{"resourceVersion":"12","continue":"c"} } "#;

fn read_list(pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<Vec<String>, Unreadable> {
    let mut reader = ListReader::default();
    let mut found = Vec::new();
    for piece in pieces {
        reader.push(piece, &mut |piece| {
            found.push(match piece {
                Piece::Item(text) => format!("item {}", String::from_utf8_lossy(&text)),
                Piece::Metadata(text) => format!("metadata {}", String::from_utf8_lossy(&text)),
                Piece::TooLong => "too long".to_owned(),
            });
            Ok(())
        })?;
    }
    if reader.is_complete() {
        Ok(found)
    } else {
        Err(Unreadable::List("it ends in the middle"))
    }
}

#[test]
fn a_list_is_cut_into_its_items_however_it_arrives() {
    let json: serde_json::Value = serde_json::from_str(LIST).expect("JSON");
    let whole = read_list(&mut [LIST.as_bytes()].into_iter()).expect("a list");
    let values: Vec<serde_json::Value> = whole
        .iter()
        .filter_map(|found| found.strip_prefix("item "))
        .map(|text| serde_json::from_str(text).expect("an item"))
        .collect();
    assert_eq!(serde_json::Value::from(values), json["items"]);
    assert_eq!(
        whole.last().map(String::as_str),
        Some(r#"metadata {"resourceVersion":"12","continue":"c"}"#)
    );
    disturbed(LIST.as_bytes(), 20_000, |pieces| {
        let pieces: Vec<&[u8]> = pieces.collect();
        let text = pieces.concat();
        let read = read_list(&mut pieces.into_iter());
        if text == LIST.as_bytes() {
            assert_eq!(read.expect("a list"), whole);
        } else if let Ok(json) = serde_json::from_slice::<serde_json::Value>(&text)
            && json.is_object()
        {
            // What is JSON to everybody is so here; the opposite need not hold of what is passed over.
            read.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&text)));
        }
    });
}

#[test]
fn an_object_of_a_list_that_is_too_long_costs_itself_only() {
    let mut pieces: Vec<Vec<u8>> = vec![br#"{"items":[{"a":""#.to_vec()];
    pieces.extend((0..=OBJECT_BYTES_MAX >> 20).map(|_| vec![b'x'; 1 << 20]));
    pieces.push(br#""},{"b":1}],"metadata":{}}"#.to_vec());
    let read = read_list(&mut pieces.iter().map(|piece| &**piece)).expect("a list");
    assert_eq!(read, ["too long", r#"item {"b":1}"#, "metadata {}"]);
}

#[test]
fn what_no_label_is_made_of_is_not_kept() {
    let line = br#"{"type":"ADDED","object":{"metadata":{"name":"a","uid":"u","managedFields":[{"x":1}]}}}"#;
    let Event::Put(node) = read_event::<Node>(line).expect("an event") else {
        panic!("no node")
    };
    assert!(node.object.meta().uid.is_empty());
    let Event::Put(pod) = read_event::<Pod>(line).expect("an event") else {
        panic!("no pod")
    };
    assert_eq!(&*pod.object.metadata.uid, "u");
}
