//! Following a job live: a progress bar, its log lines above it, its outcome below.

use std::time::Duration;

use futures::TryStreamExt as _;
use haulier::proto::{JobResult, JobSummary, ProgressEvent};
use haulier::{Client, JobEvent, JobState, JobTarget};
use indicatif::{ProgressBar, ProgressStyle};

use super::show;

const STEPS: u64 = 1_000;

/// Follows a job until its outcome, shows that, and answers its exit code.
pub(super) async fn follow(client: &Client, job: JobTarget) -> haulier::Result<u8> {
    let job = watch(client, job).await?;
    let summary = super::summary(&job);
    let state = summary.state();
    match &summary.error {
        Some(error) if state == JobState::Failed => show::line(&show::error_text(error)),
        _ if state == JobState::Cancelled => show::line(&format!("cancelled: {}", summary.cancel_message)),
        _ => show::line(&result(&job)),
    }
    Ok(super::code_of(state))
}

/// The result as text.
pub(super) fn result(job: &JobResult) -> String {
    match &job.record {
        Some(haulier::proto::job_result::Record::Completed(job)) => show::payload(job.result.as_ref()),
        _ => String::new(),
    }
}

/// Shows a job live; answers it as it is at its outcome.
pub(super) async fn watch(client: &Client, job: JobTarget) -> haulier::Result<JobResult> {
    let bar = ProgressBar::new(STEPS).with_style(style());
    bar.enable_steady_tick(Duration::from_millis(100));
    let shows_bar = !bar.is_hidden();
    let mut events = client.watch(job);
    let mut last = JobResult::default();
    while let Some(event) = events.try_next().await? {
        match event.event {
            JobEvent::Snapshot(job) => {
                show_state(&bar, &super::summary(&job));
                last = *job;
            }
            JobEvent::State(summary) => show_state(&bar, &summary),
            JobEvent::Progress(progress) => show_progress(&bar, &progress),
            JobEvent::Logs(lines) => {
                lines.iter().for_each(|line| above(&bar, shows_bar, &show::log_line(line)))
            }
            JobEvent::Gap(gap) => {
                above(&bar, shows_bar, &format!("(log lines were left out: {})", gap.reason))
            }
            _ => {}
        }
    }
    bar.finish_and_clear();
    Ok(last)
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:32}] {percent:>3} % {wide_msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn show_state(bar: &ProgressBar, summary: &JobSummary) {
    bar.set_prefix(format!("job {} {}", summary.id, show::state(summary.state())));
    bar.set_message(summary.status.clone());
    if let Some(part) = summary.progress {
        bar.set_position(position(part));
    }
}

fn show_progress(bar: &ProgressBar, progress: &ProgressEvent) {
    bar.set_message(progress.status.clone());
    if let Some(part) = progress.progress {
        bar.set_position(position(part));
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of 1, clamped")]
fn position(part: f64) -> u64 {
    (part.clamp(0.0, 1.0) * STEPS as f64) as u64
}

/// A line above the bar, or on stderr where there is none.
fn above(bar: &ProgressBar, shows_bar: bool, text: &str) {
    if shows_bar {
        bar.println(text);
    } else {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}
