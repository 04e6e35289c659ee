//! Pages of lists whose items have a name that orders them: queues, commands, servers, months.

use std::cmp::Ordering;

use crate::engine::{Error, Result};
use crate::model::{digest, read_token, write_token};
use crate::rpc::check::Check;

/// A list whose items have names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    /// Tells its tokens from those of other lists.
    pub(crate) kind: &'static str,
    /// What the list was narrowed by; the same on every page.
    pub(crate) narrowed_by: &'a str,
    /// How the name of a later item compares with that of an earlier one.
    pub(crate) later: Ordering,
}

/// A page that is asked for.
#[derive(Debug)]
pub(crate) struct NamedPage<'a> {
    of: Named<'a>,
    size: usize,
    after: Option<String>,
}

impl<'a> Named<'a> {
    /// Reads which page is asked for; what `check` found before counts too.
    pub(crate) fn page(self, mut check: Check, size: i32, token: &str) -> Result<NamedPage<'a>> {
        check.token("page_token", token);
        let size = check.page_size("page_size", size);
        let size = check.pass(size)?;
        let after = if token.is_empty() { None } else { Some(self.read(token)?) };
        Ok(NamedPage { of: self, size, after })
    }

    fn read(self, token: &str) -> Result<String> {
        let bad = |message: String| Error::BadToken { field: "page_token", message };
        let bytes = read_token(self.kind, token).map_err(|error| bad(error.to_string()))?;
        match bytes.split_at_checked(16) {
            Some((of, name)) if of == digest([self.narrowed_by.as_bytes()]) => {
                String::from_utf8(name.to_vec()).map_err(|_| bad("is not a token of this kind".into()))
            }
            _ => Err(bad("belongs to another query: use it with the same one".into())),
        }
    }

    fn write(self, name: &str) -> String {
        let of = digest([self.narrowed_by.as_bytes()]);
        write_token(self.kind, &[of.as_slice(), name.as_bytes()].concat())
    }
}

impl NamedPage<'_> {
    /// This page of all items, which are in their order, and the token of the next one.
    pub(crate) fn cut<T>(&self, all: Vec<T>, name: impl Fn(&T) -> String) -> (Vec<T>, String) {
        let comes = |item: &T| {
            self.after.as_ref().is_none_or(|after| name(item).as_str().cmp(after.as_str()) == self.of.later)
        };
        let mut rest = all.into_iter().filter(comes);
        let items: Vec<T> = rest.by_ref().take(self.size).collect();
        let more = rest.next().is_some();
        let next = items.last().filter(|_| more).map(|last| self.of.write(&name(last))).unwrap_or_default();
        (items, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_in_either_order_and_a_token_belongs_to_its_list() {
        for later in [Ordering::Greater, Ordering::Less] {
            let of = Named { kind: "t1", narrowed_by: "x", later };
            let mut all = vec!["a", "b", "c", "d", "e"];
            if later == Ordering::Less {
                all.reverse();
            }
            let (mut seen, mut token) = (Vec::new(), String::new());
            loop {
                let page = of.page(Check::new(), 2, &token).unwrap();
                let (items, next) = page.cut(all.clone(), |item| (*item).to_owned());
                seen.extend(items);
                token = next;
                if token.is_empty() {
                    break;
                }
                let other = Named { narrowed_by: "y", ..of };
                assert!(matches!(other.page(Check::new(), 2, &token), Err(Error::BadToken { .. })));
            }
            assert_eq!(seen, all);
        }
        let of = Named { kind: "t1", narrowed_by: "", later: Ordering::Greater };
        assert!(matches!(of.page(Check::new(), 2, "nonsense"), Err(Error::BadToken { .. })));
        assert!(matches!(of.page(Check::new(), 501, ""), Err(Error::Invalid(_))));
    }
}
