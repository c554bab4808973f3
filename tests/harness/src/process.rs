//! What a process takes, as /proc has it.

/// Clock ticks of /proc, which Linux fixes for user space.
const TICKS: f64 = 100.0;

/// Bytes of memory now; what others share counts in part.
pub fn memory(pid: u32) -> u64 {
    field(pid, "smaps_rollup", "Pss:") * 1024
}

/// The most bytes of memory since the peak was forgotten.
pub fn peak(pid: u32) -> u64 {
    field(pid, "status", "VmHWM:") * 1024
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
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // Behind the name, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| fields[at].parse::<f64>().expect("ticks");
    (number(11) + number(12)) / TICKS
}

fn field(pid: u32, file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a process");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the field");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}
