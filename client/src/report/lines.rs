//! The log lines of one attempt: kept until they are stored, numbered without gaps, sent again from wherever the server is.

use std::collections::{HashMap, VecDeque};

use haulier_proto::v1 as pb;
use prost::Message as _;
use tokio::time::Instant;

use crate::options::duration;

/// Most lines and bytes of one report.
const REPORT_LINES_MAX: usize = 1_000;
const REPORT_BYTES_MAX: usize = 512 << 10;
/// Bytes of a report beside its lines: the lease, the sequence, and the lengths around them.
const REPORT_FRAME_BYTES: usize = 160;
/// Bytes of a line beside its text and fields.
const LINE_FRAME_BYTES: usize = 32;
/// Largest line with its fields, and most fields.
const LINE_BYTES_MAX: usize = 16 << 10;
const FIELDS_MAX: usize = 64;

/// A log line, not yet sent.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    at: Instant,
    level: pb::LogLevel,
    message: String,
    fields: HashMap<String, String>,
    bytes: usize,
}

impl Line {
    /// A line within the limits: what is too long is cut, and says so.
    pub(crate) fn new(
        at: Instant,
        level: pb::LogLevel,
        message: String,
        fields: HashMap<String, String>,
    ) -> Self {
        let (message, fields) = within_limits(message, fields);
        let fields_bytes: usize = fields.iter().map(|(key, value)| key.len() + value.len() + 12).sum();
        let bytes = LINE_FRAME_BYTES + message.len() + fields_bytes;
        Self { at, level, message, fields, bytes }
    }

    fn entry(&self, now: Instant) -> pb::LogEntry {
        pb::LogEntry {
            time_ago: Some(duration(now.saturating_duration_since(self.at))),
            level: self.level.into(),
            message: self.message.clone(),
            fields: self.fields.clone(),
        }
    }
}

fn within_limits(message: String, mut fields: HashMap<String, String>) -> (String, HashMap<String, String>) {
    let fields_bytes: usize = fields.iter().map(|(key, value)| key.len() + value.len()).sum();
    let mut message = message;
    if fields.len() > FIELDS_MAX || message.len() + fields_bytes > LINE_BYTES_MAX {
        if fields.len() > FIELDS_MAX || fields_bytes > LINE_BYTES_MAX / 2 {
            let count = fields.len();
            fields = HashMap::from([("fields_left_out".to_owned(), count.to_string())]);
        }
        let fields_bytes: usize = fields.iter().map(|(key, value)| key.len() + value.len()).sum();
        message = cut(message, LINE_BYTES_MAX - fields_bytes);
    }
    (message, fields)
}

/// The text, cut at a character so that it has at most so many bytes and shows that it was cut.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    const MARK: &str = " … [cut]";
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str(MARK);
    text
}

/// The lines of one attempt.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Sequence of the last line that is stored; the lines kept follow it.
    stored: i64,
    kept: VecDeque<Line>,
    /// How many of the kept lines were sent on the present stream.
    sent: usize,
    bytes: usize,
    left_out: u64,
}

impl Lines {
    pub(crate) fn after(stored: i64) -> Self {
        Self { stored, kept: VecDeque::new(), sent: 0, bytes: 0, left_out: 0 }
    }

    /// Keeps a line, if there is room. The first line always has.
    pub(crate) fn push(&mut self, line: Line, bytes_max: usize) -> bool {
        if self.bytes + line.bytes > bytes_max && !self.kept.is_empty() {
            return false;
        }
        if self.left_out > 0 {
            let message =
                format!("{} lines were left out: logged faster than they can be stored", self.left_out);
            self.left_out = 0;
            self.keep(Line::new(line.at, pb::LogLevel::Warn, message, HashMap::new()));
        }
        self.keep(line);
        true
    }

    /// Keeps a line, or leaves it out and says so with the next one that is kept.
    pub(crate) fn push_or_leave_out(&mut self, line: Line, bytes_max: usize) {
        if !self.push(line, bytes_max) {
            self.left_out += 1;
        }
    }

    fn keep(&mut self, line: Line) {
        self.bytes += line.bytes;
        self.kept.push_back(line);
    }

    /// Sequence of the last line.
    pub(crate) fn last_sequence(&self) -> i64 {
        self.stored + self.kept.len() as i64
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.kept.len()
    }

    /// Whether lines were sent on the present stream that are not known to be stored.
    pub(crate) fn has_unstored_sent(&self) -> bool {
        self.sent > 0
    }

    /// The lines up to this sequence are stored. True: there is room again.
    pub(crate) fn on_stored(&mut self, sequence: i64) -> bool {
        let count = (sequence - self.stored).clamp(0, self.kept.len() as i64);
        for line in self.kept.drain(..count as usize) {
            self.bytes -= line.bytes;
        }
        self.stored += count;
        self.sent = self.sent.saturating_sub(count as usize);
        count > 0
    }

    /// Everything kept is to be sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The server has the lines up to this sequence and misses the next ones: what is kept is sent again from there. When it has
    /// fewer than it once said (it was restored from a backup) the kept lines take the numbers that are free.
    pub(crate) fn on_gap(&mut self, sequence: i64) {
        self.on_stored(sequence);
        self.stored = self.stored.min(sequence);
        self.rewind();
    }

    /// The server refuses lines that were sent: they go, and a line says so in their place.
    pub(crate) fn on_refused(&mut self, why: &str) {
        let Some(first) = self.kept.front() else { return };
        let at = first.at;
        let count = self.sent.max(1);
        for line in self.kept.drain(..count) {
            self.bytes -= line.bytes;
        }
        self.sent = 0;
        let note = format!("{count} lines were refused by the server: {why}");
        let note = Line::new(at, pb::LogLevel::Warn, cut(note, LINE_BYTES_MAX / 2), HashMap::new());
        self.bytes += note.bytes;
        self.kept.push_front(note);
    }

    /// The next lines to send, within so many bytes of credit; at least one when `one_at_least` says so.
    pub(crate) fn take(
        &mut self,
        lease: &str,
        credit: usize,
        one_at_least: bool,
        now: Instant,
    ) -> Option<pb::LogReport> {
        let budget = credit.min(REPORT_BYTES_MAX);
        let mut bytes = REPORT_FRAME_BYTES;
        let mut count = 0;
        for line in self.kept.range(self.sent..).take(REPORT_LINES_MAX) {
            bytes += line.bytes;
            if bytes > budget && !(one_at_least && count == 0) {
                break;
            }
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let lines = self.kept.range(self.sent..self.sent + count).map(|line| line.entry(now)).collect();
        let report =
            pb::LogReport { lease: lease.to_owned(), from_sequence: self.stored + self.sent as i64, lines };
        debug_assert!(one_at_least || report.encoded_len() <= budget, "a line's bytes are counted too low");
        self.sent += count;
        Some(report)
    }

    /// The texts kept, for the test kit.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (pb::LogLevel, &str, &HashMap<String, String>)> {
        self.kept.iter().map(|line| (line.level, line.message.as_str(), &line.fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::new(Instant::now(), pb::LogLevel::Info, text.to_owned(), HashMap::new())
    }

    fn sent(lines: &mut Lines) -> (i64, Vec<String>) {
        let report = lines.take("lease", 1 << 20, false, Instant::now()).unwrap();
        (report.from_sequence, report.lines.into_iter().map(|line| line.message).collect())
    }

    fn three() -> Lines {
        let mut lines = Lines::after(0);
        for text in ["a", "b", "c"] {
            assert!(lines.push(line(text), 1 << 20));
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_numbered_on_from_what_is_stored() {
        let mut lines = three();
        assert_eq!(sent(&mut lines), (0, vec!["a".into(), "b".into(), "c".into()]));
        assert!(!lines.has_unsent());
        lines.push(line("d"), 1 << 20);
        assert_eq!(sent(&mut lines), (3, vec!["d".into()]));
        assert_eq!(lines.last_sequence(), 4);
    }

    #[tokio::test]
    async fn what_is_stored_is_forgotten_and_the_rest_is_sent_again_after_a_break() {
        let mut lines = three();
        sent(&mut lines);
        assert!(lines.on_stored(2));
        assert!(!lines.on_stored(1), "a late acknowledgement changes nothing");
        lines.rewind();
        assert_eq!(sent(&mut lines), (2, vec!["c".into()]));
    }

    #[tokio::test]
    async fn a_gap_is_filled_from_where_the_server_is() {
        let mut lines = three();
        sent(&mut lines);
        lines.on_gap(1);
        assert_eq!(sent(&mut lines), (1, vec!["b".into(), "c".into()]));
    }

    #[tokio::test]
    async fn a_server_that_lost_lines_gets_the_kept_ones_under_free_numbers() {
        let mut lines = three();
        sent(&mut lines);
        lines.on_stored(2);
        lines.on_gap(1);
        assert_eq!(sent(&mut lines), (1, vec!["c".into()]));
        assert_eq!(lines.last_sequence(), 2);
    }

    #[tokio::test]
    async fn credit_bounds_what_is_sent() {
        let mut lines = Lines::after(0);
        for _ in 0..10 {
            lines.push(line(&"x".repeat(1000)), 1 << 20);
        }
        let now = Instant::now();
        let report = lines.take("lease", 3_500, false, now).unwrap();
        assert!(report.encoded_len() <= 3_500);
        assert_eq!(report.lines.len(), 3);
        assert!(lines.take("lease", 500, false, now).is_none());
        assert_eq!(lines.take("lease", 500, true, now).unwrap().lines.len(), 1);
    }

    #[tokio::test]
    async fn a_full_buffer_refuses_or_leaves_out_and_says_how_many() {
        let mut lines = Lines::after(0);
        assert!(lines.push(line(&"x".repeat(900)), 1_000));
        assert!(!lines.push(line(&"y".repeat(900)), 1_000));
        lines.push_or_leave_out(line(&"y".repeat(900)), 1_000);
        lines.push_or_leave_out(line(&"y".repeat(900)), 1_000);
        lines.on_stored(1);
        assert!(lines.push(line("z"), 1_000));
        let (_, texts) = sent(&mut lines);
        assert_eq!(texts, ["2 lines were left out: logged faster than they can be stored", "z"]);
    }

    #[tokio::test]
    async fn refused_lines_are_replaced_by_a_note_so_that_the_rest_goes_on() {
        let mut lines = three();
        sent(&mut lines);
        lines.push(line("d"), 1 << 20);
        lines.on_refused("not allowed");
        let (from, texts) = sent(&mut lines);
        assert_eq!(
            (from, texts[0].as_str(), texts[1].as_str()),
            (0, "3 lines were refused by the server: not allowed", "d")
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_at_a_character_and_says_so() {
        let text = cut("ä".repeat(20_000), 16 << 10);
        assert!(text.len() <= 16 << 10 && text.ends_with("[cut]"));
        let fields = (0..100).map(|n| (format!("key{n}"), "v".to_owned())).collect();
        let (_, fields) = within_limits("m".into(), fields);
        assert_eq!(fields["fields_left_out"], "100");
    }

    #[tokio::test]
    async fn the_counted_bytes_of_a_line_cover_its_encoded_ones() {
        let fields = HashMap::from([("k".repeat(60), "v".repeat(300)), ("a".to_owned(), String::new())]);
        let line = Line::new(Instant::now(), pb::LogLevel::Error, "m".repeat(5_000), fields);
        let entry = line.entry(Instant::now());
        assert!(entry.encoded_len() + 4 <= line.bytes, "{} {}", entry.encoded_len(), line.bytes);
    }
}
