//! `haulier.v1.AdminService`: figures, commands, servers, months of history. Convert, call the engine, convert.

use std::cmp::Ordering;
use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use haulier_proto::v1 as pb;
use haulier_proto::v1::admin_service_server::AdminService;
use tonic::{Request, Response, Status};

use super::check::Check;
use super::convert;
use super::paging::Named;
use super::status;
use crate::engine::{Engine, Error, ExportCall, MonthFigures, MonthKept, Result as Answered};
use crate::model::{Month, Retention, Time, limits};

const SERVERS: Named<'static> = Named { kind: "s1", narrowed_by: "", later: Ordering::Greater };
const MONTHS: Named<'static> = Named { kind: "h1", narrowed_by: "", later: Ordering::Less };

/// What a method answers.
type Answer<T> = Result<Response<T>, Status>;
/// What a method that streams answers.
type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves operators.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) engine: Engine,
    pub(crate) retention: Retention,
}

#[tonic::async_trait]
impl AdminService for Admin {
    type ExportHistoryMonthStream = Events<pb::ExportHistoryMonthResponse>;

    async fn list_history_months(
        &self,
        request: Request<pb::ListHistoryMonthsRequest>,
    ) -> Answer<pb::ListHistoryMonthsResponse> {
        let given = request.into_inner();
        let page = MONTHS.page(Check::new(), given.page_size, &given.page_token).map_err(status::of)?;
        let all = self.engine.history().await.map_err(status::of)?;
        let (months, next_page_token) = page.cut(all, |figures| figures.month.dashed());
        let months = months.iter().map(|figures| self.message(figures)).collect();
        Ok(Response::new(pb::ListHistoryMonthsResponse { months, next_page_token }))
    }

    async fn export_history_month(
        &self,
        request: Request<pb::ExportHistoryMonthRequest>,
    ) -> Answer<Self::ExportHistoryMonthStream> {
        let call = export_call(request.into_inner()).map_err(status::of)?;
        self.engine.drop_month(call.month, true).await.map_err(status::of)?;
        let engine = self.engine.clone();
        let events = self.engine.export(call).map(move |event| {
            event.map(|exported| convert::exported(exported, engine.now())).map_err(status::of)
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn drop_history_month(
        &self,
        request: Request<pb::DropHistoryMonthRequest>,
    ) -> Answer<pb::DropHistoryMonthResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        let month = required_month(&mut check, &given.month);
        let month = check.pass(month).map_err(status::of)?;
        let figures = self.engine.drop_month(month, given.validate_only).await.map_err(status::of)?;
        Ok(Response::new(pb::DropHistoryMonthResponse { month: Some(self.message(&figures)) }))
    }

    async fn get_overview(
        &self,
        request: Request<pb::GetOverviewRequest>,
    ) -> Answer<pb::GetOverviewResponse> {
        let mut check = Check::new();
        let hours = request.into_inner().hours;
        let hours =
            check.number_or("hours", hours, limits::OVERVIEW_HOURS_DEFAULT, 1..=limits::OVERVIEW_HOURS_MAX);
        let hours = check.pass(hours).map_err(status::of)?;
        let overview = self.engine.overview(hours).await.map_err(status::of)?;
        Ok(Response::new(pb::GetOverviewResponse { overview: Some(convert::overview(&overview)) }))
    }

    async fn list_commands(
        &self,
        request: Request<pb::ListCommandsRequest>,
    ) -> Answer<pb::ListCommandsResponse> {
        let given = request.into_inner();
        let mut check = Check::new();
        check.bytes("name_prefix", &given.name_prefix, limits::NAME_BYTES_MAX);
        let list = Named { kind: "m1", narrowed_by: &given.name_prefix, later: Ordering::Greater };
        let page = list.page(check, given.page_size, &given.page_token).map_err(status::of)?;
        let mut all = self.engine.commands().await.map_err(status::of)?;
        all.retain(|of| of.command.starts_with(&given.name_prefix));
        let (mut shown, next_page_token) = page.cut(all, |of| of.command.clone());
        let names = shown.iter().map(|of| of.command.clone()).collect();
        let mut schemas = self.engine.schemas(names).await.map_err(status::of)?;
        for of in &mut shown {
            of.json_schema = schemas.remove(&of.command).unwrap_or_default();
        }
        let commands = shown.into_iter().map(convert::command).collect();
        Ok(Response::new(pb::ListCommandsResponse { commands, next_page_token }))
    }

    async fn list_servers(
        &self,
        request: Request<pb::ListServersRequest>,
    ) -> Answer<pb::ListServersResponse> {
        let given = request.into_inner();
        let page = SERVERS.page(Check::new(), given.page_size, &given.page_token).map_err(status::of)?;
        let now = self.engine.now();
        let all = self.engine.servers().await.map_err(status::of)?;
        let mut all: Vec<pb::Server> = all
            .iter()
            .map(|(server, workers)| pb::Server {
                is_self: server.id == self.engine.server(),
                worker_count: i32::try_from(*workers).unwrap_or(i32::MAX),
                ..convert::server(server, now)
            })
            .collect();
        let place = |server: &pb::Server| format!("{} {}", server.name, server.id);
        all.sort_by_cached_key(place);
        let (servers, next_page_token) = page.cut(all, place);
        Ok(Response::new(pb::ListServersResponse { servers, next_page_token }))
    }
}

impl Admin {
    fn message(&self, figures: &MonthFigures) -> pb::HistoryMonth {
        let state = match figures.kept {
            MonthKept::Open => pb::HistoryState::Open,
            MonthKept::Closed => pb::HistoryState::Closed,
            MonthKept::Archived => pb::HistoryState::Archived,
        };
        let drop_time = self.retention.longest().zip(figures.last_finish).map(|(kept, last)| last.plus(kept));
        let stamp = |time: Option<Time>| time.map(convert::timestamp);
        pb::HistoryMonth {
            month: figures.month.dashed(),
            state: state.into(),
            completed_count: figures.completed,
            failed_count: figures.failed,
            cancelled_count: figures.cancelled,
            size_bytes: figures.size_bytes,
            last_finish_time: stamp(figures.last_finish),
            live_count: figures.live,
            drop_time: stamp(drop_time.filter(|_| figures.kept != MonthKept::Open)),
        }
    }
}

fn required_month(check: &mut Check, month: &str) -> Month {
    if month.is_empty() {
        check.refuse("month", "is not set: give a month as YYYY-MM, such as 2026-11");
    }
    check.month("month", month).unwrap_or(Month(0))
}

fn export_call(given: pb::ExportHistoryMonthRequest) -> Answered<ExportCall, Error> {
    let mut check = Check::new();
    check.token("resume_token", &given.resume_token);
    let call = ExportCall {
        month: required_month(&mut check, &given.month),
        attempts: given.include_attempts.unwrap_or(true),
        logs: given.include_logs.unwrap_or(true),
        resume_token: given.resume_token,
    };
    check.pass(call)
}
