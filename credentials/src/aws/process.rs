//! `credential_process`: a program of the user's that prints credentials.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::AwsCredentials;
use crate::ask::{ANSWER_BYTES_MAX, json};
use crate::error::CredentialsError;
use crate::machine::Machine;

/// Longest time that the program may take, as in the SDK.
const PATIENCE: Duration = Duration::from_secs(60);

/// Characters of its complaints that an error quotes.
const SAID_CHARS_MAX: usize = 200;

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    version: u32,
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    #[serde(default, deserialize_with = "crate::ask::time")]
    expiration: Option<Timestamp>,
}

/// Runs the command by the shell, as the SDK does, and reads what it prints.
pub(super) async fn run(
    machine: &Machine,
    command: &str,
    profile: &str,
    look_again: Timestamp,
) -> Result<AwsCredentials, CredentialsError> {
    let of = format!("AWS credential_process of profile {profile:?}");
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    if let Some(env) = &machine.env {
        shell.envs(env.iter());
    }
    let ran = tokio::time::timeout(PATIENCE, ended(shell)).await;
    let late =
        || CredentialsError::unusable(&of, format_args!("has not ended after {} s", PATIENCE.as_secs()));
    let (status, said, out) = ran
        .map_err(|_| late())?
        .map_err(|error| CredentialsError::unusable(&of, error))?;
    if !status.success() {
        let said: String = said.trim().chars().take(SAID_CHARS_MAX).collect();
        return Err(CredentialsError::unusable(of, format_args!("{status}: {said}")));
    }
    let printed: Printed = json(&out, &of)?;
    if printed.version != 1 {
        let detail = format!("printed version {}, not 1", printed.version);
        return Err(CredentialsError::unusable(of, detail));
    }
    Ok(AwsCredentials {
        access_key_id: printed.access_key_id,
        secret_access_key: printed.secret_access_key,
        session_token: printed.session_token,
        expires: printed.expiration,
        source: of.into(),
        look_again: Some(look_again),
    })
}

/// How the program ends, its complaints and what it prints; of either no more than [`ANSWER_BYTES_MAX`] is read.
async fn ended(mut shell: Command) -> std::io::Result<(ExitStatus, String, Vec<u8>)> {
    let mut child = shell.spawn()?;
    let (mut out, mut said) = (Vec::new(), Vec::new());
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let max = ANSWER_BYTES_MAX as u64;
    let read_out = async {
        match stdout {
            Some(pipe) => pipe.take(max).read_to_end(&mut out).await,
            None => Ok(0),
        }
    };
    let read_said = async {
        match stderr {
            Some(pipe) => pipe.take(max).read_to_end(&mut said).await,
            None => Ok(0),
        }
    };
    let (first, second) = tokio::join!(read_out, read_said);
    first?;
    second?;
    let status = child.wait().await?;
    Ok((status, String::from_utf8_lossy(&said).into_owned(), out))
}
