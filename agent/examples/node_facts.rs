//! Shows what the agent reads of this machine, as JSON: `cargo run -p prejoin-agent --example node_facts -- 192.0.2.1 example.org`.

use std::net::IpAddr;
use std::time::Duration;

use prejoin_agent::node::{NodeOptions, read_node};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), serde_json::Error> {
    let mut options = NodeOptions::new("here", Duration::from_secs(10));
    for word in std::env::args().skip(1) {
        match word.parse::<IpAddr>() {
            Ok(ip) => options.peers.push(ip),
            Err(_) => options.names.push(word),
        }
    }
    let facts = read_node(&options).await;
    serde_json::to_writer_pretty(std::io::stdout(), &facts)
}
