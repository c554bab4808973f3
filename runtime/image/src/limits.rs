//! Bounds on what an image may make this host do. Image content is hostile until proven otherwise.

/// What one image may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one manifest or index.
    pub manifest_bytes: u64,
    /// Bytes of one image configuration.
    pub config_bytes: u64,
    /// Layers of one image. Overlayfs takes 500.
    pub layers: usize,
    /// Indexes inside indexes.
    pub index_depth: usize,
    /// Bytes that all layers of one image unpack to.
    pub unpacked_bytes: u64,
    /// Entries of one layer.
    pub entries: u64,
    /// A layer may unpack to this many times its compressed size ...
    pub ratio: u64,
    /// ... once it has unpacked to more than this.
    pub ratio_free_bytes: u64,
    /// Unpacking stops when the file system has less than this left: the node needs it.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            manifest_bytes: 4 << 20,
            config_bytes: 8 << 20,
            layers: 256,
            index_depth: 3,
            unpacked_bytes: 256 << 30,
            entries: 10_000_000,
            ratio: 300,
            ratio_free_bytes: 2 << 30,
            reserve_bytes: 64 << 20,
        }
    }
}
