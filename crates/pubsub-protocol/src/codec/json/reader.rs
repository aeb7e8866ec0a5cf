//! Objects as the wire's readers take them, where serde by itself would be too strict in one way and too lax in another.
//!
//! - `null` is as good as leaving the field out, whatever its type. SDKs are written in languages where an option that
//!   was not given is easily sent as `null`.
//! - An object is an object. Derived readers also take `[]` for one, field by field; here that would make `[]` a ping.
//!
//! Both hold at every depth, except inside lists (which only a server sends) and payloads (which nobody reads).

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

/// Reads exactly one object, as the wire's readers take it: `null` is as good as leaving a field out, and `[]` is no
/// object.
///
/// # Errors
/// When `json` is not one well-formed object of that shape.
pub fn from_slice<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, serde_json::Error> {
    // Once for all of it: what reads bytes looks at every string by itself, names of fields included. It has the words for
    // what is wrong, too, and the place.
    match std::str::from_utf8(json) {
        Ok(text) => object(serde_json::Deserializer::from_str(text)),
        Err(_) => object(serde_json::Deserializer::from_slice(json)),
    }
}

fn object<'de, T, R>(mut deserializer: serde_json::Deserializer<R>) -> Result<T, serde_json::Error>
where
    T: Deserialize<'de>,
    R: serde_json::de::Read<'de>,
{
    let value = deserializer.deserialize_map(Lenient(Outermost(PhantomData)))?;
    deserializer.end()?;
    Ok(value)
}

/// The object that is the whole line. There is no field here to leave out, so a `null` is refused.
struct Outermost<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Outermost<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// Around a deserializer, and around whatever it passes on: visitors, maps, and the seeds of their values.
struct Lenient<T>(T);

/// What stands for a `null`, by the type that is expected.
#[derive(Clone, Copy)]
enum Zero {
    Bool,
    Number,
    String,
    List,
    Object,
}

/// Visits what is there, or the zero value in place of a `null`.
struct OrZero<V>(V, Zero);

impl<'de, V: Visitor<'de>> Visitor<'de> for OrZero<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        let Self(visitor, zero) = self;
        match zero {
            Zero::Bool => visitor.visit_bool(false),
            Zero::Number => visitor.visit_u64(0),
            Zero::String => visitor.visit_str(""),
            Zero::List => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<()>())),
            Zero::Object => visitor.visit_map(MapDeserializer::new(std::iter::empty::<((), ())>())),
        }
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        let Self(visitor, zero) = self;
        match zero {
            Zero::Bool => deserializer.deserialize_bool(visitor),
            // JSON has one kind of number; which of them fit is up to the visitor.
            Zero::Number => deserializer.deserialize_i64(visitor),
            Zero::String => deserializer.deserialize_string(visitor),
            Zero::List => deserializer.deserialize_seq(visitor),
            Zero::Object => deserializer.deserialize_map(Lenient(visitor)),
        }
    }
}

macro_rules! or_zero {
    ($($method:ident => $zero:ident),+ $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_option(OrZero(visitor, Zero::$zero))
        })+
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Lenient<D> {
    type Error = D::Error;

    or_zero! {
        deserialize_bool => Bool,
        deserialize_i32 => Number,
        deserialize_i64 => Number,
        deserialize_u32 => Number,
        deserialize_u64 => Number,
        deserialize_string => String,
        deserialize_seq => List,
        deserialize_map => Object,
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_option(Lenient(visitor))
    }

    /// Raw payloads come this way.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_ignored_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u128 f32 f64 char str bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Lenient<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.0.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.0.visit_some(Lenient(deserializer))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.0.visit_map(Lenient(map))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Lenient<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Lenient(seed))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Lenient<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Lenient(deserializer))
    }
}
