//! Private MariaDB servers for tests: started in a temporary folder on a free port and a socket, removed at the end.
//!
//! A data folder is made once by `mariadb-install-db` under `target/mariadb-template` and copied for each server.
//! Needs `mariadbd`: the Debian package `mariadb-server`.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// How long a server may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where programs lie that are in no ordinary PATH.
const FOLDERS: [&str; 5] = ["/usr/sbin", "/usr/libexec", "/usr/local/sbin", "/usr/local/bin", "/usr/bin"];

/// A MariaDB server of our own.
pub struct MariaDb {
    folder: tempfile::TempDir,
    port: u16,
    settings: Vec<String>,
    running: Option<Running>,
    databases: AtomicU32,
}

/// A running server: a shell that starts it and ends it when our end of the pipe closes, so that it never outlives
/// the test process, however that ends.
struct Running {
    guard: Child,
    /// Closed when we are done.
    pipe: Option<ChildStdin>,
    pid: u32,
}

/// Starts the server, tells its process id, waits until the pipe closes, then kills it; removes the folder if the
/// test process is gone by then and cannot do it. The shell's third channel is the pipe, its first the server's.
const GUARD: &str = r#"
exec 3<&0
folder=$1
shift
"$@" </dev/null >/dev/null 2>&1 3<&- &
server=$!
echo "$server"
(
    cat >/dev/null
    kill -9 "$server" 2>/dev/null
    for i in 1 2 3 4 5 6 7 8 9 10; do
        kill -0 $PPID 2>/dev/null || { rm -rf "$folder"; exit; }
        sleep 0.3
    done
) <&3 >/dev/null &
wait "$server"
"#;

impl MariaDb {
    /// Starts a server that flushes at every commit.
    pub fn start() -> anyhow::Result<MariaDb> {
        Self::start_with(&[])
    }

    /// Starts a server with further settings, such as `--transaction-isolation=REPEATABLE-READ`.
    pub fn start_with(settings: &[&str]) -> anyhow::Result<MariaDb> {
        let template = template()?;
        let folder = tempfile::Builder::new().prefix("haulier-mariadb-").tempdir()?;
        copy_folder(&template, &folder.path().join("data")).context("copy the data folder")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut server = MariaDb { folder, port, settings, running: None, databases: AtomicU32::new(0) };
        server.restart()?;
        Ok(server)
    }

    /// Makes a fresh database; answers its URL by the socket.
    pub fn database(&self) -> anyhow::Result<String> {
        let name =
            format!("haulier_{}_{}", std::process::id(), self.databases.fetch_add(1, Ordering::Relaxed));
        self.run_sql(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4"))?;
        Ok(format!("{}?socket={}", self.url_tcp(&name), self.socket().display()))
    }

    /// The URL of a database by TCP.
    pub fn url_tcp(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The process id of the server; none while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// What the server wrote to its error log, deadlocks included.
    pub fn error_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }

    /// Kills the server at once, as a crash would.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        let Some(running) = self.running.take() else { bail!("the server is down already") };
        running.end()
    }

    /// Starts the server again on the same data, socket and port; ends it first if it runs.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        if let Some(running) = self.running.take() {
            running.end()?;
        }
        self.running = Some(self.launch()?);
        self.wait_until_up()
    }

    /// Runs statements through the command-line client, as root.
    pub fn run_sql(&self, sql: &str) -> anyhow::Result<String> {
        let client = find(&["mariadb", "mysql"])?;
        let output = Command::new(client)
            .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"])
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--execute={sql}"))
            .output()?;
        if !output.status.success() {
            bail!("{sql}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn launch(&self) -> anyhow::Result<Running> {
        let folder = self.folder.path();
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "guard"]).arg(folder).arg(find(&["mariadbd", "mysqld"])?);
        command
            .args(["--no-defaults", "--innodb-flush-log-at-trx-commit=1", "--skip-log-bin"])
            .args([
                "--innodb-buffer-pool-size=128M",
                "--innodb-print-all-deadlocks=1",
                "--max-connections=500",
            ])
            .args(["--max-allowed-packet=16M", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--innodb-log-file-size=64M", "--performance-schema=OFF", "--skip-networking=0"])
            .arg(format!("--port={}", self.port))
            .arg(format!("--datadir={}", folder.join("data").display()))
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!("--pid-file={}", folder.join("pid").display()))
            .arg(format!("--log-error={}", folder.join("error.log").display()))
            .arg(format!("--tmpdir={}", folder.display()))
            .args(user_option())
            .args(&self.settings);
        let mut guard = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let pipe = guard.stdin.take();
        let mut line = String::new();
        let output = guard.stdout.take().context("the guard has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let pid = line.trim().parse().with_context(|| format!("the guard told no process id: {line:?}"))?;
        Ok(Running { guard, pipe, pid })
    }

    fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if UnixStream::connect(self.socket()).is_ok() && self.run_sql("SELECT 1").is_ok() {
                return Ok(());
            }
            let ended =
                self.running.as_mut().is_some_and(|running| matches!(running.guard.try_wait(), Ok(Some(_))));
            if ended {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("mariadbd did not start; its log says:\n{}", self.error_log())
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.end();
        }
    }
}

impl Running {
    /// Lets the guard kill the server, and waits for both to end.
    fn end(mut self) -> anyhow::Result<()> {
        drop(self.pipe.take());
        self.guard.wait()?;
        Ok(())
    }
}

/// One server shared by all tests of this process; it ends with the process.
pub fn shared() -> &'static MariaDb {
    static SHARED: OnceLock<MariaDb> = OnceLock::new();
    SHARED.get_or_init(|| match MariaDb::start() {
        Ok(server) => server,
        Err(error) => panic!("no MariaDB for the tests: {error:#}"),
    })
}

/// The data folder that others are copied from, made once for all test processes.
fn template() -> anyhow::Result<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    fs::create_dir_all(&target)?;
    let lock = File::create(target.join("mariadb-template.lock"))?;
    lock.lock()?;
    let template = target.join("mariadb-template");
    if !template.join("done").exists() {
        let _ = fs::remove_dir_all(&template);
        install(&template)?;
        File::create(template.join("done"))?;
    }
    Ok(template)
}

fn install(folder: &Path) -> anyhow::Result<()> {
    let install = find(&["mariadb-install-db", "mysql_install_db"])?;
    let output = Command::new(install)
        .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"])
        .args(["--innodb-log-file-size=64M"])
        .arg(format!("--datadir={}", folder.display()))
        .args(user_option())
        .output()?;
    if !output.status.success() {
        bail!(
            "mariadb-install-db failed: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// The server refuses to run as root unless told to.
fn user_option() -> Option<&'static str> {
    let uid = fs::metadata("/proc/self").map(|process| std::os::unix::fs::MetadataExt::uid(&process));
    matches!(uid, Ok(0)).then_some("--user=root")
}

fn find(names: &[&str]) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from));
    for folder in folders {
        if let Some(found) = names.iter().map(|name| folder.join(name)).find(|file| file.is_file()) {
            return Ok(found);
        }
    }
    bail!("{} is not installed: apt-get install mariadb-server mariadb-client", names[0])
}

fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_survives_a_crash_with_its_data_and_ends_with_its_owner() {
        let mut server = MariaDb::start().expect("a server starts");
        server
            .run_sql("CREATE DATABASE a; CREATE TABLE a.b (c INT); INSERT INTO a.b VALUES (7)")
            .expect("statements run");
        server.kill9().expect("a running server can be killed");
        server.restart().expect("a killed server starts again");
        assert_eq!(server.run_sql("SELECT c FROM a.b").expect("the table is there").trim(), "7");
        let pid = server.pid().expect("a running server has a process");
        let folder = server.folder.path().to_owned();
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(!folder.exists());
    }
}
