//! Tokens from a program that a kubeconfig file names, as those of clouds are: it writes an `ExecCredential` as JSON.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::api::null_is_default;
use crate::prepare::DiscoveryError;

/// Longest run of the program.
const RUN_MAX: Duration = Duration::from_secs(60);
/// Longest output that is read, in bytes.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;
/// What is quoted of its complaints, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 400;

/// Which program, and how it is called.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Exec {
    pub(super) command: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// Of the credential that it is to write.
    pub(super) api_version: String,
}

/// The token that it gave last.
#[derive(Debug)]
pub(super) struct ExecToken {
    exec: Exec,
    /// One run at a time, whose token all that wait get.
    last: Mutex<Option<Token>>,
}

#[derive(Clone)]
struct Token {
    text: String,
    expires: Option<Timestamp>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ExecCredential {
    #[serde(deserialize_with = "null_is_default")]
    status: ExecStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExecStatus {
    token: Option<String>,
    expiration_timestamp: Option<String>,
}

impl ExecToken {
    pub(super) fn new(exec: Exec) -> Self {
        ExecToken {
            exec,
            last: Mutex::const_new(None),
        }
    }

    /// A token that is good, as far as is known.
    pub(super) async fn get(&self) -> Result<String, DiscoveryError> {
        let mut last = self.last.lock().await;
        let now = Timestamp::now();
        if let Some(token) = last
            .as_ref()
            .filter(|token| token.expires.is_none_or(|end| now < end))
        {
            return Ok(token.text.clone());
        }
        let token = self.run().await?;
        Ok(last.insert(token).text.clone())
    }

    /// A server has refused this token.
    pub(super) async fn refused(&self, text: &str) {
        let mut last = self.last.lock().await;
        if last.as_ref().is_some_and(|token| token.text == text) {
            *last = None;
        }
    }

    async fn run(&self) -> Result<Token, DiscoveryError> {
        let name = self.exec.command.display();
        let failed = |what: &dyn std::fmt::Display| DiscoveryError::content(&name, what);
        let info = serde_json::json!({
            "kind": "ExecCredential",
            "apiVersion": self.exec.api_version,
            "spec": {"interactive": false},
        });
        let mut child = Command::new(&self.exec.command)
            .args(&self.exec.arguments)
            .envs(self.exec.env.iter().map(|(name, value)| (name, value)))
            .env("KUBERNETES_EXEC_INFO", info.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (mut output, mut complaint) = (Vec::new(), Vec::new());
        let ends = async {
            let reading = async {
                match stdout {
                    Some(pipe) => pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut output).await,
                    None => Ok(0),
                }
            };
            let hearing = async {
                let Some(mut pipe) = stderr else { return };
                // What it complains of is for information; the rest is thrown away, so that it can go on.
                let _ = (&mut pipe)
                    .take(COMPLAINT_BYTES_MAX)
                    .read_to_end(&mut complaint)
                    .await;
                let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
            };
            let (read, ()) = tokio::join!(reading, hearing);
            read?;
            child.wait().await
        };
        let status = tokio::time::timeout(RUN_MAX, ends)
            .await
            .map_err(|_| failed(&format_args!("no token within {} s", RUN_MAX.as_secs())))?
            .map_err(|error| failed(&error))?;
        if !status.success() {
            let complaint = String::from_utf8_lossy(&complaint);
            return Err(failed(&format_args!("{status}: {}", complaint.trim())));
        }
        let read: ExecCredential = serde_json::from_slice(&output).map_err(|error| failed(&error))?;
        let text = read.status.token.filter(|token| !token.is_empty());
        let expires = read.status.expiration_timestamp;
        let expires = expires.map(|time| time.parse::<Timestamp>());
        Ok(Token {
            text: text.ok_or_else(|| failed(&"it gives no token; certificates are not built in"))?,
            expires: expires.transpose().map_err(|error| failed(&error))?,
        })
    }
}
