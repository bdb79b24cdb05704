//! The built-in functions: the language's, and those that AWS adds. `$eval` is not among them, as at AWS.

mod aggregates;
mod arrays;
mod aws;
mod encoding;
mod higher_order;
mod matching;
mod numbers;
mod objects;
pub(crate) mod strings;
mod time;

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

use crate::error::Error;
use crate::evaluate::Evaluator;
use crate::signature::Signature;
use crate::value::Value;

pub(crate) use numbers::round_half_even;

/// Arguments come as the signature made them: missing ones as [`Value::Undefined`].
type Implementation = for<'v> fn(&mut Evaluator<'v>, Vec<Value<'v>>) -> Result<Value<'v>, Error>;

pub(crate) struct Builtin {
    pub(crate) name: &'static str,
    pub(crate) signature: Option<Signature>,
    /// How many arguments a function that calls back gives it.
    pub(crate) arity: usize,
    pub(crate) function: Implementation,
}

impl fmt::Debug for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.name)
    }
}

const TABLE: [(&str, &str, usize, Implementation); 69] = [
    ("sum", "<a<n>:n>", 1, aggregates::sum),
    ("count", "<a:n>", 1, aggregates::count),
    ("max", "<a<n>:n>", 1, aggregates::max),
    ("min", "<a<n>:n>", 1, aggregates::min),
    ("average", "<a<n>:n>", 1, aggregates::average),
    ("string", "<x-b?:s>", 1, strings::string),
    ("substring", "<s-nn?:s>", 3, strings::substring),
    ("substringBefore", "<s-s:s>", 2, strings::substring_before),
    ("substringAfter", "<s-s:s>", 2, strings::substring_after),
    ("lowercase", "<s-:s>", 1, strings::lowercase),
    ("uppercase", "<s-:s>", 1, strings::uppercase),
    ("length", "<s-:n>", 1, strings::length),
    ("trim", "<s-:s>", 1, strings::trim),
    ("pad", "<s-ns?:s>", 3, strings::pad),
    ("join", "<a<s>s?:s>", 2, strings::join),
    ("match", "<s-f<s:o>n?:a<o>>", 3, matching::matches),
    ("contains", "<s-(sf):b>", 2, matching::contains),
    ("replace", "<s-(sf)(sf)n?:s>", 4, matching::replace),
    ("split", "<s-(sf)n?:a<s>>", 3, matching::split),
    ("formatNumber", "<n-so?:s>", 3, numbers::format_number),
    ("formatBase", "<n-n?:s>", 2, numbers::format_base),
    ("formatInteger", "<n-s:s>", 2, numbers::format_integer),
    ("parseInteger", "<s-s:n>", 2, numbers::parse_integer),
    ("number", "<(nsb)-:n>", 1, numbers::number),
    ("floor", "<n-:n>", 1, numbers::floor),
    ("ceil", "<n-:n>", 1, numbers::ceil),
    ("round", "<n-n?:n>", 2, numbers::round),
    ("abs", "<n-:n>", 1, numbers::abs),
    ("sqrt", "<n-:n>", 1, numbers::sqrt),
    ("power", "<n-n:n>", 2, numbers::power),
    ("boolean", "<x-:b>", 1, objects::boolean),
    ("not", "<x-:b>", 1, objects::not),
    ("exists", "<x:b>", 1, objects::exists),
    ("type", "<x:s>", 1, objects::type_of),
    ("keys", "<x-:a<s>>", 1, objects::keys),
    ("lookup", "<x-s:x>", 2, objects::lookup),
    ("spread", "<x-:a<o>>", 1, objects::spread),
    ("merge", "<a<o>:o>", 1, objects::merge),
    ("clone", "<(oa)-:o>", 1, objects::clone),
    ("error", "<s?:x>", 1, objects::error),
    ("assert", "<bs?:x>", 2, objects::assert),
    ("map", "<af>", 2, higher_order::map),
    ("filter", "<af>", 2, higher_order::filter),
    ("single", "<af?>", 2, higher_order::single),
    ("reduce", "<afj?:j>", 3, higher_order::reduce),
    ("sift", "<o-f?:o>", 2, higher_order::sift),
    ("each", "<o-f:a>", 2, higher_order::each),
    ("sort", "<af?:a>", 2, higher_order::sort),
    ("append", "<xx:a>", 2, arrays::append),
    ("reverse", "<a:a>", 1, arrays::reverse),
    ("shuffle", "<a:a>", 1, arrays::shuffle),
    ("distinct", "<x:x>", 1, arrays::distinct),
    ("zip", "<a+>", 0, arrays::zip),
    ("base64encode", "<s-:s>", 1, encoding::base64_encode),
    ("base64decode", "<s-:s>", 1, encoding::base64_decode),
    ("encodeUrlComponent", "<s-:s>", 1, encoding::encode_url_component),
    ("encodeUrl", "<s-:s>", 1, encoding::encode_url),
    ("decodeUrlComponent", "<s-:s>", 1, encoding::decode_url_component),
    ("decodeUrl", "<s-:s>", 1, encoding::decode_url),
    ("toMillis", "<s-s?:n>", 2, time::to_millis),
    ("fromMillis", "<n-s?s?:s>", 3, time::from_millis),
    ("now", "<s?s?:s>", 2, time::now),
    ("millis", "<:n>", 0, time::millis),
    ("partition", "<an:a>", 2, aws::partition),
    ("range", "<nnn:a>", 3, aws::range),
    ("hash", "<ss:s>", 2, aws::hash),
    ("random", "<n?:n>", 0, aws::random),
    ("uuid", "<:s>", 0, aws::uuid),
    ("parse", "<s:x>", 1, aws::parse),
];

static BUILTINS: LazyLock<HashMap<&'static str, Builtin>> = LazyLock::new(|| {
    let builtin = |(name, signature, arity, function): (&'static str, &str, usize, Implementation)| {
        (name, Builtin { name, signature: Signature::parse(signature).ok(), arity, function })
    };
    TABLE.into_iter().map(builtin).collect()
});

/// The function of a name without its `$`.
pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
    BUILTINS.get(name)
}

/// The arguments one by one; what is not there is nothing.
pub(crate) struct Arguments<'v>(std::vec::IntoIter<Value<'v>>);

impl<'v> Arguments<'v> {
    pub(crate) fn new(arguments: Vec<Value<'v>>) -> Arguments<'v> {
        Arguments(arguments.into_iter())
    }

    pub(crate) fn next(&mut self) -> Value<'v> {
        self.0.next().unwrap_or(Value::Undefined)
    }

    /// A number, or `None` if it is missing.
    pub(crate) fn number(&mut self) -> Option<f64> {
        self.next().as_number().map(|number| number.as_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signature_is_well_formed_and_every_name_is_there_once() {
        assert_eq!(BUILTINS.len(), TABLE.len());
        assert!(BUILTINS.values().all(|builtin| builtin.signature.is_some()));
        assert!(find("eval").is_none());
    }
}
