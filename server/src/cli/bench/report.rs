//! The figures, as a table for people and as JSON.

use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::Settings;
use super::driver::DatabaseFacts;
use super::error::Result;
use super::figures::Side;
use super::machine::{self, Machine};
use super::place::Place;
use super::scenarios::{Measured, Reach};

/// Everything that a run tells.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) haulier_version: &'static str,
    pub(super) is_debug_build: bool,
    pub(super) machine: Machine,
    /// None when a server that runs already was measured.
    pub(super) database: Option<DatabaseFacts>,
    settings: Settings,
    pub(super) warnings: Vec<String>,
    pub(super) scenarios: Vec<Measured>,
}

impl Report {
    /// Notes what the figures are measured on.
    pub(super) async fn begin(place: &Place, settings: &Settings) -> Result<Self> {
        let mut warnings = Vec::new();
        if cfg!(debug_assertions) {
            warnings.push("a debug build: its figures say nothing".to_owned());
        }
        let database = match place {
            Place::Server(url) => {
                warnings.push(format!(
                    "{url} runs already: no floor, no driver, and its database and durability are unknown"
                ));
                None
            }
            Place::Own(own) => {
                let facts = own.facts().await?;
                warnings.extend(facts.unsafe_because.iter().map(|why| format!("not durable: {why}")));
                warnings.extend(facts.folder.as_deref().map(Path::new).and_then(machine::volatile));
                Some(facts)
            }
        };
        Ok(Self {
            haulier_version: env!("CARGO_PKG_VERSION"),
            is_debug_build: cfg!(debug_assertions),
            machine: Machine::look(),
            database,
            settings: settings.clone(),
            warnings,
            scenarios: Vec::new(),
        })
    }

    /// Notes how the machine is at the end.
    pub(super) fn end(&mut self) {
        self.machine.load_after = machine::load();
    }

    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// For people: conditions, a table, bounds.
    pub(super) fn text(&self) -> String {
        let mut text = self.conditions();
        text.push_str(&self.table());
        text.push_str(&format!("\n\nMedians of {} rounds. p50 and p99 are of:\n", self.settings.rounds));
        for measured in &self.scenarios {
            text.push_str(&format!("  {}: {}", measured.name, measured.time_of));
            if let Some(call) = measured.empty_call_us {
                text.push_str(&format!("; an empty call takes {}", time(call)));
            }
            text.push('\n');
        }
        let bounds: Vec<String> = self
            .scenarios
            .iter()
            .flat_map(|measured| measured.reach.iter().map(|reach| bound(measured, reach)))
            .collect();
        if !bounds.is_empty() {
            text.push_str("\nReach:\n");
            text.push_str(&bounds.join("\n"));
            text.push('\n');
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nwarning: {warning}"));
        }
        text.trim_end().to_owned()
    }

    /// Machine, versions, settings.
    pub(super) fn conditions(&self) -> String {
        let machine = &self.machine;
        let load = |load: Option<f64>| load.map_or_else(|| "unknown".into(), |load| format!("{load:.2}"));
        let mut text = format!(
            "Haulier {} on {} x {}, {} MiB, {}, load before {} and after {}\n",
            self.haulier_version,
            machine.processors,
            machine.processor.as_deref().unwrap_or("an unknown processor"),
            machine.memory_mib.unwrap_or_default(),
            machine.system,
            load(machine.load_before),
            load(machine.load_after),
        );
        if let Some(database) = &self.database {
            let settings: Vec<String> =
                database.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text.push_str(&format!("{}: {}\n", database.version, settings.join(", ")));
        }
        let settings = &self.settings;
        text.push_str(&format!(
            "requests of {} bytes, {} callers, a worker process of {} slots\n\n",
            settings.payload_bytes, settings.callers, settings.worker_slots
        ));
        text
    }

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header([
            "scenario",
            "",
            "jobs/s",
            "to floor",
            "p50",
            "p99",
            "CPU s per 1,000 jobs: server",
            "database",
            "clients",
        ]);
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for measured in &self.scenarios {
            let sides = [
                ("Haulier", Some(&measured.haulier), measured.ratio_to_floor),
                ("floor", measured.floor.as_ref(), None),
                ("driver", measured.driver.as_ref(), None),
            ];
            for (name, side, ratio) in sides {
                let Some(side) = side else { continue };
                let of = if name == "Haulier" { measured.name.as_str() } else { "" };
                table.add_row(row(of, name, side, ratio));
            }
        }
        table.to_string()
    }
}

fn row(of: &str, name: &str, side: &Side, ratio: Option<f64>) -> [String; 9] {
    let cpu = |seconds: Option<f64>| seconds.map_or_else(|| "-".into(), |seconds| format!("{seconds:.3}"));
    [
        of.to_owned(),
        name.to_owned(),
        format!("{:.0}", side.jobs_per_second),
        ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        time(side.p50_us),
        time(side.p99_us),
        cpu(side.cpu_seconds_per_1000.server),
        cpu(side.cpu_seconds_per_1000.database),
        cpu(side.cpu_seconds_per_1000.clients),
    ]
}

fn bound(measured: &Measured, reach: &Reach) -> String {
    let verdict = if reach.is_met { "met" } else { "NOT met" };
    let figures = if reach.unit == "us" {
        format!("{} of {}", time(reach.figure), time(reach.limit))
    } else {
        format!("{:.2} of {:.2}", reach.figure, reach.limit)
    };
    format!("  {}: {}: {figures}, {verdict}", measured.name, reach.bound)
}

/// Microseconds, in the unit that fits.
pub(super) fn time(us: f64) -> String {
    match us {
        us if us < 10_000.0 => format!("{:.2} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_the_unit_that_fits() {
        assert_eq!(time(1_234.0), "1.23 ms");
        assert_eq!(time(56_700.0), "57 ms");
        assert_eq!(time(2_340_000.0), "2.3 s");
    }
}
