//! `haulier`: arguments, settings, log, run, exit code.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use haulier_server::cli;
use haulier_server::config::{Config, DatabaseUrl, Flags};
use haulier_server::server::{self, Server, Signals, StartError};
use haulier_server::telemetry;

/// Rows and values are made by one thread and freed by another, SQLite's by ten thousands a second: under load a sixth of the
/// server's samples were in glibc's malloc and free (perf, S5 of the benchmark).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Name of the program.
const NAME: &str = "haulier";
/// Something failed.
const FAILURE: u8 = 1;
/// The arguments or the settings are wrong.
const USAGE: u8 = 2;

/// Haulier: a durable background-job service on MySQL, MariaDB or an embedded SQLite file
#[derive(Parser)]
#[command(name = NAME, version, propagate_version = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Server(ServerCommand),
    /// Start a server in a temporary folder, check URLs by one job, and follow it
    Demo(cli::Demo),
    #[command(flatten)]
    Client(cli::Command),
    /// Write the completions for a shell to standard output
    ///
    /// For bash, for instance: haulier completions bash > /etc/bash_completion.d/haulier
    Completions {
        /// Shell to write for
        shell: Shell,
    },
    /// Write the manual to standard output, or a page of each command into a folder
    ///
    /// To read it at once: haulier man | man -l -
    Man {
        /// Folder for the pages, such as /usr/local/share/man/man1
        folder: Option<PathBuf>,
    },
}

/// Commands that open the database; all others speak gRPC.
#[derive(Subcommand)]
enum ServerCommand {
    /// Run a server
    Serve(Flags),
    /// Bring the database's tables to this version
    Migrate(Flags),
    /// Look at the settings of the database that safety and speed rest on
    Doctor(Flags),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(FAILURE, &error),
    };
    let code = runtime.block_on(run(command));
    // What still runs after the drain is not waited for.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> ExitCode {
    match command {
        Command::Server(command) => run_server(command).await,
        Command::Demo(arguments) => demo(arguments).await,
        Command::Client(command) => ExitCode::from(cli::run(command).await),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
            // A reader that has gone, such as `head`, is no failure.
            let _ = io::stdout().lock().write_all(&script);
            ExitCode::SUCCESS
        }
        Command::Man { folder } => match write_manual(folder) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(FAILURE, &error),
        },
    }
}

fn write_manual(folder: Option<PathBuf>) -> io::Result<()> {
    let command = Arguments::command();
    match folder {
        Some(folder) => clap_mangen::generate_to(command, folder),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            let _ = io::stdout().lock().write_all(&page);
            Ok(())
        }
    }
}

/// A server of its own on an embedded database in a temporary folder, for as long as the demo takes.
async fn demo(arguments: cli::Demo) -> ExitCode {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return fail(FAILURE, &error),
    };
    let database = folder.path().join("haulier.db");
    let config = Config {
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        database_url: DatabaseUrl(format!("sqlite:{}", database.display())),
        ..Config::default()
    };
    let mut running = match server::start(config).await {
        Ok(running) => running,
        Err(error) => return fail(FAILURE, &error),
    };
    let code = cli::demo(arguments, &running.address.to_string()).await;
    running.shutdown();
    running.wait().await;
    ExitCode::from(code)
}

async fn run_server(command: ServerCommand) -> ExitCode {
    let (ServerCommand::Serve(flags) | ServerCommand::Migrate(flags) | ServerCommand::Doctor(flags)) =
        &command;
    let config = match Config::load(flags.clone(), |name| std::env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => return fail(USAGE, &error),
    };
    telemetry::init(config.log_format);
    let done = match command {
        ServerCommand::Serve(_) => serve(config).await,
        ServerCommand::Migrate(_) => server::migrate(&config).await.map(|()| ExitCode::SUCCESS),
        ServerCommand::Doctor(_) => doctor(&config).await,
    };
    done.unwrap_or_else(|error| match error {
        StartError::Config(error) => fail(USAGE, &error),
        error => fail(FAILURE, &error),
    })
}

/// Serves until the first signal, then drains; a second signal ends the process at once.
async fn serve(config: Config) -> Result<ExitCode, StartError> {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return Ok(fail(FAILURE, &error)),
    };
    let bound = Server::bind(config).await?;
    let mut running = tokio::select! {
        running = bound.start() => running?,
        () = signals.next() => return Ok(fail(FAILURE, &"stopped before the server had started")),
    };
    tell_manager(Phase::Ready);
    tokio::select! {
        () = signals.next() => {
            tell_manager(Phase::Stopping);
            running.shutdown();
        }
        () = running.wait() => return Ok(ExitCode::from(FAILURE)),
    }
    tokio::select! {
        () = running.wait() => Ok(ExitCode::SUCCESS),
        () = signals.next() => Ok(fail(FAILURE, &"a second signal: stopped without finishing the calls under way")),
    }
}

/// What a service manager is told.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Ready,
    Stopping,
}

/// Tells systemd, if it started this process with `Type=notify`.
#[cfg(target_os = "linux")]
fn tell_manager(phase: Phase) {
    let state = match phase {
        Phase::Ready => sd_notify::NotifyState::Ready,
        Phase::Stopping => sd_notify::NotifyState::Stopping,
    };
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, ?phase, "the service manager could not be told");
    }
}

/// Elsewhere nobody asks.
#[cfg(not(target_os = "linux"))]
fn tell_manager(_: Phase) {}

async fn doctor(config: &Config) -> Result<ExitCode, StartError> {
    let (table, is_well) = server::report(&server::doctor(config).await?);
    // A reader that has gone, such as `head`, is no failure.
    let _ = io::stdout().lock().write_all(table.as_bytes());
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) })
}

fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "haulier: {error}");
    ExitCode::from(code)
}
