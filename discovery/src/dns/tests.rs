//! Unit tests of `dns`.

use super::*;

#[test]
fn the_machines_settings_are_read_as_resolvers_read_them() {
    let conf = ResolvConf::parse(
        "# made by hand\ndomain old.example\nsearch barn.example. shed.example\nnameserver 192.0.2.53\n\
         nameserver 2001:db8::53\noptions rotate ndots:2 ndots:99\nsortlist x\n",
    );
    assert_eq!(conf.servers, ["192.0.2.53", "2001:db8::53"]);
    assert_eq!(conf.ndots, Some(NDOTS_MAX));
    let conf = ResolvConf {
        ndots: Some(2),
        ..conf
    };
    assert_eq!(conf.candidates("full.name."), ["full.name."]);
    assert_eq!(
        conf.candidates("a.b"),
        ["a.b.barn.example.", "a.b.shed.example.", "a.b."]
    );
    assert_eq!(conf.candidates("a.b.c")[0], "a.b.c.");
    assert_eq!(ResolvConf::default().candidates("host"), ["host."]);
}

#[test]
fn an_answer_to_another_question_is_told_from_one_that_cannot_be_read() {
    let query = Message::query();
    let other = (query.metadata.id ^ 1).to_be_bytes();
    let kind = |bytes: &[u8]| read_answer(bytes, &query).expect_err("no answer").kind();
    assert_eq!(kind(&other), io::ErrorKind::InvalidData);
    assert_eq!(kind(b""), io::ErrorKind::InvalidData);
    let id = query.metadata.id.to_be_bytes();
    assert_eq!(kind(&[&id[..], b"\xff\xff\xff"].concat()), io::ErrorKind::Other);
}
