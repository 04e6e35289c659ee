//! Where the benchmark keeps its databases: made for it, under random names, and removed when it is done.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::driver::{Bare, DatabaseFacts, is_mysql};
use super::error::{Error, Result};

/// Where databases are made.
pub(super) enum Place {
    /// Nowhere: a server that runs already is measured.
    Server(String),
    /// Here.
    Own(Box<Own>),
}

/// Databases of the benchmark's own.
pub(super) struct Own {
    /// Files, and the logs of servers.
    folder: tempfile::TempDir,
    /// The database server; none for SQLite.
    mysql_url: Option<String>,
    /// What the names of databases begin with.
    prefix: String,
    made: Vec<String>,
}

impl Place {
    /// In a temporary folder, in the folder of `sqlite:FOLDER`, or on the server of `mysql://..`.
    pub(super) async fn open(url: Option<&str>) -> Result<Self> {
        let mysql_url = url.filter(|url| is_mysql(url)).map(str::to_owned);
        let parent = match url {
            Some(url) if mysql_url.is_none() => sqlite_folder(url)?,
            _ => std::env::temp_dir(),
        };
        let made = tempfile::Builder::new().prefix("haulier-bench-").tempdir_in(&parent);
        let folder = made.map_err(Error::during(format!("making a folder in {}", parent.display())))?;
        let random = Uuid::new_v4().simple().to_string();
        let prefix = format!("haulier_bench_{}", &random[..8]);
        Ok(Place::Own(Box::new(Own { folder, mysql_url, prefix, made: Vec::new() })))
    }

    /// Drops every database that is left.
    pub(super) async fn clean_up(self) -> Result<()> {
        let Place::Own(mut own) = self else { return Ok(()) };
        for url in std::mem::take(&mut own.made) {
            own.drop_database(&url).await?;
        }
        own.folder.close().map_err(Error::during("removing the temporary folder"))
    }
}

impl Own {
    /// Makes a database; answers its URL.
    pub(super) async fn make(&mut self, what: &str) -> Result<String> {
        let random = Uuid::new_v4().simple().to_string();
        let name = format!("{}_{what}_{}", self.prefix, &random[..6]);
        let url = match &self.mysql_url {
            None => format!("sqlite:{}", self.folder.path().join(format!("{name}.db")).display()),
            Some(server) => {
                let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4");
                self.administer(server, &create).await?;
                with_database(server, &name)
            }
        };
        self.made.push(url.clone());
        Ok(url)
    }

    /// Removes a database.
    pub(super) async fn remove(&mut self, url: &str) -> Result<()> {
        self.made.retain(|made| made != url);
        self.drop_database(url).await
    }

    /// A file for the log of a server.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.log"))
    }

    /// What the database is, and its process if it is known.
    pub(super) async fn facts(&self) -> Result<DatabaseFacts> {
        let url = self.mysql_url.clone().unwrap_or_else(|| "sqlite::memory:".into());
        let mut facts = Bare::connect(&url).await?.facts().await?;
        facts.folder.get_or_insert_with(|| self.folder.path().display().to_string());
        Ok(facts)
    }

    /// The database server's process; none for SQLite, or when it is unknown.
    pub(super) async fn process(&self) -> Option<u32> {
        let url = self.mysql_url.as_ref()?;
        Bare::connect(url).await.ok()?.process(url).await
    }

    async fn drop_database(&self, url: &str) -> Result<()> {
        match &self.mysql_url {
            Some(server) => {
                let name = database_of(url);
                self.administer(server, &format!("DROP DATABASE IF EXISTS {name}")).await
            }
            None => remove_files(self.folder.path(), url),
        }
    }

    async fn administer(&self, server: &str, sql: &str) -> Result<()> {
        let done = async { Bare::connect(server).await?.execute(sql).await };
        done.await.map_err(Error::during(format!(
            "{sql}: the user of --database-url must be allowed to make and drop databases"
        )))
    }
}

/// The folder of a SQLite URL; a file in it counts as the folder it lies in.
fn sqlite_folder(url: &str) -> Result<PathBuf> {
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    let path = Path::new(path.strip_prefix("//").unwrap_or(path));
    if url.contains("://") && !url.starts_with("sqlite:") {
        return Err(Error::new(format!("--database-url {url}: give sqlite:FOLDER or mysql://user@host")));
    }
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    Err(Error::new(format!(
        "--database-url {url}: {} is no folder; databases are made in it",
        path.display()
    )))
}

fn remove_files(folder: &Path, url: &str) -> Result<()> {
    let file = Path::new(url.strip_prefix("sqlite:").unwrap_or(url));
    let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let files = std::fs::read_dir(folder).map_err(Error::during(folder.display()))?;
    for file in files.flatten().filter(|file| file.file_name().to_string_lossy().starts_with(&stem)) {
        std::fs::remove_file(file.path()).map_err(Error::during(file.path().display()))?;
    }
    Ok(())
}

/// The URL of a database on the server of another URL.
fn with_database(url: &str, name: &str) -> String {
    let (place, query) = url.split_once('?').map_or((url, None), |(place, query)| (place, Some(query)));
    let start = place.find("://").map_or(0, |at| at + 3);
    let server = place[start..].find('/').map_or(place, |at| &place[..start + at]);
    match query {
        Some(query) => format!("{server}/{name}?{query}"),
        None => format!("{server}/{name}"),
    }
}

fn database_of(url: &str) -> &str {
    let place = url.split_once('?').map_or(url, |(place, _)| place);
    place.rsplit_once('/').map_or("", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_pointed_at_another_database() {
        assert_eq!(
            with_database("mysql://u:p@h:3306/shop?ssl-mode=REQUIRED", "b"),
            "mysql://u:p@h:3306/b?ssl-mode=REQUIRED"
        );
        assert_eq!(with_database("mysql://u@h", "b"), "mysql://u@h/b");
        assert_eq!(with_database("mysql://u@h/", "b"), "mysql://u@h/b");
        assert_eq!(
            with_database("mysql://u@h/?socket=/run/my.sock", "b"),
            "mysql://u@h/b?socket=/run/my.sock"
        );
        assert_eq!(database_of("mysql://u@h/b?socket=/run/my.sock"), "b");
    }

    #[tokio::test]
    async fn databases_in_a_folder_are_removed_with_their_side_files() {
        let parent = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", parent.path().display());
        let place = Place::open(Some(&url)).await.unwrap();
        let Place::Own(mut own) = place else { panic!("databases are made") };
        let made = own.make("floor").await.unwrap();
        let file = made.strip_prefix("sqlite:").unwrap();
        for name in [file.to_owned(), format!("{file}-wal"), format!("{file}.lock")] {
            std::fs::write(name, "x").unwrap();
        }
        own.remove(&made).await.unwrap();
        assert_eq!(std::fs::read_dir(own.folder.path()).unwrap().count(), 0);
        Place::Own(own).clean_up().await.unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_url_that_is_no_folder_is_refused_by_name() {
        let error = Place::open(Some("postgres://x/y")).await.err().unwrap();
        assert!(error.to_string().contains("postgres://x/y"), "{error}");
        assert!(Place::open(Some("sqlite:/no/such/folder")).await.is_err());
    }
}
