//! What a process takes, as /proc has it. Of one that is gone everything is zero.

/// Clock ticks of /proc, which Linux fixes for user space.
const TICKS: f64 = 100.0;

/// Kilobytes of memory now; what others share counts in part.
pub fn proportional(pid: u32) -> u64 {
    field(pid, "smaps_rollup", "Pss:")
}

/// Kilobytes of memory now, shared or not.
pub fn resident(pid: u32) -> u64 {
    field(pid, "status", "VmRSS:")
}

/// The most kilobytes of memory since the peak was forgotten.
pub fn peak(pid: u32) -> u64 {
    field(pid, "status", "VmHWM:")
}

/// The peak begins anew.
pub fn forget_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("forgetting the peak");
}

/// Bytes that went to the disk.
pub fn written(pid: u32) -> u64 {
    field(pid, "io", "write_bytes:")
}

/// Seconds of CPU used so far.
pub fn cpu_seconds(pid: u32) -> f64 {
    ticks(pid, 2)
}

/// The same with that of children it has waited for.
pub fn cpu_seconds_with_children(pid: u32) -> f64 {
    ticks(pid, 4)
}

/// User and system time, then the children's.
fn ticks(pid: u32, many: usize) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the name, which may hold anything.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(many).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}

fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
