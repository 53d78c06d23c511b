//! The dialogue with a mail server, in lettre's words.
//!
//! Commands, answers and addresses are lettre's; the order of things is ours. lettre's own connection would not do: it
//! never falls back to HELO, knows no CRAM-MD5, brings TLS settings of its own, and says QUIT where it likes.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use httpclient::{Dialer, HttpClientError};
use lettre::address::Address;
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Quit, Rcpt, Starttls};
use lettre::transport::smtp::extension::{ClientId, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Response;
use md5::{Digest as _, Md5};
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};

/// Longest answer, all its lines together.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// How long the farewell is waited for: it changes nothing any more.
const QUIT_WAIT: Duration = Duration::from_secs(5);

/// Why a dialogue did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum SmtpError {
    /// The server says no.
    #[error("{code:03} {text:?}")]
    Refused { code: u16, text: String },
    /// The server said something else than was to be expected.
    #[error("unexpected server challenge")]
    Challenge,
    /// A password would go over the line for all to read.
    #[error("unencrypted connection")]
    Unencrypted,
    /// What the server says is no answer.
    #[error("malformed SMTP answer: {0:?}")]
    Malformed(String),
    /// It says too much.
    #[error("an SMTP answer has at most {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// TLS did not come about.
    #[error(transparent)]
    Tls(#[from] HttpClientError),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// One dialogue.
pub(super) struct Session {
    /// `None` once TLS has failed on it.
    stream: Option<BufReader<Box<dyn Stream>>>,
    is_tls: bool,
    hello: String,
    /// What the server offers: lines of its answer to EHLO.
    extensions: Vec<String>,
}

impl Session {
    /// On a plain connection; `hello` is how we call ourselves.
    pub(super) fn new(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, hello: &str) -> Self {
        Session {
            stream: Some(BufReader::new(Box::new(stream))),
            is_tls: false,
            hello: if hello.is_empty() { "localhost" } else { hello }.to_owned(),
            extensions: Vec::new(),
        }
    }

    /// On a connection that has TLS.
    pub(super) fn over_tls(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        hello: &str,
    ) -> Self {
        Session {
            is_tls: true,
            ..Session::new(stream, hello)
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// What the server says behind the name of an extension that it offers.
    pub(super) fn extension(&self, name: &str) -> Option<String> {
        let mut words = self
            .extensions
            .iter()
            .map(|line| line.split_once(' ').unwrap_or((line, "")));
        let (_, rest) = words.find(|(word, _)| word.eq_ignore_ascii_case(name))?;
        Some(rest.to_owned())
    }

    /// Waits for the greeting.
    pub(super) async fn greeting(&mut self) -> Result<(), SmtpError> {
        let greeting = self.answer().await?;
        expect(&greeting, 220)
    }

    /// EHLO, or HELO where that is not known.
    pub(super) async fn hello(&mut self) -> Result<(), SmtpError> {
        if self.ehlo().await.is_ok() {
            return Ok(());
        }
        let answer = self
            .command(format!("HELO {}\r\n", ClientId::Domain(self.hello.clone())))
            .await?;
        expect(&answer, 250)
    }

    async fn ehlo(&mut self) -> Result<(), SmtpError> {
        self.extensions.clear();
        let answer = self
            .command(Ehlo::new(ClientId::Domain(self.hello.clone())))
            .await?;
        expect(&answer, 250)?;
        self.extensions = answer.message().skip(1).map(str::to_owned).collect();
        Ok(())
    }

    /// Goes over to TLS.
    pub(super) async fn start_tls(&mut self, dialer: &Dialer, host: &str) -> Result<(), SmtpError> {
        let answer = self.command(Starttls).await?;
        expect(&answer, 220)?;
        // Whatever came in the clear behind the answer is not the server's word: it goes with the buffer.
        let plain = self.stream.take().ok_or_else(broken)?.into_inner();
        let encrypted = dialer.handshake(host, plain).await?;
        self.stream = Some(BufReader::new(Box::new(encrypted)));
        self.is_tls = true;
        self.ehlo().await
    }

    /// AUTH PLAIN (RFC 4616): over TLS, or to this very machine.
    pub(super) async fn plain(
        &mut self,
        identity: &str,
        username: &str,
        password: &str,
        host: &str,
    ) -> Result<(), SmtpError> {
        if !self.is_tls && !matches!(host, "localhost" | "127.0.0.1" | "::1") {
            return Err(SmtpError::Unencrypted);
        }
        let credentials = BASE64.encode(format!("{identity}\0{username}\0{password}"));
        let answer = self.command(format!("AUTH PLAIN {credentials}\r\n")).await?;
        self.authenticated(&answer).await
    }

    /// AUTH LOGIN, which asks for both by name.
    ///
    /// Compat: over plain connections to anybody, too (conformance `auth-login-not-local`).
    pub(super) async fn login(&mut self, username: &str, password: &str) -> Result<(), SmtpError> {
        let mut answer = self.command("AUTH LOGIN\r\n").await?;
        while u16::from(answer.code()) == 334 {
            let reply = match challenge(&answer).as_deref().and_then(Wanted::of) {
                Some(Wanted::UserName) => username,
                Some(Wanted::Password) => password,
                None => {
                    self.abort().await;
                    return Err(SmtpError::Challenge);
                }
            };
            answer = self.command(format!("{}\r\n", BASE64.encode(reply))).await?;
        }
        self.authenticated(&answer).await
    }

    /// AUTH CRAM-MD5 (RFC 2195).
    pub(super) async fn cram_md5(&mut self, username: &str, secret: &str) -> Result<(), SmtpError> {
        let answer = self.command("AUTH CRAM-MD5\r\n").await?;
        if u16::from(answer.code()) != 334 {
            return self.authenticated(&answer).await;
        }
        let Some(challenge) = challenge(&answer) else {
            self.abort().await;
            return Err(SmtpError::Challenge);
        };
        let digest = hmac_md5(secret.as_bytes(), challenge.as_bytes());
        let reply = BASE64.encode(format!("{username} {digest}"));
        let answer = self.command(format!("{reply}\r\n")).await?;
        self.authenticated(&answer).await
    }

    async fn authenticated(&mut self, answer: &Response) -> Result<(), SmtpError> {
        let outcome = expect(answer, 235);
        if outcome.is_err() {
            self.abort().await;
        }
        outcome
    }

    /// Ends an authentication that has not come to its end by itself.
    async fn abort(&mut self) {
        // Refused or not: the farewell is next.
        let _ = self.command("*\r\n").await;
    }

    /// The sender.
    pub(super) async fn mail(&mut self, from: &Address) -> Result<(), SmtpError> {
        let mut parameters = Vec::new();
        if self.extension("8BITMIME").is_some() {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if self.extension("SMTPUTF8").is_some() {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let answer = self.command(Mail::new(Some(from.clone()), parameters)).await?;
        expect(&answer, 250)
    }

    /// One recipient.
    pub(super) async fn recipient(&mut self, to: &Address) -> Result<(), SmtpError> {
        let answer = self.command(Rcpt::new(to.clone(), Vec::new())).await?;
        match u16::from(answer.code()) {
            250..=259 => Ok(()),
            _ => Err(refused(&answer)),
        }
    }

    /// Announces the mail.
    pub(super) async fn data(&mut self) -> Result<(), SmtpError> {
        let answer = self.command(Data).await?;
        expect(&answer, 354)
    }

    /// The mail, whose lines end with CR LF.
    pub(super) async fn content(&mut self, content: &str) -> Result<(), SmtpError> {
        let mut out = String::with_capacity(content.len() + content.len() / 64 + 8);
        for line in content.split_inclusive("\r\n") {
            // A line that is a dot alone would be the end (RFC 5321, 4.5.2).
            if line.starts_with('.') {
                out.push('.');
            }
            out.push_str(line);
        }
        if !out.ends_with("\r\n") {
            out.push_str("\r\n");
        }
        out.push_str(".\r\n");
        let answer = self.command(out).await?;
        expect(&answer, 250)
    }

    /// The farewell.
    pub(super) async fn quit(mut self) {
        let _ = tokio::time::timeout(QUIT_WAIT, self.command(Quit)).await;
    }

    async fn command(&mut self, command: impl Display + Send) -> Result<Response, SmtpError> {
        let text = command.to_string();
        let stream = self.stream.as_mut().ok_or_else(broken)?.get_mut();
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        self.answer().await
    }

    /// An answer of one line or of several.
    async fn answer(&mut self) -> Result<Response, SmtpError> {
        let stream = self.stream.as_mut().ok_or_else(broken)?;
        let mut lines = Vec::new();
        loop {
            let begin = lines.len();
            let room = ANSWER_BYTES_MAX - begin as u64;
            (&mut *stream).take(room).read_until(b'\n', &mut lines).await?;
            if lines.last() != Some(&b'\n') {
                return Err(if lines.len() as u64 >= ANSWER_BYTES_MAX {
                    SmtpError::TooLong
                } else {
                    io::Error::new(io::ErrorKind::UnexpectedEof, "EOF").into()
                });
            }
            // Some servers end lines with a bare newline, and some say nothing but a number.
            lines.pop();
            if lines.last() == Some(&b'\r') {
                lines.pop();
            }
            if lines.len() - begin == 3 {
                lines.push(b' ');
            }
            lines.extend_from_slice(b"\r\n");
            if lines[begin..].get(3) != Some(&b'-') {
                break;
            }
        }
        let text = String::from_utf8_lossy(&lines);
        text.parse()
            .map_err(|_| SmtpError::Malformed(text.trim_end().to_owned()))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "not connected")
}

fn expect(answer: &Response, code: u16) -> Result<(), SmtpError> {
    if u16::from(answer.code()) == code {
        Ok(())
    } else {
        Err(refused(answer))
    }
}

fn refused(answer: &Response) -> SmtpError {
    SmtpError::Refused {
        code: answer.code().into(),
        text: answer.message().collect::<Vec<_>>().join("\n"),
    }
}

/// What AUTH LOGIN asks for.
#[derive(Debug, PartialEq)]
enum Wanted {
    UserName,
    Password,
}

impl Wanted {
    /// The mechanism was never a standard: servers ask for `Username:`, and by the drafts for `User Name` with a zero byte.
    fn of(challenge: &str) -> Option<Self> {
        let letters: String = challenge.chars().filter(char::is_ascii_alphabetic).collect();
        match letters.to_ascii_lowercase().as_str() {
            "username" => Some(Wanted::UserName),
            "password" => Some(Wanted::Password),
            _ => None,
        }
    }
}

/// What a server wants an answer to; `None` when it is no text.
fn challenge(answer: &Response) -> Option<String> {
    let bytes = BASE64.decode(answer.first_line().unwrap_or("").trim()).ok()?;
    String::from_utf8(bytes).ok()
}

/// HMAC (RFC 2104) with MD5, in hexadecimal.
fn hmac_md5(key: &[u8], message: &[u8]) -> String {
    const BLOCK_BYTES: usize = 64;
    let mut block = [0_u8; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        let digest = Md5::digest(key);
        block[..digest.len()].copy_from_slice(&digest);
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Md5::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    let outer = Md5::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session reads of a server that says this.
    async fn answer_to(said: &[u8]) -> Result<Vec<String>, SmtpError> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(said).await.expect("room");
        drop(theirs);
        let answer = Session::new(ours, "").answer().await?;
        let mut lines = vec![answer.code().to_string()];
        lines.extend(answer.message().map(str::to_owned));
        Ok(lines)
    }

    #[tokio::test]
    async fn answers_are_read_as_servers_give_them() {
        for (said, read) in [
            ("250 ok\r\n", "250,ok"),
            (
                "250-mail\r\n250-SIZE 10\r\n250 AUTH PLAIN\r\n",
                "250,mail,SIZE 10,AUTH PLAIN",
            ),
            ("250-mail\n250 8BITMIME\n", "250,mail,8BITMIME"),
            ("354\r\n", "354,"),
            ("550 5.1.1 <a@b>: é\r\n", "550,5.1.1 <a@b>: é"),
        ] {
            assert_eq!(answer_to(said.as_bytes()).await.expect(said).join(","), read);
        }
        for (said, error) in [
            (&b"hello\r\n"[..], "malformed SMTP answer: \"hello\""),
            (b"2\r\n", "malformed SMTP answer: \"2\""),
            (
                b"\xff\xfe\xfd \r\n",
                "malformed SMTP answer: \"\u{fffd}\u{fffd}\u{fffd}\"",
            ),
            (b"250-more", "EOF"),
            (b"", "EOF"),
        ] {
            assert_eq!(answer_to(said).await.expect_err("no answer").to_string(), error);
        }
        for endless in [b"250-x\r\n".repeat(20_000), vec![b'2'; 100_000]] {
            assert!(matches!(answer_to(&endless).await, Err(SmtpError::TooLong)));
        }
    }

    #[test]
    fn names_and_passwords_are_asked_for_in_several_ways() {
        for (asked, wanted) in [
            ("Username:", Some(Wanted::UserName)),
            ("User Name\0", Some(Wanted::UserName)),
            ("password:", Some(Wanted::Password)),
            ("Password\0", Some(Wanted::Password)),
            ("Token:", None),
            ("", None),
        ] {
            assert_eq!(Wanted::of(asked), wanted, "{asked:?}");
        }
    }

    /// The example of RFC 2195.
    #[test]
    fn the_documented_challenge_has_the_documented_answer() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(
            hmac_md5(b"tanstaaftanstaaf", challenge),
            "b913a602c7eda7a495b4e6e7334d3890"
        );
    }
}
