//! Switches in the environment.

/// Whether something is on, by the value of its environment variable: unless that says no.
pub(crate) fn is_on(value: Option<&str>) -> bool {
    let off = ["false", "0", "no", "off"];
    !value.is_some_and(|value| off.iter().any(|off| value.trim().eq_ignore_ascii_case(off)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_unless_the_variable_says_no() {
        assert!(is_on(None) && is_on(Some("true")) && is_on(Some("")));
        for off in ["false", "FALSE", "0", "no", "off", " False "] {
            assert!(!is_on(Some(off)), "{off}");
        }
    }
}
