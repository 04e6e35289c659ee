//! The demo: a worker that checks URLs, one job, followed live. The server it speaks to was started by `main`.

use std::time::Duration;

use clap::Args;
use haulier::proto::JobSummary;
use haulier::{Client, Command, HandlerError, Job, Worker};
use serde::{Deserialize, Serialize};

use super::{follow, show};

/// What the check of one URL may take.
const CHECK_TIME: Duration = Duration::from_secs(10);

/// Arguments of `demo`.
#[derive(Args)]
pub struct Demo {
    /// URLs to check [default: the endpoints of the server that the demo starts]
    urls: Vec<String>,
}

/// Checks whether URLs answer.
#[derive(Serialize, Deserialize)]
struct CheckUrls {
    urls: Vec<String>,
}

/// What came of one URL.
#[derive(Serialize, Deserialize)]
struct Checked {
    url: String,
    /// HTTP status, if it answered.
    status: Option<u16>,
    /// How long it took, milliseconds.
    milliseconds: u64,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Command for CheckUrls {
    type Output = Vec<Checked>;
}

/// Runs the demo against the server at `address`; answers the exit code.
pub async fn demo(demo: Demo, address: &str) -> u8 {
    match run(demo, address).await {
        Ok(code) => code,
        Err(error) => super::complain(&error),
    }
}

async fn run(demo: Demo, address: &str) -> haulier::Result<u8> {
    let server = format!("http://{address}");
    let client = Client::connect(&server).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::new(client.clone()).name("demo").command(check_urls);
    let working = tokio::spawn(worker.run_until(async move { drop(stopped.await) }));

    let urls = if demo.urls.is_empty() { endpoints(&server) } else { demo.urls };
    let job = client.enqueue(CheckUrls { urls }).tag("demo").await?;
    let ended = follow::watch(&client, job.id().into()).await?;
    let summary = super::summary(&ended);
    show::line(&follow::result(&ended));
    show::line(&summarize(&summary));

    let _ = stop.send(());
    let _ = working.await;
    Ok(super::code_of(summary.state()))
}

fn endpoints(server: &str) -> Vec<String> {
    ["/", "/healthz", "/readyz"].map(|path| format!("{server}{path}")).to_vec()
}

/// The handler: it makes its own HTTP calls, as any user's code does. A URL that is down is a result, not a failure.
async fn check_urls(job: Job, check: CheckUrls) -> Result<Vec<Checked>, HandlerError> {
    let http = reqwest::Client::builder().timeout(CHECK_TIME).build()?;
    let mut checked = Vec::new();
    for (done, url) in check.urls.iter().enumerate() {
        job.check()?;
        job.status(format!("checking {url}"));
        job.progress(done as f64 / check.urls.len() as f64);
        let one = check_url(&http, url).await;
        match &one.error {
            None => {
                job.info(format!("{url} answered {} in {} ms", one.status.unwrap_or(0), one.milliseconds))
                    .await
            }
            Some(error) => job.warn(format!("{url} is down: {error}")).await,
        }
        checked.push(one);
    }
    job.progress(1.0);
    Ok(checked)
}

async fn check_url(http: &reqwest::Client, url: &str) -> Checked {
    let begin = tokio::time::Instant::now();
    let answer = http.get(url).send().await;
    let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let url = url.to_owned();
    match answer {
        Ok(answer) => Checked { url, status: Some(answer.status().as_u16()), milliseconds, error: None },
        Err(error) => Checked { url, status: None, milliseconds, error: Some(error.to_string()) },
    }
}

/// Job id, attempts, time waiting and running.
fn summarize(summary: &JobSummary) -> String {
    let between = |from: Option<_>, to: Option<_>| {
        let from = haulier::options::system_time(from);
        let to = haulier::options::system_time(to);
        from.zip(to).and_then(|(from, to)| to.duration_since(from).ok()).unwrap_or_default()
    };
    format!(
        "job {} {} after {} attempt{}: {:.1} ms waiting, {:.1} ms running",
        summary.id,
        show::state(summary.state()),
        summary.attempt,
        if summary.attempt == 1 { "" } else { "s" },
        between(summary.create_time, summary.start_time).as_secs_f64() * 1e3,
        between(summary.start_time, summary.finish_time).as_secs_f64() * 1e3,
    )
}
