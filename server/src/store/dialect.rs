//! From a `.sql` file to the text that one database understands.
//!
//! The files are written once for both databases. What differs is a word in braces:
//!
//! | word | stands for |
//! |---|---|
//! | `{p}` `{m}` `{a}` | table prefix, month, the attached file of a moved month |
//! | `{key:n}` `{text}` `{blob}` `{id}` `{wide}` `{narrow}` `{index:name:columns}` `{only:sqlite}` | DDL |
//! | `{for_update}` `{skip_locked}` `{force_pk}` `{by:key}` `{by_range:key}` | locking and the index that it goes by |
//! | `{insert_new}` `{upsert:key}` `{new:column}` `{old:column}` | what becomes of rows that exist |
//! | `{now}` | the database's time |
//! | `{rows:..}` `{or:..}` `{each:..}` | a part that is repeated for each row, joined by comma, OR or space |
//! | `{any:columns}` | columns that are as in one of the rows |
//! | `{between:columns}` | two columns from one pair of values to another, where the first or the second is one value |

use std::fmt::Write as _;

use super::statement::Place;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dialect {
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

/// The words in which a database differs.
pub(crate) struct Words {
    pub(crate) name: &'static str,
    /// Begins a transaction, with the intention to write.
    pub(crate) begin: &'static str,
    pub(crate) text: &'static str,
    pub(crate) blob: &'static str,
    pub(crate) id: &'static str,
    /// Ends the DDL of a table with large rows.
    pub(crate) wide: &'static str,
    /// Ends the DDL of a table that is best clustered by its key.
    pub(crate) narrow: &'static str,
    pub(crate) for_update: &'static str,
    pub(crate) skip_locked: &'static str,
    pub(crate) force_pk: &'static str,
    pub(crate) insert_new: &'static str,
    pub(crate) now: &'static str,
    /// The type of a key of so many bytes.
    pub(crate) key: fn(&str) -> String,
    /// An index inside a table's DDL.
    pub(crate) index: fn(&str, &str) -> String,
    /// The end of a delete of so many rows by their key.
    pub(crate) by: fn(&str, usize) -> String,
    /// The end of a delete by a range of the key.
    pub(crate) by_range: fn(&str) -> String,
    /// Two columns between two pairs of values: both of the first pair, then both of the second.
    pub(crate) between: fn(&str, &str) -> String,
    /// Columns that are as in one of so many rows.
    pub(crate) any: fn(&[&str], usize) -> String,
    /// The start of what becomes of a row whose key exists.
    pub(crate) upsert: fn(&str) -> String,
    /// The value that such a row would have brought.
    pub(crate) new: fn(&str) -> String,
}

impl Dialect {
    /// Its words.
    pub(crate) fn words(self) -> &'static Words {
        match self {
            Dialect::MySql => &super::mysql::WORDS,
            Dialect::Sqlite => &super::sqlite::WORDS,
        }
    }
}

/// What a text is made for.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) prefix: &'a str,
    pub(crate) place: Place,
    pub(crate) rows: usize,
}

impl Setting<'_> {
    /// The text of a file for this setting, without its comments.
    pub(crate) fn expand(&self, source: &str) -> String {
        let bare: Vec<&str> = source.lines().map(without_comment).filter(|line| !line.is_empty()).collect();
        self.fill(&bare.join(" "))
    }

    fn fill(&self, source: &str) -> String {
        let mut text = String::with_capacity(source.len());
        let mut rest = source;
        while let Some(start) = rest.find('{') {
            let (before, token) = (&rest[..start], &rest[start + 1..]);
            let end = end_of_token(token);
            text.push_str(before);
            self.word(&token[..end], &mut text);
            rest = &token[end + 1..];
        }
        text.push_str(rest);
        text
    }

    fn word(&self, token: &str, text: &mut String) {
        let words = self.dialect.words();
        let (word, rest) = token.split_once([':', ' ']).unwrap_or((token, ""));
        match word {
            "p" => text.push_str(self.prefix),
            "m" => text.push_str(&self.place.month().map(|month| month.to_string()).unwrap_or_default()),
            "a" => text.push_str(&self.place.schema()),
            "text" => text.push_str(words.text),
            "blob" => text.push_str(words.blob),
            "id" => text.push_str(words.id),
            "wide" => text.push_str(words.wide),
            "narrow" => text.push_str(words.narrow),
            "for_update" => text.push_str(words.for_update),
            "skip_locked" => text.push_str(words.skip_locked),
            "force_pk" => text.push_str(words.force_pk),
            "insert_new" => text.push_str(words.insert_new),
            "now" => text.push_str(words.now),
            "key" => text.push_str(&(words.key)(rest)),
            "by" => text.push_str(&(words.by)(rest, self.rows)),
            "by_range" => text.push_str(&(words.by_range)(rest)),
            "between" => {
                let (first, second) = rest.split_once(", ").unwrap_or((rest, ""));
                text.push_str(&(words.between)(first, second));
            }
            "upsert" => text.push_str(&(words.upsert)(rest)),
            "new" => text.push_str(&(words.new)(rest)),
            "old" => text.push_str(rest),
            "index" => {
                let (name, columns) = rest.split_once(':').unwrap_or((rest, ""));
                text.push_str(&(words.index)(name, columns));
            }
            "only" => {}
            "rows" => self.repeat(rest, ", ", text),
            "or" => self.repeat(rest, " OR ", text),
            "each" => self.repeat(rest, " ", text),
            "any" => text.push_str(&(words.any)(&rest.split(", ").collect::<Vec<_>>(), self.rows)),
            unknown => {
                let _ = write!(text, "{{{unknown}}}");
            }
        }
    }

    fn repeat(&self, part: &str, joint: &str, text: &mut String) {
        let part = self.fill(part);
        for row in 0..self.rows {
            if row > 0 {
                text.push_str(joint);
            }
            text.push_str(&part);
        }
    }
}

/// The statements of a file of DDL that are for this database, in order.
pub(crate) fn statements(source: &str, dialect: Dialect) -> Vec<String> {
    let bare: Vec<&str> = source.lines().map(without_comment).collect();
    let all = bare.join("\n");
    let is_ours = |statement: &&str| match statement.strip_prefix("{only:") {
        Some(rest) => rest.starts_with(dialect.words().name),
        None => !statement.is_empty(),
    };
    all.split(';').map(str::trim).filter(is_ours).map(str::to_owned).collect()
}

fn without_comment(line: &str) -> &str {
    line.split("--").next().unwrap_or_default().trim()
}

/// The end of a token that may hold others.
fn end_of_token(token: &str) -> usize {
    let mut depth = 1;
    for (at, character) in token.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    token.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Month;

    fn expand(dialect: Dialect, rows: usize, source: &str) -> String {
        Setting { dialect, prefix: "x_", place: Place::Month(Month(202611)), rows }.expand(source)
    }

    #[test]
    fn repeated_parts_are_joined_by_what_their_word_says() {
        let source =
            "-- Promise.\nDELETE {p}job_{m} -- why\nIN ({rows:(?, {new:a})}) {or:x = ?} {each:WHEN ?}";
        assert_eq!(
            expand(Dialect::Sqlite, 2, source),
            "DELETE x_job_2026_11 IN ((?, excluded.a), (?, excluded.a)) x = ? OR x = ? WHEN ? WHEN ?"
        );
    }

    #[test]
    fn any_of_several_rows_is_said_as_each_database_finds_it_by_key() {
        let any = "{any:t.a, b}";
        assert_eq!(expand(Dialect::MySql, 2, any), "(t.a, b) IN ((?, ?), (?, ?))");
        assert_eq!(expand(Dialect::Sqlite, 2, any), "(t.a = ? AND b = ?) OR (t.a = ? AND b = ?)");
    }

    #[test]
    fn a_delete_of_rows_goes_by_their_key() {
        assert_eq!(expand(Dialect::MySql, 4, "{by:job_id}"), "ORDER BY job_id LIMIT 4");
        assert_eq!(expand(Dialect::Sqlite, 4, "{by:job_id}"), "");
        assert_eq!(expand(Dialect::MySql, 1, "{by_range:job_id}"), "ORDER BY job_id LIMIT 1000");
        assert_eq!(expand(Dialect::Sqlite, 1, "{by_range:job_id}"), "");
    }

    #[test]
    fn a_range_of_two_columns_is_said_as_each_database_finds_it_by_key() {
        let between = "{between:t.a, t.b}";
        assert_eq!(expand(Dialect::MySql, 1, between), "t.a >= ? AND t.b >= ? AND t.a <= ? AND t.b <= ?");
        assert_eq!(expand(Dialect::Sqlite, 1, between), "(t.a, t.b) >= (?, ?) AND (t.a, t.b) <= (?, ?)");
    }
}
