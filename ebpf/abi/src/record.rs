//! The macro that declares a record: layout, marker for aya, assertion against padding, and its shape as text.
//!
//! `record!(struct Name { .. })` declares one layout, `record!(struct Name<A> { .. })` one for each address
//! family. Every field must itself be a record or a scalar.

/// What [`crate::HASH`] is made of.
pub(crate) const fn fnv(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        hash ^= bytes[at] as u64;
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        at += 1;
    }
    hash
}

macro_rules! record {
    ($(#[$meta:meta])* pub struct $name:ident<A> { $($(#[$field_meta:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub struct $name<A> { $($(#[$field_meta])* pub $field: $kind,)* }

        impl<A: Copy> $name<A> {
            /// Names, types and order of the fields.
            pub const SHAPE: &str = concat!(stringify!($name), "<A>", $(stringify!($field), ":", stringify!($kind), ";",)*);
            const UNPADDED: () = assert!(size_of::<$name<A>>() == 0 $(+ size_of::<$kind>())*, "a field for every byte");
        }
        const _: () = { let () = $name::<$crate::Ip4>::UNPADDED; let () = $name::<$crate::Ip6>::UNPADDED; };

        // SAFETY: scalars of 1 to 4 bytes or records of such, without padding (asserted above): every
        // pattern of bits is a value and every byte is one that somebody wrote.
        #[cfg(feature = "aya")]
        unsafe impl aya::Pod for $name<$crate::Ip4> {}
        // SAFETY: as above.
        #[cfg(feature = "aya")]
        unsafe impl aya::Pod for $name<$crate::Ip6> {}
    };
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind,)* }

        impl $name {
            /// Names, types and order of the fields.
            pub const SHAPE: &str = concat!(stringify!($name), $(stringify!($field), ":", stringify!($kind), ";",)*);
        }
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$kind>())*, "a field for every byte");

        // SAFETY: scalars or records of such, without padding (asserted above): every pattern of bits is a
        // value and every byte is one that somebody wrote.
        #[cfg(feature = "aya")]
        unsafe impl aya::Pod for $name {}
    };
}
