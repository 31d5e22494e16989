//! Agents of clusters that dial in: a stream over the connection that is there already.

use std::time::Duration;

use prejoin_agent::dial::streams::{Begun, Wanted};

use super::stderr::Tail;
use super::{Carrier, Connection, Unreached};
use crate::serve::dial::Hub;

/// An agent of a cluster that dialled in.
#[derive(Debug, Clone)]
pub struct Dialled {
    /// Who is connected.
    pub hub: Hub,
    /// The name that the cluster was enrolled under.
    pub cluster: String,
    /// Which of its agents.
    pub wanted: Wanted,
}

impl Dialled {
    pub(super) async fn connect(&self, timeout: Duration) -> Result<Connection, Unreached> {
        let (begun, (reader, writer)) = self.hub.begin(&self.cluster, &self.wanted, timeout).await?;
        if begun != Begun::Ok(true) {
            return Err(Unreached("the agent answers something that was not asked".to_owned()));
        }
        Ok(Connection {
            reader: Box::new(reader),
            writer: Box::new(writer),
            carrier: Carrier::Stream,
            stderr: Tail::empty(),
        })
    }
}

impl std::fmt::Display for Dialled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dialled in")
    }
}
