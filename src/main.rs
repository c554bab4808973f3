//! The `keelson` command: picks the part to run and starts it; decides nothing.

fn main() {}
