//! Addresses, and sockets of the file system.

use super::*;

#[test]
fn addresses_are_told_apart() {
    let tcp = |text: &str| Some(Address::Tcp(text.to_owned()));
    let unix = |path: &str, mode| {
        Some(Address::Unix {
            path: path.into(),
            mode,
        })
    };
    for (text, expected) in [
        ("0.0.0.0:9090", tcp("0.0.0.0:9090")),
        (":9090", tcp(":9090")),
        ("[::1]:0", tcp("[::1]:0")),
        ("localhost:9090", tcp("localhost:9090")),
        ("unix:/run/narthex.sock", unix("/run/narthex.sock", 0o660)),
        ("unix:here.sock?mode=0600", unix("here.sock", 0o600)),
        ("unix:/run/narthex.sock?mode=abc", None),
        ("unix:/run/narthex.sock?mode=7777", None),
        ("unix:", None),
        ("9090", None),
        ("", None),
        ("localhost:99999", None),
    ] {
        assert_eq!(Address::parse(text), expected, "{text}");
    }
}

#[tokio::test]
async fn a_socket_has_its_mode_and_goes_with_its_listener() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("a.sock");
    let address = Address::parse(&format!("unix:{}?mode=600", path.display())).expect("an address");
    let listener = address.listen().await.expect("a listener");
    let found = std::fs::metadata(&path).expect("a socket");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(listener.to_string(), format!("unix:{}", path.display()));
    // Its place is taken.
    let error = address.listen().await.expect_err("taken");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(listener);
    assert!(!path.exists());
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    // One that was left behind makes way; a file that is none does not.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(path.exists());
    let first = address.listen().await.expect("a listener in its place");
    std::fs::remove_file(&path).expect("removed");
    let second = address.listen().await.expect("another one");
    drop(first);
    assert!(path.exists(), "what has taken the place stays");
    drop(second);
    std::fs::write(&path, "mine").expect("a file");
    let error = address.listen().await.expect_err("no socket");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&path).expect("still there"), b"mine");
}

#[tokio::test]
async fn a_port_alone_is_every_interface() {
    let listener = Address::parse(":0").expect("an address").listen().await;
    let listener = listener.expect("a listener");
    let port = listener.socket_addr().expect("an address").port();
    let connected = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    let (_, peer) = listener.accept().await.expect("accepted");
    // As itself, even where it comes by way of an IPv6 socket.
    assert_eq!(peer.to_string(), "127.0.0.1");
    drop(connected);
}
