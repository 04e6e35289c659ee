//! What a handler logs with `tracing`, sent to the log of its job.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use haulier_proto::v1::LogLevel;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::job::Job;

/// Target and name of the span in which a handler runs.
const SPAN_TARGET: &str = "haulier::job";

thread_local! {
    /// The job whose span is being made: how the layer gets it.
    static ENTERING: RefCell<Option<Job>> = const { RefCell::new(None) };
}

tokio::task_local! {
    /// The job whose handler runs in this task: for when its span is filtered out.
    static RUNNING: Job;
}

/// A layer for `tracing_subscriber` that sends the events inside a handler to the log of its job, beside wherever else they go.
///
/// Events in tasks that the handler spawns are sent too when they are instrumented with the handler's span. An event never waits:
/// when the job logs faster than its lines can be stored some are left out, and a line says how many.
///
/// ```
/// use tracing_subscriber::prelude::*;
/// tracing_subscriber::registry().with(tracing_subscriber::fmt::layer()).with(haulier::JobLog::new()).init();
/// ```
#[derive(Debug, Clone)]
pub struct JobLog {
    level_max: Level,
}

impl JobLog {
    /// Sends events of the level INFO and above.
    pub fn new() -> Self {
        Self { level_max: Level::INFO }
    }

    /// Sends events of this level and above.
    #[must_use]
    pub fn with_level(mut self, level: Level) -> Self {
        self.level_max = level;
        self
    }
}

impl Default for JobLog {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JobLog {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() != SPAN_TARGET {
            return;
        }
        let job = ENTERING.with_borrow(Option::clone);
        if let (Some(job), Some(span)) = (job, context.span(id)) {
            span.extensions_mut().insert(job);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() > self.level_max {
            return;
        }
        let in_span = context
            .event_scope(event)
            .and_then(|mut scope| scope.find_map(|span| span.extensions().get::<Job>().cloned()));
        if let Some(job) = in_span.or_else(|| RUNNING.try_with(Job::clone).ok()) {
            let mut text = Text::default();
            event.record(&mut text);
            job.log_now(level(*event.metadata().level()), text.message, text.fields);
        }
    }
}

/// Runs a handler in the span and under the name of its job.
pub(crate) async fn within<F: Future>(job: Job, handler: F) -> F::Output {
    use tracing::Instrument as _;
    let span = span_of(&job);
    RUNNING.scope(job, handler.instrument(span)).await
}

fn span_of(job: &Job) -> Span {
    ENTERING.set(Some(job.clone()));
    // At the level ERROR so that no filter of levels takes it away.
    let span = tracing::error_span!(
        target: "haulier::job",
        "job",
        id = job.id(),
        ref_id = job.ref_id(),
        command = job.command(),
        attempt = job.attempt()
    );
    ENTERING.set(None);
    span
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG => LogLevel::Debug,
        Level::TRACE => LogLevel::Trace,
    }
}

/// Message and fields of an event.
#[derive(Default)]
struct Text {
    message: String,
    fields: HashMap<String, String>,
}

impl Text {
    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.fields.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::FakeJob;
    use crate::{HandlerError, JobLog};
    use haulier_proto::v1::LogLevel;
    use tracing::Instrument as _;
    use tracing_subscriber::prelude::*;

    #[tokio::test]
    async fn events_inside_a_handler_reach_the_log_of_its_job_also_from_tasks_in_its_span() {
        let _guard = tracing_subscriber::registry().with(JobLog::new()).set_default();
        tracing::info!("outside");
        let fake = FakeJob::new();
        let handler = |_, ()| async {
            tracing::info!(url = "https://example.org", count = 3, "checking");
            tracing::debug!("too fine");
            let inner =
                tokio::spawn(async { tracing::warn!("from a task") }.instrument(tracing::Span::current()));
            inner.await?;
            Ok::<_, HandlerError>(())
        };
        fake.run(handler, ()).await.unwrap();
        let lines = fake.logs();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!((lines[0].level, lines[0].message.as_str()), (LogLevel::Info, "checking"));
        assert_eq!(
            (lines[0].fields["url"].as_str(), lines[0].fields["count"].as_str()),
            ("https://example.org", "3")
        );
        assert_eq!((lines[1].level, lines[1].message.as_str()), (LogLevel::Warn, "from a task"));
    }
}
