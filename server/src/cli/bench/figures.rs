//! What one round measures, and what many rounds say together.

use serde::{Deserialize, Serialize};

use super::process::Cpu;

/// The middle, and what one in a hundred exceeds; microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

impl Spread {
    /// Of times in microseconds; nothing of none.
    pub(super) fn of(mut times: Vec<f64>) -> Option<Self> {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| {
            // Nearest rank: the smallest that so many do not exceed.
            let rank = (share * times.len() as f64).ceil().max(1.0) as usize;
            times.get(rank - 1).copied()
        };
        Some(Self { p50_us: at(0.50)?, p99_us: at(0.99)? })
    }
}

/// What one round of one side measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    /// Jobs that count.
    pub(super) jobs: u64,
    /// Jobs that had completed when the round ended.
    pub(super) completed: u64,
    pub(super) jobs_per_second: f64,
    #[serde(flatten)]
    pub(super) spread: Spread,
    /// CPU seconds per 1,000 jobs.
    pub(super) cpu_seconds_per_1000: Cpu,
}

/// The rounds of one side and their medians.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Side {
    pub(super) jobs_per_second: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) cpu_seconds_per_1000: Cpu,
    pub(super) rounds: Vec<Round>,
}

impl Side {
    /// None without rounds.
    pub(super) fn of(rounds: Vec<Round>) -> Option<Self> {
        let middle = |pick: fn(&Round) -> f64| median(rounds.iter().map(pick).collect());
        let cpu = |pick: fn(&Cpu) -> Option<f64>| {
            let known: Option<Vec<f64>> =
                rounds.iter().map(|round| pick(&round.cpu_seconds_per_1000)).collect();
            known.and_then(median)
        };
        Some(Self {
            jobs_per_second: middle(|round| round.jobs_per_second)?,
            p50_us: middle(|round| round.spread.p50_us)?,
            p99_us: middle(|round| round.spread.p99_us)?,
            cpu_seconds_per_1000: Cpu {
                server: cpu(|cpu| cpu.server),
                database: cpu(|cpu| cpu.database),
                clients: cpu(|cpu| cpu.clients),
            },
            rounds,
        })
    }
}

/// The middle of some figures; of an even number the mean of the two in the middle.
pub(super) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    let upper = *figures.get(middle)?;
    Some(if figures.len() % 2 == 1 { upper } else { (figures[middle - 1] + upper) / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(spread, Some(Spread { p50_us: 100.0, p99_us: 198.0 }));
        assert_eq!(Spread::of(vec![7.0]), Some(Spread { p50_us: 7.0, p99_us: 7.0 }));
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(vec![1.0, 2.0, 4.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![]), None);
    }
}
