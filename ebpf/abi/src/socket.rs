//! What a socket called its peer before it was translated.

record! {
    /// A socket and the backend it talks to.
    pub struct SocketKey<A> {
        /// The socket's cookie.
        pub cookie_high: u32,
        pub cookie_low: u32,
        pub address: A,
        /// Network order.
        pub port: u16,
        pub protocol: u8,
        /// 0: key is the backend, value the name; 1: key is the name, value the backend.
        pub kind: u8,
    }
}

record! {
    pub struct SocketName<A> {
        pub address: A,
        /// Network order.
        pub port: u16,
        pub pad: u16,
    }
}
