//! Comparisons are few, and nobody waits for another's.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use metrics::Registry;

use super::*;

const COST: u32 = 4;

fn passwords() -> Passwords {
    Passwords::new(Supervisor::new(&Registry::new())).expect("a thread")
}

fn hash(password: &str) -> Secret {
    Secret::new(bcrypt::hash(password, COST).expect("a hash"))
}

fn peer(last: u8) -> Option<Peer> {
    Some(Peer::Ip(IpAddr::from([10, 0, 0, last])))
}

/// What a future has at once. Many are asked in one go, and the runtime's idea of fairness is none of the tests' business.
fn at_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    futures_util::FutureExt::now_or_never(tokio::task::unconstrained(future))
}

/// Keeps the comparing thread busy until the sender is dropped.
fn hold(passwords: &Passwords) -> std::sync::mpsc::Sender<()> {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let held = passwords.worker.run(move || receiver.recv().is_ok());
    // Begun by being asked once.
    assert!(at_once(&mut Box::pin(held)).is_none());
    sender
}

#[tokio::test]
async fn right_and_wrong_are_told_apart_and_remembered() {
    let passwords = passwords();
    let (hash, other) = (hash("secret"), hash("other"));
    for _ in 0..2 {
        for (password, hash, expected) in [
            ("secret", &hash, Verdict::Right),
            ("secre", &hash, Verdict::Wrong),
            ("", &hash, Verdict::Wrong),
            ("secret", &other, Verdict::Wrong),
        ] {
            let verdict = passwords.verify(peer(1), "me", password.as_bytes(), hash).await;
            assert_eq!(verdict, expected, "{password}");
        }
    }
    // Of what is known nothing is compared: the thread that would is kept busy.
    let _held = hold(&passwords);
    let verdict = passwords.verify(peer(1), "me", b"secret", &hash).await;
    assert_eq!(verdict, Verdict::Right);
    let verdict = passwords.verify(peer(1), "me", b"secre", &hash).await;
    assert_eq!(verdict, Verdict::Wrong);
}

/// Passwords of 72 bytes and more, with zeros, and none: as Go's library has them.
#[tokio::test]
async fn odd_passwords_are_passwords() {
    let passwords = passwords();
    for password in ["", "\0", "a\0b", &"x".repeat(72), &"x".repeat(100), "pässword"] {
        let hash = hash(password);
        let verdict = passwords.verify(peer(1), "me", password.as_bytes(), &hash).await;
        assert_eq!(verdict, Verdict::Right, "{password:?}");
    }
}

#[tokio::test]
async fn those_who_ask_the_same_wait_together() {
    let passwords = passwords();
    let hash = hash("secret");
    let held = hold(&passwords);
    // More than may wait for one address.
    let asked = (0..50).map(|_| passwords.verify(peer(1), "me", b"secret", &hash));
    let mut all = Box::pin(join_all(asked));
    assert!(at_once(&mut all).is_none());
    assert_eq!(passwords.state.lock().waiting_in_all, 1);
    drop(held);
    assert!(all.await.into_iter().all(|verdict| verdict == Verdict::Right));
    assert_eq!(passwords.state.lock().waiting_in_all, 0);
    assert!(passwords.state.lock().waiting.is_empty());
}

#[tokio::test]
async fn an_address_keeps_no_other_from_waiting() {
    let passwords = passwords();
    let hash = hash("secret");
    let held = hold(&passwords);
    let guesses: Vec<String> = (0..WAITING_MAX * 2).map(|guess| guess.to_string()).collect();
    let mut attack: Vec<_> = guesses
        .iter()
        .map(|guess| Box::pin(passwords.verify(peer(1), "me", guess.as_bytes(), &hash)))
        .collect();
    let verdicts: Vec<_> = attack.iter_mut().map(at_once).collect();
    let busy = verdicts.iter().filter(|verdict| **verdict == Some(Verdict::Busy));
    assert_eq!(guesses.len() - busy.count(), WAITING_OF_PEER_MAX);
    // All together are bounded, too.
    let mut others: Vec<_> = (2..=100)
        .map(|last| Box::pin(passwords.verify(peer(last), "you", b"guess", &hash)))
        .collect();
    // They ask the same, and wait for one of them.
    assert!(others.iter_mut().map(at_once).all(|verdict| verdict.is_none()));
    let mut distinct: Vec<_> = guesses
        .iter()
        .zip(0_u8..)
        .map(|(guess, last)| Box::pin(passwords.verify(peer(last), "they", guess.as_bytes(), &hash)))
        .collect();
    let verdicts: Vec<_> = distinct.iter_mut().map(at_once).collect();
    let waiting = verdicts.iter().filter(|verdict| verdict.is_none()).count();
    assert_eq!(waiting, WAITING_MAX - WAITING_OF_PEER_MAX - 1);
    assert_eq!(passwords.state.lock().waiting_in_all, WAITING_MAX);
    drop(held);
    drop((attack, others, distinct));
    // What nobody waits for any more comes to its end all the same.
    let verdict = passwords.verify(peer(200), "me", b"secret", &hash).await;
    assert!(matches!(verdict, Verdict::Right | Verdict::Busy));
    let begin = Instant::now();
    while passwords.state.lock().waiting_in_all > 0 {
        assert!(begin.elapsed() < Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    let verdict = passwords.verify(peer(1), "me", b"secret", &hash).await;
    assert_eq!(verdict, Verdict::Right);
}

#[test]
fn what_is_remembered_is_bounded_and_wrong_ones_push_out_no_right_ones() {
    let mut state = State::default();
    state.right.add([1; 32]);
    for number in 0..1000_u32 {
        let mut key = Key::default();
        key[..4].copy_from_slice(&number.to_be_bytes());
        state.wrong.add(key);
        state.wrong.add(key);
    }
    assert_eq!(state.wrong.keys.len(), REMEMBERED_MAX);
    assert_eq!(state.wrong.oldest_first.len(), REMEMBERED_MAX);
    assert_eq!(state.known(&[1; 32]), Some(Verdict::Right));
}
