//! The SDK against a server in this process that loses answers, cuts streams, goes silent and ends sessions.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod client;
mod contract;
mod fake;
mod periodic;
mod worker;
