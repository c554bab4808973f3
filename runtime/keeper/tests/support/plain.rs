//! A launcher of plain commands, so that the keeper can be tested without containers.
//!
//! The plan is a command line, its words separated by NUL. A first word of `!...` injects a fault.
//! The child stage is this test executable once more (`child GATE REPORT CONSOLE`).

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use keeper::{Child, Fds, Launcher, Progress};
use keeper_api::{Failure, FailureKind};
use rustix::io::FdFlags;

/// Faults that a plan can ask for, in the order in which they strike.
pub const FAULTS: &[&str] = &[
    "!clone",
    "!die-before-gate",
    "!fail-before-gate",
    "!garbled",
    "!die-at-gate",
    "!die-after-gate",
    "!exec",
];

/// The launcher.
pub struct Plain;

struct PlainChild {
    pid: i32,
    pidfd: OwnedFd,
    report: File,
    going: bool,
}

impl Launcher for Plain {
    fn start(&mut self, fds: Fds) -> Result<Box<dyn Child>, Failure> {
        let mut plan = String::new();
        let mut file = File::from(fds.plan);
        // A keeper that died may have read it before.
        file.rewind()
            .and_then(|()| file.read_to_string(&mut plan))
            .map_err(|e| failure("plan", e.to_string()))?;
        let words: Vec<&str> = plan.split('\0').collect();
        if words[0] == FAULTS[0] {
            return Err(failure("clone", "injected".into()));
        }
        let (report, theirs) = std::io::pipe().map_err(|e| failure("pipe", e.to_string()))?;
        let (report, theirs) = (OwnedFd::from(report), OwnedFd::from(theirs));
        let inherited = [Some(&fds.gate), Some(&theirs), fds.console.as_ref()];
        for fd in inherited.into_iter().flatten() {
            rustix::io::fcntl_setfd(fd, FdFlags::empty()).expect("a descriptor");
        }
        let number = |fd: Option<&OwnedFd>| fd.map_or(-1, |fd| fd.as_raw_fd()).to_string();
        let [stdin, stdout, stderr] = fds.stdio;
        let child = Command::new("/proc/self/exe")
            .arg("child")
            .args(inherited.map(number))
            .args(&words)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|e| failure("spawn", e.to_string()))?;
        rustix::io::ioctl_fionbio(&report, true).expect("a pipe");
        let pid = child.id() as i32;
        let pidfd = sys::exit::open(pid).expect("works").expect("our child");
        Ok(Box::new(PlainChild { pid, pidfd, report: report.into(), going: false }))
    }
}

impl Child for PlainChild {
    fn pid(&self) -> i32 {
        self.pid
    }

    fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }

    fn advance(&mut self) -> Result<Progress, Failure> {
        let mut byte = [0];
        match self.report.read(&mut byte) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(Progress::Waiting),
            Err(error) => Err(failure("report", error.to_string())),
            Ok(0) if self.going => Ok(Progress::Running),
            Ok(0) => Err(failure("died", "the child died".into())),
            Ok(_) => match byte[0] {
                b'G' => Ok(Progress::AtGate),
                b'X' => {
                    self.going = true;
                    self.advance()
                }
                b'E' => {
                    let mut why = String::new();
                    let _cut_short = self.report.read_to_string(&mut why);
                    Err(failure("exec", why))
                }
                other => Err(failure("garbled", format!("report {other}"))),
            },
        }
    }
}

fn failure(step: &str, message: String) -> Failure {
    Failure { kind: FailureKind::Launch { step: step.to_owned(), errno: 0 }, message }
}

/// What the executable does when it is called by one of our names; `None` if it is not.
pub fn dispatch() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1)?.to_str()? {
        "keeper" => Some(keeper::main_with(arguments[1..].to_vec(), Box::new(Plain))),
        "child" => Some(child(&arguments[2..])),
        _ => None,
    }
}

fn child(arguments: &[OsString]) -> ExitCode {
    let number =
        |index: usize| -> RawFd { arguments[index].to_str().expect("text").parse().expect("a number") };
    let take = |index: usize| sys::handover::take(number(index)).expect("inherited");
    let (gate, report) = (take(0), take(1));
    let mut report = File::from(report);
    let words = &arguments[3..];
    let fault = words[0].to_str().unwrap_or_default().to_owned();
    let die = || std::process::exit(99);
    match fault.as_str() {
        "!die-before-gate" => die(),
        "!fail-before-gate" => {
            let _ = report.write_all(b"E");
            die();
        }
        "!garbled" => {
            let _ = report.write_all(b"?");
            std::thread::sleep(std::time::Duration::from_secs(600));
        }
        _ => {}
    }
    if report.write_all(b"G").is_err() {
        die();
    }
    if fault == "!die-at-gate" {
        die();
    }
    if File::from(gate).read(&mut [0]).expect("a pipe") == 0 {
        std::process::exit(255);
    }
    if fault == "!die-after-gate" {
        die();
    }
    if number(2) >= 0 {
        take_terminal(take(2));
    }
    // Let go is let go: whether the keeper still listens changes nothing.
    let _keeper_died = report.write_all(b"X");
    let program = if fault == "!exec" { "/no/such/program".into() } else { words[0].clone() };
    let error = Command::new(program).args(&words[1..]).exec();
    let _ = report.write_all(format!("E{error}").as_bytes());
    ExitCode::from(127)
}

fn take_terminal(console: OwnedFd) {
    let master = File::options().read(true).write(true).open("/dev/ptmx").expect("a terminal");
    let slave = sys::pty::peer(master.as_fd()).expect("its other end");
    rustix::process::setsid().expect("a session");
    sys::pty::set_controlling(slave.as_fd()).expect("controlling");
    let console = sys::seqpacket::Conn::from_fd(console).expect("a socket");
    console.send(b"pty", &[master.as_fd()]).expect("sent");
    rustix::stdio::dup2_stdin(&slave).expect("stdin");
    rustix::stdio::dup2_stdout(&slave).expect("stdout");
    rustix::stdio::dup2_stderr(&slave).expect("stderr");
}
