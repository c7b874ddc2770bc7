//! The form in which messages are declared.
//!
//! ```text
//! message! {
//!     /// What the message says.
//!     pub struct FetchRequest: versions 4..=18, flexible 12.. {
//!         /// A field that every version carries. Fields stand in the order of the bytes.
//!         pub max_wait_ms: i32,
//!         /// Carried from version 7 on; elsewhere it reads as the default after the equals sign, and a version
//!         /// that cannot carry another value may drop it.
//!         pub session_epoch: i32 [7.., ignorable] = -1,
//!         /// Tagged field number 0, which must never be dropped. An `Option` is a field that can be null:
//!         /// in every version, or from the version said here (`nullable 10..`). Its default is null.
//!         pub cluster_id: Option<Str> [12.., tag 0],
//!     }
//!
//!     /// A struct inside it. Its version numbers are those of the message.
//!     pub struct FetchTopic { .. }
//! }
//! ```
//!
//! The words are those of Kafka's schemas: `"versions": "7+"` is `7..`, `"0-12"` is `0..=12`, `"tag": 0` is
//! `tag 0`, `"ignorable": true` is `ignorable`, `"nullableVersions": "10+"` is `nullable 10..`. A message that has
//! no flexible version says `flexible none`. Versions that Kafka dropped are left out of the ranges.
//!
//! One word is ours: a `hint` is a field of a response that Kafka's schema does not let a version drop, but that
//! Kafka's broker itself leaves out for the versions without it (who leads, at which epoch). Its absence says less,
//! never something else, so an answer to an old client is not held back because of it.

/// The rule of one field, out of the words between its brackets.
macro_rules! rule {
    (@ $rule:expr,) => { $rule };
    (@ $rule:expr, ignorable $(, $($rest:tt)*)?) => { rule!(@ $rule.ignorable(), $($($rest)*)?) };
    (@ $rule:expr, hint $(, $($rest:tt)*)?) => { rule!(@ $rule.ignorable(), $($($rest)*)?) };
    (@ $rule:expr, tag $tag:literal $(, $($rest:tt)*)?) => { rule!(@ $rule.tag($tag), $($($rest)*)?) };
    (@ $rule:expr, nullable $first:literal..=$last:literal $(, $($rest:tt)*)?) => {
        rule!(@ $rule.nullable($first, $last), $($($rest)*)?)
    };
    (@ $rule:expr, nullable $first:literal.. $(, $($rest:tt)*)?) => {
        rule!(@ $rule.nullable($first, i16::MAX), $($($rest)*)?)
    };
    (@ $rule:expr, $first:literal..=$last:literal $(, $($rest:tt)*)?) => {
        rule!(@ $rule.versions($first, $last), $($($rest)*)?)
    };
    (@ $rule:expr, $first:literal.. $(, $($rest:tt)*)?) => {
        rule!(@ $rule.versions($first, i16::MAX), $($($rest)*)?)
    };
    ($($words:tt)*) => { rule!(@ $crate::wire::field::Rule::PLAIN, $($words)*) };
}

/// The default of one field: what stands after the equals sign, or that of its type.
macro_rules! default_of {
    () => {
        Default::default()
    };
    ($value:expr) => {
        $value
    };
}

/// Declares a message and the structs inside it; see the head of this file.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident: versions $first:literal..=$last:literal, flexible none { $($fields:tt)* }
        $($inner:tt)*
    ) => {
        message!(@ $name, $first, $last, i16::MAX);
        structs! { $(#[$meta])* pub struct $name { $($fields)* } $($inner)* }
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident: versions $first:literal..=$last:literal, flexible $flexible:literal.. {
            $($fields:tt)*
        }
        $($inner:tt)*
    ) => {
        message!(@ $name, $first, $last, $flexible);
        structs! { $(#[$meta])* pub struct $name { $($fields)* } $($inner)* }
    };
    (@ $name:ident, $first:literal, $last:literal, $flexible:expr) => {
        impl $crate::wire::api::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSION_MIN: i16 = $first;
            const VERSION_MAX: i16 = $last;
            const FLEXIBLE_FROM: i16 = $flexible;
        }

        impl $crate::wire::api::sealed::Sealed for $name {}
    };
}

/// The structs of a message: plain values with their defaults, and how each is read and written.
macro_rules! structs {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {$(
            $(#[$field_meta:meta])*
            pub $field:ident: $type:ty $([$($rule:tt)*])? $(= $default:expr)?
        ),* $(,)?}
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {$(
            $(#[$field_meta])*
            pub $field: $type,
        )*}

        const _: () = $crate::wire::field::assert_rules_are_sound(&[$(rule!($($($rule)*)?)),*]);

        impl Default for $name {
            fn default() -> Self {
                Self {$($field: default_of!($($default)?),)*}
            }
        }

        #[allow(unused_variables, unused_mut, unused_assignments)]
        impl $crate::wire::field::Field for $name {
            fn size_min(at: $crate::wire::field::At) -> usize {
                let mut size = usize::from(at.flexible);
                $(
                    if rule!($($($rule)*)?).is_plain(at) {
                        size += <$type as $crate::wire::field::Field>::size_min(at);
                    }
                )*
                size
            }

            fn decode(
                reader: &mut $crate::wire::read::Reader<'_>,
                at: $crate::wire::field::At,
                _nullable: bool,
            ) -> Result<Self, $crate::wire::read::DecodeError> {
                let mut value = Self::default();
                $({
                    const RULE: $crate::wire::field::Rule = rule!($($($rule)*)?);
                    if RULE.is_plain(at) {
                        value.$field = $crate::wire::field::Field::decode(reader, at, RULE.is_nullable(at))?;
                    }
                })*
                if at.flexible {
                    for _ in 0..reader.tagged_fields()? {
                        let tag = reader.uvarint()?;
                        let size = reader.uvarint()?;
                        let mut content = reader.sized(size)?;
                        $({
                            const RULE: $crate::wire::field::Rule = rule!($($($rule)*)?);
                            if RULE.is_tagged(at) && RULE.has_tag(tag) {
                                value.$field = $crate::wire::field::Field::decode(
                                    &mut content,
                                    at,
                                    RULE.is_nullable(at),
                                )?;
                                content.finish_tagged()?;
                                continue;
                            }
                        })*
                    }
                }
                Ok(value)
            }

            fn encode(
                &self,
                writer: &mut $crate::wire::write::Writer,
                at: $crate::wire::field::At,
                _nullable: bool,
            ) -> Result<(), $crate::wire::write::EncodeError> {
                let mut tagged = 0u32;
                $({
                    const RULE: $crate::wire::field::Rule = rule!($($($rule)*)?);
                    if RULE.is_plain(at) {
                        $crate::wire::field::Field::encode(&self.$field, writer, at, RULE.is_nullable(at))?;
                    } else if !RULE.is_ignorable_at(at) {
                        let default: $type = default_of!($($default)?);
                        if self.$field != default {
                            if !RULE.is_tagged(at) {
                                return Err($crate::wire::write::EncodeError::NotCarried {
                                    message: stringify!($name),
                                    field: stringify!($field),
                                    version: at.version,
                                });
                            }
                            tagged += 1;
                        }
                    }
                })*
                if at.flexible {
                    writer.uvarint(tagged);
                    if tagged > 0 {$({
                        const RULE: $crate::wire::field::Rule = rule!($($($rule)*)?);
                        if RULE.is_tagged(at) {
                            let default: $type = default_of!($($default)?);
                            if self.$field != default {
                                writer.tagged(RULE.number(), |writer| {
                                    $crate::wire::field::Field::encode(
                                        &self.$field,
                                        writer,
                                        at,
                                        RULE.is_nullable(at),
                                    )
                                })?;
                            }
                        }
                    })*}
                }
                Ok(())
            }

            #[cfg(test)]
            fn sample(source: &mut $crate::wire::sample::Tape, at: $crate::wire::field::At, _nullable: bool) -> Self {
                let mut value = Self::default();
                $({
                    const RULE: $crate::wire::field::Rule = rule!($($($rule)*)?);
                    if RULE.is_plain(at) || RULE.is_tagged(at) && source.bool() {
                        value.$field = $crate::wire::field::Field::sample(source, at, RULE.is_nullable(at));
                    }
                })*
                value
            }
        }

        impl $crate::wire::field::Nullable for $name {
            fn decode_nullable(
                reader: &mut $crate::wire::read::Reader<'_>,
                at: $crate::wire::field::At,
            ) -> Result<Option<Self>, $crate::wire::read::DecodeError> {
                $crate::wire::field::decode_nullable_struct(reader, at)
            }

            fn encode_nullable(
                value: Option<&Self>,
                writer: &mut $crate::wire::write::Writer,
                at: $crate::wire::field::At,
            ) -> Result<(), $crate::wire::write::EncodeError> {
                $crate::wire::field::encode_nullable_struct(value, writer, at)
            }
        }
    )*};
}
