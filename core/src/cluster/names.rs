//! The valid names of topics: Kafka's rules and error messages.

use std::fmt;

/// Kafka keeps a topic's name in file names, with a partition behind it.
const LENGTH_MAX: usize = 249;

/// Topics that responses mark as internal.
const INTERNAL: &[&str] = &[
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
];

/// The metadata log, which is not a topic.
pub(super) const METADATA: &str = "__cluster_metadata";

/// Why a topic cannot have a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidName {
    /// It is empty.
    Empty,
    /// It is `.` or `..`.
    Dots(&'static str),
    /// It is longer than 249 characters.
    Length(String),
    /// It has a character that is not allowed.
    Character(String),
}

impl fmt::Display for InvalidName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Topic name is invalid: ")?;
        match self {
            Self::Empty => f.write_str("the empty string is not allowed"),
            Self::Dots(dots) => write!(f, "'{dots}' is not allowed"),
            Self::Length(name) => write!(
                f,
                "the length of '{name}' is longer than the max allowed length {LENGTH_MAX}"
            ),
            Self::Character(name) => write!(
                f,
                "'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
            ),
        }
    }
}

impl std::error::Error for InvalidName {}

/// Checks a topic's name.
///
/// # Errors
/// The first rule that it breaks.
pub fn check_topic_name(name: &str) -> Result<(), InvalidName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Err(InvalidName::Empty),
        "." => Err(InvalidName::Dots(".")),
        ".." => Err(InvalidName::Dots("..")),
        _ if name.len() > LENGTH_MAX => Err(InvalidName::Length(name.to_owned())),
        _ if !name.chars().all(allowed) => Err(InvalidName::Character(name.to_owned())),
        _ => Ok(()),
    }
}

/// Whether responses mark the topic as internal.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// The name as metrics have it, where `.` and `_` are the same; `None` where it has neither. Two topics whose
/// names are the same there collide.
pub(super) fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_in_kafkas_words() {
        let long = "a".repeat(250);
        assert_eq!(check_topic_name(&long[1..]), Ok(()));
        assert_eq!(check_topic_name("Flights_2013.by-tail"), Ok(()));
        let refused = ["", ".", "..", "a b", "é"].map(|name| {
            check_topic_name(name)
                .expect_err("it is no name")
                .to_string()
        });
        insta::assert_snapshot!(refused.join("\n"), @r"
        Topic name is invalid: the empty string is not allowed
        Topic name is invalid: '.' is not allowed
        Topic name is invalid: '..' is not allowed
        Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
        Topic name is invalid: 'é' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'
        ");
        assert!(matches!(
            check_topic_name(&long),
            Err(InvalidName::Length(_))
        ));
    }

    #[test]
    fn names_that_metrics_cannot_tell_apart_collide() {
        assert_eq!(collision_key("a.b"), collision_key("a_b"));
        assert_ne!(collision_key("a.b"), collision_key("a.c"));
        assert_eq!(collision_key("ab"), None);
    }
}
