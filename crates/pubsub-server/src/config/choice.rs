//! Keys that hold one word out of a few.

/// Declares an enum of which a file names one variant: `Variant = "name"`, or `Variant = "name" | "other name"`. What
/// stands behind `later` is Centrifugo's and not supported here yet.
macro_rules! choice {
    (
        $(#[$attribute:meta])+
        pub enum $name:ident {
            $($(#[$note:meta])+ $variant:ident = $text:literal $(| $alias:literal)?),+ $(,)?
            $(; later $($later:literal),+)?
        }
    ) => {
        $(#[$attribute])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { $($(#[$note])+ $variant),+ }

        impl $name {
            /// The name it has in a configuration.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl $crate::config::value::Scalar for $name {
            fn parse(
                raw: &$crate::config::raw::Raw,
                meta: &$crate::config::section::Meta,
            ) -> Result<Self, String> {
                use $crate::config::raw::Raw;
                match raw {
                    $(Raw::Text(text) if text == $text $(|| text == $alias)? => Ok(Self::$variant),)+
                    $(Raw::Text(text) if [$($later),+].contains(&text.as_str()) => {
                        Err(format!("{raw} is Centrifugo's and not supported here yet; expected {}", Self::allowed(meta)))
                    })?
                    _ => Err($crate::config::value::expected::<Self>(raw, meta)),
                }
            }

            fn show(&self) -> $crate::config::raw::Raw {
                $crate::config::raw::Raw::from(self.as_str())
            }

            fn allowed(_: &$crate::config::section::Meta) -> String {
                let names: &[&str] = &[$($text),+];
                let names: Vec<_> = names.iter().map(|name| format!("{name:?}")).collect();
                match names.as_slice() {
                    [name] => name.clone(),
                    names => format!("one of {}", names.join(", ")),
                }
            }
        }
    };
}
pub(crate) use choice;
