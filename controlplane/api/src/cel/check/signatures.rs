//! What functions take and give.

use super::{Found, Type};

/// `name receiver arguments result`; `-`: no receiver, `*`: anything, `...`: whatever follows. One letter per type.
///
/// b bool, i int, u uint, d double, s string, y bytes, t timestamp, r duration, l list, m map, o optional, Q quantity,
/// U URL, P IP, C CIDR, V semver, F format, T type.
const TABLE: &str = "
size - s|y|l|m i
size s|y|l|m - i
contains s s b
startsWith s s b
endsWith s s b
matches s s b
matches - s,s b
charAt s i s
indexOf s s i
indexOf s s,i i
indexOf l * i
lastIndexOf s s i
lastIndexOf s s,i i
lastIndexOf l * i
lowerAscii s - s
upperAscii s - s
trim s - s
reverse s - s
reverse l - =
replace s s,s s
replace s s,s,i s
split s s ls
split s s,i ls
substring s i s
substring s i,i s
format s l s
strings.quote - s s
find s s s
findAll s s ls
findAll s s,i ls
join l - s
join l s s
isSorted l - b
sum l - *
min l - *
max l - *
distinct l - =
sort l - =
slice l i,i =
unwrapOpt l - l
optional.unwrap - l l
flatten l - l
flatten l i l
first l - o
last l - o
lists.range - i li
sets.contains - l,l b
sets.equivalent - l,l b
sets.intersects - l,l b
math.greatest - ... *
math.least - ... *
int - i|u|d|s|t|r i
uint - i|u|d|s u
double - i|u|d|s d
string - s|b|i|u|d|y|t|r|P|C s
bytes - s|y y
bool - b|s b
timestamp - s|i|t t
duration - s|r r
dyn - * *
type - * T
getFullYear t ... i
getMonth t ... i
getDayOfYear t ... i
getDayOfMonth t ... i
getDate t ... i
getDayOfWeek t ... i
getHours t|r ... i
getMinutes t|r ... i
getSeconds t|r ... i
getMilliseconds t|r ... i
optional.of - * o
optional.none - - o
optional.ofNonZeroValue - * o
hasValue o - b
value o - *
or o o o
orValue o * *
url - s U
isURL - s b
getScheme U - s
getHost U - s
getHostname U - s
getPort U - s
getEscapedPath U - s
getQuery U - m
ip - s P
isIP - s b
ip C - P
ip.isCanonical - s b
jsonpatch.escapeKey - s s
family P - i
isUnspecified P - b
isLoopback P - b
isLinkLocalMulticast P - b
isLinkLocalUnicast P - b
isGlobalUnicast P - b
cidr - s C
isCIDR - s b
containsIP C s|P b
containsCIDR C s|C b
masked C - C
prefixLength C - i
quantity - s Q
isQuantity - s b
isInteger Q - b
asInteger Q - i
asApproximateFloat Q - d
sign Q - i
add Q Q|i Q
sub Q Q|i Q
isGreaterThan Q Q b
isLessThan Q Q b
compareTo Q Q i
semver - s V
semver - s,b V
isSemver - s b
isSemver - s,b b
major V - i
minor V - i
patch V - i
isGreaterThan V V b
isLessThan V V b
compareTo V V i
format.named - s o
format.dns1123Label - - F
format.dns1123Subdomain - - F
format.dns1035Label - - F
format.dns1123LabelPrefix - - F
format.dns1123SubdomainPrefix - - F
format.dns1035LabelPrefix - - F
format.qualifiedName - - F
format.labelValue - - F
format.uri - - F
format.uuid - - F
format.byte - - F
format.date - - F
format.datetime - - F
validate F s o
";

/// The type of a function's result; none where it does not take these arguments.
pub(super) fn result<'s>(name: &str, target: Option<&Type<'s>>, args: &[Found<'s>]) -> Option<Type<'s>> {
    // What is known only when it runs, and what only functions look into, may have any function.
    if matches!(target, Some(Type::Dyn | Type::Other("authorizer" | "request"))) {
        return Some(Type::Dyn);
    }
    rows(name).find_map(|[_, receiver, wanted, gives]| {
        let fits = match (target, receiver) {
            (None, "-") => true,
            (Some(of), letters) => letters != "-" && is_one(of, letters),
            _ => false,
        };
        let taken = match wanted {
            "..." => true,
            "-" => args.is_empty(),
            wanted => {
                let wanted: Vec<&str> = wanted.split(',').collect();
                wanted.len() == args.len()
                    && wanted.iter().zip(args).all(|(letters, arg)| is_one(&arg.of, letters))
            }
        };
        (fits && taken).then(|| given(gives, target, args))
    })
}

/// Whether there is a function of this name.
pub(super) fn is_known(name: &str) -> bool {
    rows(name).next().is_some()
}

fn rows(name: &str) -> impl Iterator<Item = [&'static str; 4]> {
    TABLE.lines().filter_map(move |line| {
        let mut words = line.split(' ');
        let row = [words.next()?, words.next()?, words.next()?, words.next()?];
        (row[0] == name).then_some(row)
    })
}

fn is_one(of: &Type<'_>, letters: &str) -> bool {
    letters.split('|').any(|letter| match (letter, of) {
        ("*", _) | (_, Type::Dyn) => true,
        ("b", Type::Bool)
        | ("i", Type::Int)
        | ("u", Type::Uint)
        | ("d", Type::Double)
        | ("s", Type::Text)
        | ("y", Type::Bytes)
        | ("t", Type::Timestamp)
        | ("r", Type::Duration)
        | ("l", Type::List(_))
        | ("m", Type::Map(_) | Type::Object(..))
        | ("o", Type::Optional(_)) => true,
        (letter, Type::Other(name)) => other(letter) == *name,
        _ => false,
    })
}

fn other(letter: &str) -> &'static str {
    match letter {
        "Q" => "kubernetes.Quantity",
        "U" => "kubernetes.URL",
        "P" => "net.IP",
        "C" => "net.CIDR",
        "V" => "kubernetes.Semver",
        "F" => "kubernetes.NamedFormat",
        "T" => "type",
        _ => "",
    }
}

fn given<'s>(letter: &str, target: Option<&Type<'s>>, args: &[Found<'s>]) -> Type<'s> {
    match letter {
        "b" => Type::Bool,
        "i" => Type::Int,
        "u" => Type::Uint,
        "d" => Type::Double,
        "s" => Type::Text,
        "y" => Type::Bytes,
        "t" => Type::Timestamp,
        "r" => Type::Duration,
        "ls" => Type::List(Box::new(Type::Text)),
        "li" => Type::List(Box::new(Type::Int)),
        "l" => Type::List(Box::new(Type::Dyn)),
        "m" => Type::Map(Box::new(Type::Dyn)),
        "=" => target.cloned().unwrap_or(Type::Dyn),
        "o" => match (target, args) {
            (Some(Type::List(item)), _) => Type::Optional(item.clone()),
            (Some(optional @ Type::Optional(_)), _) => optional.clone(),
            (None, [arg]) if !matches!(arg.of, Type::Text) => Type::Optional(Box::new(arg.of.clone())),
            _ => Type::Optional(Box::new(Type::Dyn)),
        },
        "*" => match target {
            Some(Type::List(inner) | Type::Optional(inner)) => (**inner).clone(),
            _ => Type::Dyn,
        },
        letter => Type::Other(other(letter)),
    }
}
