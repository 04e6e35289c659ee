//! The one stream of a worker process. Reading never waits for writing: one task reads and hands on, another writes what
//! comes back, so that a worker process that floods logs still gets its heartbeats through.

use haulier_proto::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::convert::{self, Answers, Settings, Taken};
use super::status;
use crate::engine::{Down, Engine, Error, ReportLink};

/// Answers gathered into one message.
const ANSWERS_PER_MESSAGE: usize = 500;
/// Messages on their way to the worker process before the writer waits.
const MESSAGES_MAX: usize = 4;
/// Messages with refusals that wait to be written; a worker process that sends more nonsense than it reads is cut off.
const REFUSED_MAX: usize = 256;

/// What goes down a stream.
pub(crate) type Answer = Result<pb::ReportJobsResponse, Status>;

/// What a conversation needs besides its stream.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) engine: Engine,
    pub(crate) settings: Settings,
    pub(crate) stop: CancellationToken,
}

impl Reports {
    /// Begins the conversation; it goes on in tasks of its own.
    pub(crate) fn begin(self, inbound: Streaming<pb::ReportJobsRequest>) -> ReceiverStream<Answer> {
        let (out, answers) = mpsc::channel(MESSAGES_MAX);
        tokio::spawn(async move {
            if let Err(status) = self.converse(inbound, &out).await {
                let _ = out.send(Err(status)).await;
            }
        });
        ReceiverStream::new(answers)
    }

    /// Reads to the end, answers everything that was read, and says how it ended.
    async fn converse(
        self,
        mut inbound: Streaming<pb::ReportJobsRequest>,
        out: &mpsc::Sender<Answer>,
    ) -> Result<(), Status> {
        let Some(first) = self.next(&mut inbound, out).await? else { return Ok(()) };
        let session = convert::session_of(&first).map_err(status::of)?;
        let (link, down) = self.engine.open_reports(session).await.map_err(status::of)?;
        let (refused, refusals) = mpsc::channel(REFUSED_MAX);
        let answered = CancellationToken::new();
        let writer = tokio::spawn(write(down, refusals, out.clone(), answered.clone()));
        let mut reader = Reader { reports: self, link, refused, session_id: first.session_id.clone() };
        let end = reader.read(first, &mut inbound, out).await;
        reader.link.finish().await;
        drop(reader.refused);
        answered.cancel();
        let _ = writer.await;
        end
    }

    /// The next message; none after the half-close, or when nobody is there any more.
    async fn next(
        &self,
        inbound: &mut Streaming<pb::ReportJobsRequest>,
        out: &mpsc::Sender<Answer>,
    ) -> Result<Option<pb::ReportJobsRequest>, Status> {
        tokio::select! {
            message = inbound.message() => message,
            () = self.stop.cancelled() => Err(status::of(Error::ShuttingDown)),
            () = out.closed() => Ok(None),
        }
    }
}

/// Takes messages.
struct Reader {
    reports: Reports,
    link: ReportLink,
    refused: mpsc::Sender<pb::ReportJobsResponse>,
    session_id: String,
}

impl Reader {
    async fn read(
        &mut self,
        first: pb::ReportJobsRequest,
        inbound: &mut Streaming<pb::ReportJobsRequest>,
        out: &mpsc::Sender<Answer>,
    ) -> Result<(), Status> {
        let mut message = Some(first);
        while let Some(given) = message {
            self.take(given).map_err(status::of)?;
            message = self.reports.next(inbound, out).await?;
        }
        Ok(())
    }

    fn take(&mut self, given: pb::ReportJobsRequest) -> Result<(), Error> {
        if !given.session_id.is_empty() && given.session_id != self.session_id {
            let message =
                "is not the session that this stream began with: open another stream for another session";
            return Err(Error::invalid("session_id", message));
        }
        let Taken { report, refused } =
            convert::report(given, &self.reports.settings, self.reports.engine.now());
        if let Some(refused) = refused {
            self.refused.try_send(refused).map_err(|_| Error::Overloaded {
                message: "more reports were refused than their sender reads answers".into(),
                retry: std::time::Duration::from_secs(1),
            })?;
        }
        self.link.take(report)
    }
}

/// Writes what comes back, several answers to a message, until everything is answered or nobody reads any more.
async fn write(
    mut down: mpsc::Receiver<Down>,
    mut refusals: mpsc::Receiver<pb::ReportJobsResponse>,
    out: mpsc::Sender<Answer>,
    answered: CancellationToken,
) {
    let mut ready = Vec::with_capacity(ANSWERS_PER_MESSAGE);
    loop {
        let mut answers = Answers::default();
        // In this order: when everything is answered, what is left in both channels is written before the end.
        tokio::select! {
            biased;
            count = down.recv_many(&mut ready, ANSWERS_PER_MESSAGE) => {
                if count == 0 {
                    return;
                }
                ready.drain(..).for_each(|answer| answers.add(answer));
            }
            Some(refused) = refusals.recv() => answers.add_refused(refused),
            () = answered.cancelled() => return,
        }
        while let Ok(refused) = refusals.try_recv() {
            answers.add_refused(refused);
        }
        if out.send(Ok(answers.into_message())).await.is_err() {
            return;
        }
    }
}
