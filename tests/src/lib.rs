//! Haulier seen from outside: the harness of the system tests and the crash tests.
//!
//! - [`Server`] is a real server process in a private folder, on SQLite or on a fresh MariaDB database.
//! - [`HandWorker`] speaks the worker protocol message by message, so that a test can lose or repeat any of them.
//! - [`Refusal`] is an error as a caller sees it: code, reason, fields.
//! - [`Receiver`] and [`Shop`] are real services in the test's own process, HTTP and gRPC, for jobs to call.
//! - [`history`] and [`checker`] are the two halves of the crash tests: what every actor saw, and what it proves.
//!
//! Tests wait for signals, never for time: [`until`] asks until the answer is the wanted one, or fails.

#![expect(clippy::print_stdout, reason = "figures are printed")]
#![expect(clippy::print_stderr, reason = "what a failed test has to say goes to its output")]

pub mod checker;
mod figures;
pub mod history;
mod http;
pub mod load;
#[expect(clippy::disallowed_methods, reason = "it starts and stops outside of any runtime")]
pub mod mariadb;
pub mod messages;

mod process;
mod receiver;
mod refusal;
mod server;
mod shop;
mod time;
mod worker;

pub use figures::figure;
pub use http::{HttpAnswer, http_get, http_post};
pub use process::{Process, Signal};
pub use receiver::{Received, Receiver, Response, signature};
pub use refusal::{Refusal, refusal};
pub use server::{Database, Launch, Server, haulier_binary};
pub use shop::{Shop, ShopCall, ShopReflection};
pub use time::{Pause, after, duration_of, monotonic, seconds, since_epoch, stamp, until};
pub use worker::{Conversation, HandWorker, Registration, forge, lines};

/// Makes two tests of each named scenario, `async fn(&Server)`: on SQLite and on MariaDB.
#[macro_export]
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let server = $crate::Server::start($crate::Database::Sqlite).await;
                super::$scenario(&server).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                let server = $crate::Server::start($crate::Database::MariaDb).await;
                super::$scenario(&server).await;
            }
        }
    )+ };
}

/// As [`on_both`], with a settings file: `on_both_configured!(TEXT; scenario, ...)`.
#[macro_export]
macro_rules! on_both_configured {
    ($config:expr; $($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_sqlite() {
                let launch = $crate::Launch::configured($crate::Database::Sqlite, $config);
                super::$scenario(&$crate::Server::start(launch).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                let launch = $crate::Launch::configured($crate::Database::MariaDb, $config);
                super::$scenario(&$crate::Server::start(launch).await).await;
            }
        }
    )+ };
}

/// Makes a test of each named scenario with two servers on one MariaDB database: `async fn(&Server, &Server)`.
#[macro_export]
macro_rules! on_two_servers {
    ($($scenario:ident),+ $(,)?) => { $(
        mod $scenario {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn on_mariadb() {
                let server = $crate::Server::start($crate::Database::MariaDb).await;
                let replica = server.replica().await;
                super::$scenario(&server, &replica).await;
            }
        }
    )+ };
}
