//! Commands as types: one definition that the enqueuing program and the worker process share.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A command whose arguments are this type.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// #[derive(Serialize, Deserialize)]
/// struct CheckUrls {
///     urls: Vec<String>,
/// }
///
/// impl haulier::Command for CheckUrls {
///     type Output = Vec<u16>;
/// }
/// assert_eq!(haulier::command_name::<CheckUrls>(), "CheckUrls");
/// ```
pub trait Command: Serialize + DeserializeOwned + Send + 'static {
    /// What the handler gives back; `()` for nothing.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Name of the command; at most 128 characters of `A-Za-z0-9._:/-`. Default: the name of the type, without its path and its
    /// type arguments, exactly as written.
    const NAME: Option<&'static str> = None;

    /// Named worker in which jobs of this command run, one at a time over all worker processes, unless their options say
    /// otherwise. Default: none.
    const WORKER: Option<&'static str> = None;

    /// The program's own version of the handler, shown to people. Default: none.
    const VERSION: Option<&'static str> = None;
}

/// Name of a command: [`Command::NAME`], else the name of its type.
pub fn command_name<C: Command>() -> &'static str {
    C::NAME.unwrap_or_else(short_type_name::<C>)
}

/// The name of a type without its path and its type arguments.
pub(crate) fn short_type_name<T: ?Sized>() -> &'static str {
    let name = std::any::type_name::<T>();
    let name = name.split('<').next().unwrap_or(name);
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Serialize, Deserialize)]
    struct SendEmail;

    impl Command for SendEmail {
        type Output = ();
    }

    #[derive(Serialize, Deserialize)]
    struct Wrapped<T>(T);

    impl Command for Wrapped<std::collections::BTreeMap<String, i64>> {
        type Output = ();
    }

    #[derive(Serialize, Deserialize)]
    struct Renamed;

    impl Command for Renamed {
        type Output = ();
        const NAME: Option<&'static str> = Some("mail/send");
    }

    #[test]
    fn a_command_is_named_after_its_type_without_path_and_arguments_unless_it_says_otherwise() {
        assert_eq!(command_name::<SendEmail>(), "SendEmail");
        assert_eq!(command_name::<Wrapped<std::collections::BTreeMap<String, i64>>>(), "Wrapped");
        assert_eq!(command_name::<Renamed>(), "mail/send");
    }
}
