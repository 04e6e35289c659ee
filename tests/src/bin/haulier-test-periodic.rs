//! A process with one singleton, on the Rust SDK: it writes down each of its runs with its fencing token.
//!
//! `haulier-test-periodic <address of the server> <its own name> <file of the runs>`

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use haulier::{Client, Periodic, RunContext, Worker};

/// Shortest lease time that servers allow.
const LEASE: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, name, path] = <[String; 3]>::try_from(arguments)
        .map_err(|_| anyhow::anyhow!("usage: haulier-test-periodic <address> <name> <file>"))?;
    let client = Client::builder(address).connect_lazy()?;
    let singleton = Periodic::new("the-one", PERIOD).run_at_start().singleton().lease_time(LEASE);
    let write = move |run: RunContext| {
        let (name, path) = (name.clone(), path.clone());
        async move {
            run.check()?;
            let line = format!("{name} {}\n", run.fencing_token().unwrap_or_default());
            OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes())?;
            Ok(())
        }
    };
    Worker::new(client).periodic(singleton, write).run().await?;
    Ok(())
}
