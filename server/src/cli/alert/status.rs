//! `cluster show` and `config show`: what a server says of itself.

use super::client::Client;
use super::error::AlertError;
use super::line::Line;
use super::print::Printer;

/// Shows the state of the server's cluster.
pub(super) async fn cluster(line: &Line) -> Result<(), AlertError> {
    let status = Client::new(line).await?.status().await?;
    Printer::new(line).cluster(status.cluster);
    Ok(())
}

/// Shows the server's configuration.
pub(super) async fn config(line: &Line) -> Result<(), AlertError> {
    let status = Client::new(line).await?.status().await?;
    Printer::new(line).status(&status);
    Ok(())
}
