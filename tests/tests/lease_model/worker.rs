//! The worker process. It needs no action for freezing: whatever it does, it may do arbitrarily late.

use super::store::{Ending, Inventory, Token};

/// What the client made of its last sequence when no answer came to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Told {
    Nothing,
    /// A heartbeat said that the call is no longer open.
    Closed,
    /// A heartbeat of that number said that it is open again; not acknowledged yet.
    OpenAgain(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClaimLoop {
    pub(crate) sent: u8,
    pub(crate) received: u8,
    /// Highest answer that brought jobs.
    pub(crate) acknowledged: u8,
    pub(crate) told: Told,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    Running,
    Ended { ending: Ending, sent: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) token: Token,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Worker {
    pub(crate) session: Option<u8>,
    pub(crate) claims: ClaimLoop,
    pub(crate) beat: u8,
    pub(crate) held: Vec<Held>,
}

impl Worker {
    pub(crate) fn fresh() -> Self {
        let claims = ClaimLoop { sent: 0, received: 0, acknowledged: 0, told: Told::Nothing };
        Self { session: None, claims, beat: 0, held: Vec::new() }
    }

    /// A new session for the same process: outcomes that wait for their acknowledgement stay.
    pub(crate) fn adopt(&mut self, session: u8) {
        let held = std::mem::take(&mut self.held);
        *self = Self { session: Some(session), held, ..Self::fresh() };
    }

    pub(crate) fn lose_session(&mut self) {
        self.session = None;
        self.held.retain(|held| held.phase != Phase::Running);
    }

    pub(crate) fn holds(&self, token: Token) -> bool {
        self.held.iter().any(|held| held.token == token)
    }

    pub(crate) fn forget(&mut self, token: Token) {
        self.held.retain(|held| held.token != token);
    }

    pub(crate) fn start(&mut self, token: Token) {
        self.held.push(Held { token, phase: Phase::Running });
        self.held.sort_unstable_by_key(|held| held.token);
    }

    pub(crate) fn end(&mut self, token: Token, ending: Ending) {
        for held in self.held.iter_mut().filter(|held| held.token == token) {
            held.phase = Phase::Ended { ending, sent: true };
        }
    }

    /// After the stream broke: what was sent on it may never have arrived.
    pub(crate) fn doubt_outcomes(&mut self) {
        for held in &mut self.held {
            if let Phase::Ended { sent, .. } = &mut held.phase {
                *sent = false;
            }
        }
    }

    pub(crate) fn take_unsent(&mut self) -> Vec<(Token, Ending)> {
        let mut unsent = Vec::new();
        for held in &mut self.held {
            if let Phase::Ended { ending, sent: sent @ false } = &mut held.phase {
                *sent = true;
                unsent.push((held.token, *ending));
            }
        }
        unsent
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.held.iter().any(|held| matches!(held.phase, Phase::Ended { sent: false, .. }))
    }

    pub(crate) fn inventory(&self, session: u8, sent_open: bool, outcomes: Listing) -> Inventory {
        let listed = |held: &&Held| held.phase == Phase::Running || outcomes == Listing::WithOutcomes;
        Inventory {
            session,
            beat: self.beat,
            received: self.claims.received,
            sent: self.claims.sent,
            sent_open,
            listed: self.held.iter().filter(listed).map(|held| held.token).collect(),
        }
    }
}

/// Does a heartbeat list leases whose outcome is not acknowledged yet?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    WithOutcomes,
    RunningOnly,
}
